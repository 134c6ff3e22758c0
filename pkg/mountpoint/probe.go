package mountpoint

// This file holds the bounded probe: stat and statfs of a mount that may never
// answer. A system call on a hung file system cannot be cancelled, it keeps its
// thread until the backend answers; so there is at most one such call per mount
// and question, and at most a fixed number in all, whoever asks and however often.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrProbeHung means that the file system did not answer before the
	// context ended. The call is still waiting; a later probe joins it.
	ErrProbeHung = errors.New("file system does not answer")
	// ErrProbeLimit means that so many other file systems hang that this one
	// was not even asked.
	ErrProbeLimit = errors.New("too many file systems do not answer")
)

// DefaultProbeLimit is a cap on hung probes that leaves a node's thread limits
// far away, yet is more than the volumes of one backend on a usual node.
const DefaultProbeLimit = 64

// Stats is what a file system says about its size. Bytes and inodes are totals
// of what the mount shows: for a CephFS subvolume with a quota, the quota.
type Stats struct {
	TotalBytes, FreeBytes, AvailableBytes uint64
	TotalInodes, FreeInodes               uint64
	ReadOnly                              bool
}

// UsedBytes is the total less what is free, to anybody.
func (s Stats) UsedBytes() uint64 { return s.TotalBytes - min(s.FreeBytes, s.TotalBytes) }

// UsedInodes is the total less what is free.
func (s Stats) UsedInodes() uint64 { return s.TotalInodes - min(s.FreeInodes, s.TotalInodes) }

// Prober asks file systems whether they live. Make one per process: the cap is
// per Prober. It is safe for concurrent use.
type Prober struct {
	limit int

	mu      sync.Mutex
	flights map[flightKey]*flight
}

// flightKey names the mount, not only the path: a call that hangs in a mount
// which has since been replaced must not speak for the new one. The kernel may
// give the new one the same id, but not the same device while the call hangs.
type flightKey struct {
	path         string
	mountID      int
	major, minor int
	fuse         bool // the mount is one of FUSE
	size         bool // its size is asked for too
}

// isFUSE tells whether a type of the mount table is FUSE's: "fuse", or with the name of its program, "fuse.NAME".
func isFUSE(fsType string) bool { return fsType == "fuse" || strings.HasPrefix(fsType, "fuse.") }

type flight struct {
	since time.Time
	done  chan struct{}
	stats Stats
	err   error
}

// NewProber returns a Prober with at most limit calls in flight; limit <= 0
// means DefaultProbeLimit.
func NewProber(limit int) *Prober {
	if limit <= 0 {
		limit = DefaultProbeLimit
	}
	return &Prober{limit: limit, flights: make(map[flightKey]*flight)}
}

// Probe asks the file system at path for its root's attributes and its size. It
// returns by the end of ctx: with ErrProbeHung when there was no answer,
// ErrProbeLimit when too many others hang, and otherwise with the error of the
// file system, wrapped, for Dead to judge.
func (p *Prober) Probe(ctx context.Context, path string) (Stats, error) {
	return p.probe(ctx, flightKey{path: path, size: true})
}

// Answers is Probe without the size: CephFS has to ask the monitors for it, and what they say tells nothing of the client.
func (p *Prober) Answers(ctx context.Context, path string) error {
	_, err := p.probe(ctx, flightKey{path: path})
	return err
}

func (p *Prober) probe(ctx context.Context, key flightKey) (Stats, error) {
	path := key.path
	m, mounted, err := Find(path)
	if err != nil {
		return Stats{}, err
	}
	if mounted {
		key.mountID, key.major, key.minor, key.fuse = m.ID, m.Major, m.Minor, isFUSE(m.FSType)
	}
	f, err := p.join(key)
	if err != nil {
		return Stats{}, err
	}
	select {
	case <-f.done:
		return f.stats, f.err
	case <-ctx.Done():
		return Stats{}, fmt.Errorf("probe %s: %w (asked %s ago)", path, ErrProbeHung,
			time.Since(f.since).Round(time.Millisecond))
	}
}

func (p *Prober) join(key flightKey) (*flight, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.flights[key]; ok {
		return f, nil
	}
	if len(p.flights) >= p.limit {
		return nil, fmt.Errorf("probe %s: %w (%d calls are waiting)", key.path, ErrProbeLimit, len(p.flights))
	}
	f := &flight{since: time.Now(), done: make(chan struct{})}
	p.flights[key] = f
	go func() {
		f.stats, f.err = ask(key)
		p.mu.Lock()
		delete(p.flights, key)
		p.mu.Unlock()
		close(f.done)
	}()
	return f, nil
}

