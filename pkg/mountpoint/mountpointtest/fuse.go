// Package mountpointtest makes real FUSE mounts in the states that tests of
// mount handling need: answering, silent, evicted and dead. It needs root and /dev/fuse,
// and fails the test without them: a skipped test proves nothing.
package mountpointtest

// This file speaks the few messages of the FUSE protocol (include/uapi/linux/fuse.h)
// that make an empty, healthy root directory.

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// FSType is the file system type the mounts show, that of a real ceph-fuse.
const FSType = "fuse.ceph-fuse"

const (
	opGetattr  = 3
	opStatfs   = 17
	opGetxattr = 22
	opInit     = 26
	opOpendir  = 27
	opReaddir  = 28

	inHeader  = 40
	outHeader = 16
)

// FUSE is a mounted FUSE connection whose server end is in this process.
type FUSE struct {
	dev *os.File
	cut atomic.Uint32 // the errno of Cut, 0 before
	// Init, when it isn't nil, gets the kernel's first request as it was read, before it is answered.
	Init func(request []byte)
}

// On is the server's end of a connection that somebody else has mounted.
func On(dev *os.File) *FUSE { return &FUSE{dev: dev} }

// Mount mounts a FUSE file system at dir. Nothing answers it until Serve runs.
func Mount(dir string, flags uintptr) (*FUSE, error) { return MountFrom("strata-test", dir, flags) }

// MountFrom is Mount with the source that the mount table shows.
func MountFrom(source, dir string, flags uintptr) (*FUSE, error) {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: "/dev/fuse", Err: err}
	}
	dev := os.NewFile(uintptr(fd), "/dev/fuse")
	data := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other", fd)
	if err := unix.Mount(source, dir, FSType, flags|unix.MS_NOSUID|unix.MS_NODEV, data); err != nil {
		return nil, errors.Join(os.NewSyscallError("mount", err), dev.Close())
	}
	return &FUSE{dev: dev}, nil
}

// Kill closes the server's end: every later call on the mount gives ENOTCONN.
func (f *FUSE) Kill() error { return f.dev.Close() }

// Cut makes Serve answer stat of the root with ENOENT, as ceph-fuse does after any failure, and the question for an attribute with
// cause: ESHUTDOWN for a client that was evicted. It goes on answering statfs.
func (f *FUSE) Cut(cause unix.Errno) { f.cut.Store(uint32(cause)) }

// Serve answers until the mount is gone (nil) or reading fails. Without it the
// mount is silent: calls on it wait.
func (f *FUSE) Serve() error {
	buf := make([]byte, 1<<17)
	for {
		n, err := f.dev.Read(buf)
		if errors.Is(err, unix.ENODEV) {
			return nil
		}
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return err
		}
		if n < inHeader {
			return fmt.Errorf("short FUSE request of %d bytes", n)
		}
		if err := f.answer(buf[:n]); err != nil && !errors.Is(err, unix.ENOENT) {
			return err
		}
	}
}

func (f *FUSE) answer(req []byte) error {
	le := binary.LittleEndian
	opcode, unique := le.Uint32(req[4:]), le.Uint64(req[8:])
	const forget, batchForget, interrupt = 2, 42, 36
	if opcode == forget || opcode == batchForget || opcode == interrupt {
		return nil
	}
	if opcode == opInit && f.Init != nil {
		f.Init(req)
	}
	body, errno := reply(opcode)
	if cause := unix.Errno(f.cut.Load()); cause != 0 {
		switch opcode {
		case opGetattr:
			body, errno = nil, unix.ENOENT
		case opGetxattr:
			body, errno = nil, cause
		}
	}
	out := make([]byte, outHeader, outHeader+len(body))
	le.PutUint32(out, uint32(outHeader+len(body)))
	le.PutUint32(out[4:], uint32(-int32(errno)))
	le.PutUint64(out[8:], unique)
	_, err := f.dev.Write(append(out, body...))
	return err
}

func reply(opcode uint32) ([]byte, unix.Errno) {
	le := binary.LittleEndian
	switch opcode {
	case opInit: // struct fuse_init_out
		b := make([]byte, 64)
		le.PutUint32(b, 7)
		le.PutUint32(b[4:], 31)
		le.PutUint32(b[20:], 4096)
		return b, 0
	case opGetattr: // struct fuse_attr_out with its struct fuse_attr at 16
		b := make([]byte, 104)
		le.PutUint64(b[16:], 1)
		le.PutUint32(b[16+60:], unix.S_IFDIR|0o755)
		le.PutUint32(b[16+64:], 2)
		return b, 0
	case opStatfs: // struct fuse_kstatfs
		b := make([]byte, 80)
		le.PutUint64(b, 1000)
		le.PutUint64(b[8:], 600)
		le.PutUint64(b[16:], 500)
		le.PutUint64(b[24:], 100)
		le.PutUint64(b[32:], 90)
		le.PutUint32(b[40:], 4096)
		le.PutUint32(b[44:], 255)
		le.PutUint32(b[48:], 4096)
		return b, 0
	case opOpendir:
		return make([]byte, 16), 0
	case opReaddir:
		return nil, 0
	}
	return nil, unix.ENOSYS
}

// RequireRoot fails the test unless it runs as root.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test makes real mounts: run it as root")
	}
}

// Live mounts an answering file system at dir until the test ends.
func Live(t testing.TB, dir string) *FUSE {
	t.Helper()
	f := Silent(t, dir)
	go func() { _ = f.Serve() }()
	return f
}

// Silent mounts a file system that never answers.
func Silent(t testing.TB, dir string) *FUSE { return silent(t, "strata-test", dir) }

func silent(t testing.TB, source, dir string) *FUSE {
	t.Helper()
	RequireRoot(t)
	f, err := MountFrom(source, dir, 0)
	if err != nil {
		t.Fatalf("FUSE mount at %s: %v", dir, err)
	}
	t.Cleanup(func() {
		_ = f.Kill() // First, so that whatever hangs on the mount returns.
		detachAll(t, dir)
	})
	return f
}

// Cut mounts a file system that is FUSE.Cut from its cluster.
func Cut(t testing.TB, dir string, cause unix.Errno) { CutFrom(t, "strata-test", dir, cause) }

// CutFrom is Cut of a mount that shows a source.
func CutFrom(t testing.TB, source, dir string, cause unix.Errno) {
	t.Helper()
	f := silent(t, source, dir)
	f.Cut(cause)
	go func() { _ = f.Serve() }()
}

// Dead mounts a file system whose server is gone.
func Dead(t testing.TB, dir string) {
	t.Helper()
	if err := Silent(t, dir).Kill(); err != nil {
		t.Fatal(err)
	}
}

// TmpFS mounts an empty tmpfs of 1 MiB at dir until the test ends.
func TmpFS(t testing.TB, dir string) {
	t.Helper()
	RequireRoot(t)
	if err := unix.Mount("strata-test", dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatalf("tmpfs at %s: %v", dir, err)
	}
	t.Cleanup(func() { detachAll(t, dir) })
}

func detachAll(t testing.TB, dir string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if err := unix.Unmount(dir, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
			return // EINVAL: nothing mounted any more.
		}
	}
	t.Errorf("%s keeps being mounted", dir)
}
