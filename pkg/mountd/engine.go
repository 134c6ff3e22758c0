package mountd

// One running engine: its connection to the kernel, its process, and what it says.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/mountpoint"
)

// engine is a client of kind coldfs.
type engine struct {
	kind *coldFS
	spec Spec
	cmd  *exec.Cmd
	// fuse holds the connection: without it the end of the engine would be that of the mount, and with it nobody is let go of before it is closed.
	fuse   *os.File
	device string
	conn   *net.UnixConn
	group  memoryGroup
	hidden []string // texts that are never passed on
	ready  chan struct{}
	silent chan struct{} // closed when the engine's end of the socket is

	mu         sync.Mutex
	init       []byte
	failed     *control.Failure
	conditions []control.Condition
}

// connect makes the socket; the engine's end of it is the caller's to close.
func (e *engine) connect() (theirs *os.File, err error) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer ours.Close() // the connection has one of its own
	conn, err := net.FileConn(ours)
	if err != nil {
		_ = theirs.Close()
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	e.conn = conn.(*net.UnixConn)
	return theirs, nil
}

// mount makes the mount, which nothing serves yet.
func (e *engine) mount() error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: /dev/fuse: %w; load the module fuse", ErrFailed, err)
	}
	e.fuse = os.NewFile(uintptr(fd), "/dev/fuse")
	var flag uintptr = unix.MS_NOSUID | unix.MS_NODEV
	for _, o := range e.spec.Options {
		flag |= flags()[o]
	}
	if e.spec.ReadOnly {
		flag |= unix.MS_RDONLY
	}
	// The kernel checks the modes (default_permissions), for it knows all groups of a pod's processes; everybody may come (allow_other).
	// The group is shown in the mount table and means nothing else here.
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=%d,allow_other,default_permissions", fd, mountGroup(e.spec))
	if err := unix.Mount(e.spec.Source, e.spec.Mountpoint, fsType, flag, data); err != nil {
		return fmt.Errorf("%w: mount: %w", ErrFailed, err)
	}
	at, ok, err := mountpoint.Find(e.spec.Mountpoint)
	if err == nil && (!ok || at.Source != e.spec.Source) {
		err = fmt.Errorf("%w: something else was mounted at %s at the same time", ErrConflict, e.spec.Mountpoint)
	}
	if err != nil {
		return errors.Join(err, unix.Unmount(e.spec.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}
	e.device = device(*at)
	return nil
}

// run starts the process. An engine has the descriptors of pkg/coldfs/control, a session of its own, and nothing of the holder's environment.
func (e *engine) run(config, secret, theirs, log *os.File) error {
	cmd := exec.Command(e.kind.Binary)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", fmt.Sprintf("GOMEMLIMIT=%d", e.kind.Memory),
		envMountpoint + e.spec.Mountpoint, envSpec + digest(e.spec)}
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{e.fuse, config, secret, theirs}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: &syscall.Credential{Uid: e.kind.UID, Gid: e.kind.UID}}
	group, err := newMemoryGroup(name(e.spec.Mountpoint), e.kind.Memory+MemoryRoom)
	if err != nil {
		klog.Background().Info("An engine has no limit of its memory but that of its garbage collector: no control group can be made for it", "mountpoint", e.spec.Mountpoint, "reason", err.Error())
	}
	e.group = group
	e.group.prepare(cmd.SysProcAttr)
	err = cmd.Start()
	e.group.started(cmd)
	if err != nil {
		return errors.Join(fmt.Errorf("%w: %w", ErrFailed, err), unix.Unmount(e.spec.Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW))
	}
	e.cmd = cmd
	return nil
}

func (e *engine) process() *exec.Cmd { return e.cmd }

// listen takes what the engine says until it says no more.
func (e *engine) listen() {
	defer close(e.silent)
	backings := &control.Backings{Fuse: e.fuse, Dir: e.kind.CacheDir, UID: e.kind.UID}
	raw, rights := make([]byte, control.MaxMessage+1), make([]byte, unix.CmsgSpace(4*4))
	for {
		n, rn, _, _, err := e.conn.ReadMsgUnix(raw, rights)
		if err != nil || n == 0 {
			return
		}
		file, err := descriptor(rights[:rn])
		var m control.Message
		if err = errors.Join(err, json.Unmarshal(raw[:n], &m)); err != nil || n > control.MaxMessage {
			klog.Background().Info("An engine says what this strata-mountd doesn't understand", "mountpoint", e.spec.Mountpoint, "bytes", n)
		} else if m.Backing != nil {
			e.back(backings, *m.Backing, file)
		} else {
			e.hear(m)
		}
		if file != nil {
			_ = file.Close()
		}
	}
}

// back does what an engine can't with files of its cache.
func (e *engine) back(b *control.Backings, r control.BackingRequest, file *os.File) {
	answer := b.Do(r, file)
	if answer == nil {
		return
	}
	if answer.Refused != "" && !answer.Full {
		klog.Background().Info("An engine gets no backing file", "mountpoint", e.spec.Mountpoint, "reason", answer.Refused)
	}
	if err := e.order(control.Order{Backing: answer}, nil); err != nil {
		klog.Background().Info("An engine isn't told of its backing file", "mountpoint", e.spec.Mountpoint, "reason", err.Error())
	}
}

