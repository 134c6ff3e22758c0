package control

// Files of the cache that stand for open files of a mount (FUSE passthrough). The kernel takes them from who has CAP_SYS_ADMIN in the initial user namespace alone, which the holder has and an
// engine hasn't; include/uapi/linux/fuse.h, FUSE_DEV_IOC_BACKING_OPEN.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// BackingRequest asks for a backing file, which comes with the message (SCM_RIGHTS), or with Close gives one back, which isn't answered.
type BackingRequest struct {
	Request uint64 `json:"request,omitempty"` // the engine's number of the request, which the answer has too
	Close   int32  `json:"close,omitempty"`
}

// BackingAnswer is the kernel's id for the backing file, or why there is none. Full: too many are open, and later there may be one.
type BackingAnswer struct {
	Request uint64 `json:"request"`
	ID      int32  `json:"id,omitempty"`
	Refused string `json:"refused,omitempty"`
	Full    bool   `json:"full,omitempty"`
}

// MaxBackings is how many backing files a connection may have at once. Each is a file that the kernel has open, which no table of open files shows.
const MaxBackings = 1024

// Backings are those of one connection. They are for one goroutine.
type Backings struct {
	Fuse *os.File // /dev/fuse
	Dir  string   // where the files may be, or below
	UID  uint32   // the only owner that they may have

	open map[int32]bool
}

// The requests of ioctl(2), as include/uapi/linux/fuse.h makes them of its magic number, 229.
const (
	ioctlBackingOpen  = 0x4010e501
	ioctlBackingClose = 0x4004e502
)

// Do does what an engine asks for; file is what came with the message, or nil. nil: there is nothing to answer.
func (b *Backings) Do(r BackingRequest, file *os.File) *BackingAnswer {
	if r.Close != 0 {
		if b.open[r.Close] {
			delete(b.open, r.Close)
			_, _ = b.ioctl(ioctlBackingClose, unsafe.Pointer(&r.Close))
		}
		return nil
	}
	a := &BackingAnswer{Request: r.Request}
	if a.Full = len(b.open) >= MaxBackings; a.Full {
		a.Refused = fmt.Sprintf("%d backing files are open, which is the most", MaxBackings)
		return a
	}
	if err := b.check(file); err != nil {
		a.Refused = err.Error()
		return a
	}
	arg := struct {
		fd, flags int32
		padding   uint64
	}{fd: int32(file.Fd())}
	id, err := b.ioctl(ioctlBackingOpen, unsafe.Pointer(&arg))
	if err != nil {
		a.Refused = fmt.Sprintf("the kernel takes no backing file: %v", err)
		return a
	}
	if b.open == nil {
		b.open = map[int32]bool{}
	}
	b.open[id] = true
	a.ID = id
	return a
}

func (b *Backings) ioctl(request uintptr, arg unsafe.Pointer) (id int32, err error) {
	conn, err := b.Fuse.SyscallConn() // Fd could be of another file by now: when the engine ends it is closed
	if err != nil {
		return 0, err
	}
	var errno unix.Errno
	err = conn.Control(func(fd uintptr) {
		var n uintptr
		n, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(arg))
		id = int32(n)
	})
	if err == nil && errno != 0 {
		err = errno
	}
	return id, err
}

// errNoBacking: the file isn't one that an engine may pass on.
var errNoBacking = errors.New("not a backing file")

// check refuses what isn't a file of the cache. The kernel opens a backing file anew for each open file, with the rights of who gave it and for what the engine says it was opened for: of a file that isn't the engine's own
// that would make one that the engine can write.
func (b *Backings) check(file *os.File) error {
	if file == nil {
		return fmt.Errorf("%w: no descriptor came with the request", errNoBacking)
	}
	fd := int(file.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("%w: %w", errNoBacking, err)
	}
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoBacking, err)
	}
	dir, err := filepath.EvalSymlinks(b.Dir)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoBacking, err)
	}
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return fmt.Errorf("%w: %w", errNoBacking, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%w: it is no regular file", errNoBacking)
	case flags&(unix.O_ACCMODE|unix.O_PATH) != unix.O_RDONLY:
		return fmt.Errorf("%w: it isn't open for reading alone", errNoBacking)
	case st.Uid != b.UID:
		return fmt.Errorf("%w: it is of user %d, not of %d", errNoBacking, st.Uid, b.UID)
	case st.Nlink != 1 || !strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/"):
		return fmt.Errorf("%w: it isn't a file below %s", errNoBacking, dir)
	}
	return nil
}