// InFlight returns how many calls are waiting for an answer now.
func (p *Prober) InFlight() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.flights)
}

// ask makes the calls that may hang. The attributes are asked for with
// AT_STATX_FORCE_SYNC because CephFS answers statfs from the monitors, which go
// on answering a client that the metadata server has evicted.
func ask(key flightKey) (Stats, error) {
	path := key.path
	fd, err := look(path)
	if err != nil {
		if err == unix.EACCES {
			// A directory above refuses: this says nothing about the mount, so
			// Dead must not see the errno.
			return Stats{}, fmt.Errorf("probe %s: open: permission denied on the way to it", path)
		}
		return Stats{}, fmt.Errorf("probe %s: open: %w", path, err)
	}
	defer unix.Close(fd)

	var attr unix.Statx_t
	err = again(func() error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_BASIC_STATS, &attr)
	})
	if err == unix.ENOENT && key.fuse {
		err = cause(fd)
	}
	if err != nil {
		return Stats{}, fmt.Errorf("probe %s: stat: %w", path, err)
	}
	if !key.size {
		return Stats{}, nil
	}
	var fs unix.Statfs_t
	if err := again(func() error { return unix.Fstatfs(fd, &fs) }); err != nil {
		return Stats{}, fmt.Errorf("probe %s: statfs: %w", path, err)
	}
	unit := uint64(fs.Frsize)
	if unit == 0 {
		unit = uint64(fs.Bsize)
	}
	return Stats{
		TotalBytes: fs.Blocks * unit, FreeBytes: fs.Bfree * unit, AvailableBytes: fs.Bavail * unit,
		TotalInodes: fs.Files, FreeInodes: fs.Ffree,
		ReadOnly: fs.Flags&unix.ST_RDONLY != 0,
	}, nil
}

// look opens path without asking the file system behind it. It is a private copy of the mount (open_tree(2), Linux 5.2)
// that it opens: a call that hangs would make the mount itself busy, and a pod could not be taken down
// because its volume's health was asked for.
func look(path string) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err == unix.ENOSYS || err == unix.EPERM || err == unix.EINVAL { // an older kernel, no root, a mount that may not be copied
		return unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	}
	return fd, err
}

// attrCause is an attribute that no file has. The kernel passes the question on without a look at the permissions
// of the directory, which with default_permissions would end with the same wrong errno as stat; and only an
// administrator could set it (xattr(7), trusted attributes).
const attrCause = "trusted.strata"

// cause tells why the root of a FUSE mount answers ENOENT to stat. ceph-fuse does so for every failure of its own
// (fuse_ll_getattr in src/client/fuse_ll.cc; seen with 16.2.15 after an eviction), and only the answer to another
// question holds the errno: ESHUTDOWN for a client that was evicted. A root that is missing for
// that question too was removed at the server: ESTALE, as everywhere else.
func cause(fd int) error {
	var value [1]byte
	err := again(func() error {
		_, err := unix.Getxattr(fmt.Sprintf("/proc/self/fd/%d", fd), attrCause, value[:])
		return err
	})
	switch err {
	case nil, unix.ENODATA, unix.ENOTSUP, unix.ERANGE: // no cause, so stat's own answer stands
		return unix.ENOENT
	case unix.ENOENT:
		return unix.ESTALE
	}
	return err
}

func again(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}

// State is what can be said about the mount at a path.
type State int

// The states of a mountpoint.
const (
	// Absent: nothing is mounted at the path.
	Absent State = iota
	// Live: mounted and answering.
	Live
	// Defunct: mounted, and its client is gone for good (see Dead).
	Defunct
	// Silent: mounted, but it did not answer in time.
	Silent
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Absent:
		return "absent"
	case Live:
		return "live"
	case Defunct:
		return "dead"
	case Silent:
		return "silent"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// Inspect tells what is at path by the end of ctx. For Defunct and Silent, cause
// is the error that says so. Any other error of a mounted file system, or of
// reading the mount table, is returned as err.
func (p *Prober) Inspect(ctx context.Context, path string) (state State, cause, err error) {
	_, mounted, err := Find(path)
	if err != nil || !mounted {
		return Absent, nil, err
	}
	_, err = p.Probe(ctx, path)
	switch {
	case err == nil:
		return Live, nil, nil
	case Dead(err):
		return Defunct, err, nil
	case errors.Is(err, ErrProbeHung), errors.Is(err, ErrProbeLimit):
		return Silent, err, nil
	}
	return Live, nil, err
}