// The most that is kept of an engine's words: all of it goes into one message to strata-node.
const (
	maxConditions = 16
	maxText       = 1 << 10
)

func (e *engine) hear(m control.Message) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case m.Init != nil:
		e.init = m.Init
	case m.Ready:
		select {
		case <-e.ready:
		default:
			close(e.ready)
		}
	case m.Failed != nil:
		m.Failed.Text = e.presentable(m.Failed.Text)
		e.failed = m.Failed
	case m.Metrics != nil:
		if err := e.kind.metrics.tell(e, m.Metrics); err != nil {
			klog.Background().Info("An engine counts what this strata-mountd doesn't understand", "mountpoint", e.spec.Mountpoint, "reason", err.Error())
		}
	case m.Health != nil:
		e.conditions = nil
		for _, c := range m.Health.Conditions[:min(len(m.Health.Conditions), maxConditions)] {
			e.conditions = append(e.conditions, control.Condition{Reason: e.presentable(c.Reason), Text: e.presentable(c.Text)})
		}
		for _, c := range e.conditions {
			klog.Background().Info("An engine says what is wrong", "mountpoint", e.spec.Mountpoint, "reason", c.Reason, "text", c.Text)
		}
	}
}

// presentable is a text of an engine without secrets and of bounded length. Engines have none in their texts; this is for the one that has a mistake.
func (e *engine) presentable(text string) string {
	for _, word := range e.hidden {
		text = strings.ReplaceAll(text, word, "[redacted]")
	}
	return text[:min(len(text), maxText)]
}

// mounted waits until the engine is ready.
func (e *engine) mounted(ctx context.Context, ended <-chan struct{}) (string, error) {
	select {
	case <-e.ready:
		e.widen()
		return e.device, nil
	case <-e.silent:
		select { // its log may lack its last words still
		case <-ended:
		case <-ctx.Done():
		case <-time.After(abandonTime):
		}
	case <-ended:
		<-e.silent // its last words come before its end
	case <-ctx.Done():
		return e.device, fmt.Errorf("%w: strata-coldfs wasn't ready in time: %s", ErrUnreachable, e.presentable(tail(e.kind.logDir, e.spec.Mountpoint)))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.failed == nil {
		return e.device, fmt.Errorf("%w: strata-coldfs ended before it was ready: %s", ErrFailed, e.presentable(tail(e.kind.logDir, e.spec.Mountpoint)))
	}
	return e.device, &remoteError{sentinel: failureOf(e.failed.Code), text: "strata-coldfs: " + e.failed.Text}
}

// failureOf is the error that a code of control.Failure stands for.
func failureOf(code string) error {
	switch code {
	case control.CodeDenied:
		return ErrDenied
	case control.CodeNotFound:
		return ErrNotFound
	case control.CodeUnreachable:
		return ErrUnreachable
	case control.CodeInvalid:
		return ErrInvalid
	}
	return ErrFailed
}

// readAhead is how far the kernel reads ahead of a reader, in KiB. Its own 128 make every request small; several MiB would be read for each page fault of a
// mapped file, too.
const readAhead = "1024"

// widen sets the read-ahead of the mount, which no option and no answer of FUSE can raise.
func (e *engine) widen() {
	if err := os.WriteFile("/sys/class/bdi/"+e.device+"/read_ahead_kb", []byte(readAhead), 0o644); err != nil {
		klog.Background().V(2).Info("Can't raise the read-ahead", "mountpoint", e.spec.Mountpoint, "reason", err.Error())
	}
}

// accepted: an engine that doesn't take its configuration isn't ready.
func (*engine) accepted() error { return nil }

// release aborts the connection when no engine has it any more: who waits for an answer gets ENOTCONN.
func (e *engine) release() {
	if e.fuse != nil {
		_ = e.fuse.Close()
	}
	if e.cmd != nil { // its last words may not be read yet; the socket's end, which comes with that of the process, is behind them
		select {
		case <-e.silent:
		case <-time.After(orderTime):
		}
	}
	e.kind.metrics.end(e)
	_ = e.conn.Close()
	if err := e.group.remove(); err != nil {
		klog.Background().Info("Can't remove the control group of an engine", "mountpoint", e.spec.Mountpoint, "reason", err.Error())
	}
}

// orderTime is how long an engine may leave an order unread: one that does anything reads it at once.
const orderTime = 5 * time.Second

// order tells the engine something. file, when not nil, goes with it.
func (e *engine) order(o control.Order, file *os.File) error {
	_ = e.conn.SetWriteDeadline(time.Now().Add(orderTime))
	fd := -1
	if file != nil {
		fd = int(file.Fd())
	}
	if err := send(e.conn, o, fd); err != nil {
		return fmt.Errorf("%w: strata-coldfs takes no orders: %w", ErrBusy, err)
	}
	return nil
}

// state is what the engine has said of itself.
func (e *engine) state() (init []byte, conditions []control.Condition) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.init, e.conditions
}
