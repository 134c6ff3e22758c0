package cephkernel

// One mount from the first check to the moment it appears at its target. The
// part that may wait for the cluster runs on a thread of its own; the caller
// waits for it no longer than its context lives.

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// fsType is the name the kernel client registers.
const fsType = "ceph"

// defaultMountTimeout bounds each of the kernel's own waits, for monitors and for metadata
// servers, and so the life of an abandoned attempt. The kernel's default is 60 s.
const defaultMountTimeout = 30 * time.Second

// Mount says what to mount.
type Mount struct {
	// Monitors are the cluster's monitors: "ADDRESS[:PORT]", "HOST[:PORT]" or
	// the "[v2:...,v1:...]" of a ceph.conf. One that answers is enough.
	Monitors []string
	// User is the cephx identity without "client.".
	User string
	// FS is the name of the file system.
	FS string
	// Path is the absolute path in the file system that becomes the root of
	// the mount. It can't lead into a snapshot: ".snap" is known to clients only
	// and the path is looked up by the metadata server. Mount the directory
	// and bind its .snap entry.
	Path string
	// ReadOnly makes the file system read-only for this client.
	ReadOnly bool
	// Options are extra options, each "name" or "name=value"; see ValidateOptions.
	Options []string
}

// Mounter makes mounts. It remembers the attempts that outlived their callers.
type Mounter struct {
	mu       sync.Mutex
	inFlight map[string]time.Time // by target, when the attempt began
}

// NewMounter returns a Mounter.
func NewMounter() *Mounter {
	return &Mounter{inFlight: make(map[string]time.Time)}
}

// Mount mounts m at target, an existing directory, with key, the base64 text of
// the identity's cephx key; key is not kept and not changed.
//
// It returns when the file system is mounted or ctx is done, whichever comes
// first. After an error nothing is mounted and nothing will be: an attempt
// that is still waiting in the kernel is thrown away when it ends. That takes up to
// three times mount_timeout (30 s unless set): the kernel waits so long for monitors,
// for the metadata server, and for the session to close. Until then another Mount of
// the same target answers ErrInFlight.
//
// Each mount is a client of its own (option noshare), so that remounting after an
// eviction never falls back on the evicted client. A kernel client that was
// evicted answers EACCES, or ESHUTDOWN for what it could not write back; detaching
// it (umount -l) and mounting again repairs the path, not the files held open.
func (mt *Mounter) Mount(ctx context.Context, m Mount, key []byte, target string) error {
	p, err := parseOptions(m.Options)
	if err != nil {
		return err
	}
	if !plain(m.User) {
		return fmt.Errorf("%w: user %q: want the cephx name without client., of letters, digits, '-', '_' and '.'", ErrInvalid, m.User)
	}
	if !plain(m.FS) {
		return fmt.Errorf("%w: file system name %q", ErrInvalid, m.FS)
	}
	if !filepath.IsAbs(target) {
		return fmt.Errorf("%w: target %q is not absolute", ErrInvalid, target)
	}
	src, err := source(ctx, m, p.msgr2)
	if err != nil {
		return err
	}
	s, err := decodeSecret(key)
	if err != nil {
		return err
	}
	target = filepath.Clean(target)
	if err := mt.begin(target); err != nil {
		s.wipe()
		return err
	}

	done := make(chan attempt)
	abandoned := make(chan struct{})
	go func() {
		// Never unlocked: the thread ends with the goroutine, and its keyring with it.
		runtime.LockOSThread()
		defer mt.end(target)
		fd, err := create(m, p, src, s)
		select {
		case done <- attempt{fd, err}:
		case <-abandoned:
			if err == nil {
				// Not attached anywhere: closing unmounts.
				_ = unix.Close(fd)
			}
		}
	}()

	select {
	case a := <-done:
		if a.err != nil {
			return a.err
		}
		defer func() { _ = unix.Close(a.fd) }()
		if err := unix.MoveMount(a.fd, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("attach the file system to %s: %w", target, err)
		}
		return nil
	case <-ctx.Done():
		close(abandoned)
		return fmt.Errorf("mount %s from %s: %w", m.Path, strings.Join(m.Monitors, ","), context.Cause(ctx))
	}
}

// attempt is what create came to.
type attempt struct {
	fd  int // of the mount, when err is nil
	err error
}

// begin claims target for one attempt.
func (mt *Mounter) begin(target string) error {
	mt.mu.Lock()
	defer mt.mu.Unlock()
	if since, ok := mt.inFlight[target]; ok {
		return fmt.Errorf("%w: %s, for %s", ErrInFlight, target, time.Since(since).Round(time.Second))
	}
	mt.inFlight[target] = time.Now()
	return nil
}

func (mt *Mounter) end(target string) {
	mt.mu.Lock()
	defer mt.mu.Unlock()
	delete(mt.inFlight, target)
}

// create makes the file system instance, which is where the kernel talks to the
// cluster, and returns the descriptor of a mount not yet attached anywhere. The
// calling goroutine is locked to its thread; the secret is wiped on return.
func create(m Mount, p parsedOptions, src string, s secret) (int, error) {
	defer s.wipe()
	log := openKernelLog()
	defer log.close()
	fs, err := openContext()
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.Close(fs) }()
	begun := time.Now()
	fail := func(err error) (int, error) {
		return -1, classify(m, failure{
			err:    err,
			said:   append(messages(fs), log.since()...),
			waited: time.Since(begun) >= p.timeout,
		})
	}

	description, withdraw, err := s.offer(m.User)
	if err != nil {
		return fail(err)
	}
	err = configure(fs, m, p, src, description)
	if err = errors.Join(err, withdraw()); err != nil {
		return fail(err)
	}
	if err := retry(func() error { return unix.FsconfigCreate(fs) }); err != nil {
		return fail(err)
	}
	attrs := p.attrs
	if m.ReadOnly {
		attrs |= unix.MOUNT_ATTR_RDONLY
	}
	fd, err := unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attrs)
	if err != nil {
		return fail(err)
	}
	return fd, nil
}

// configure sets every option; the secret is read from the keyring here.
func configure(fs int, m Mount, p parsedOptions, src, description string) error {
	settings := []setting{
		{name: "source", value: src},
		{name: "name", value: m.User},
		{name: "key", value: description},
		{name: "mds_namespace", value: m.FS},
	}
	if !p.names["mount_timeout"] {
		settings = append(settings, setting{name: "mount_timeout", value: strconv.Itoa(int(p.timeout / time.Second))})
	}
	if !p.names["share"] && !p.names["noshare"] {
		settings = append(settings, setting{name: "noshare", flag: true})
	}
	if m.ReadOnly {
		settings = append(settings, setting{name: "ro", flag: true})
	}
	for _, o := range append(settings, p.settings...) {
		var err error
		if o.flag {
			err = unix.FsconfigSetFlag(fs, o.name)
		} else {
			err = unix.FsconfigSetString(fs, o.name, o.value)
		}
		if err != nil {
			return fmt.Errorf("option %s: %w", o.name, err)
		}
	}
	return nil
}

// retry repeats f while a signal interrupts it: the Go runtime sends its
// threads some.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// messages reads what the kernel logged to the context. A line is "e TEXT", "w
// TEXT" or "i TEXT", one per read.
func messages(fs int) []string {
	var said []string
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(fs, buf)
		if err != nil || n <= 0 {
			return said
		}
		line := strings.TrimSpace(string(buf[:n]))
		if len(line) > 2 && line[1] == ' ' {
			line = line[2:]
		}
		said = append(said, line)
	}
}
