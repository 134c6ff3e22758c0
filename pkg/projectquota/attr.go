package projectquota

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Attr is what an inode says about projects, and the two flags that keep even root from removing it.
type Attr struct {
	Project   uint32
	Inherit   bool // what is made in this directory gets its project, and this flag
	Immutable bool
	Append    bool // only appending is allowed
}

// fsxattr is struct fsxattr of linux/fs.h.
type fsxattr struct {
	xflags, extsize, nextents, project, cowextsize uint32
	_                                              [8]byte
}

// The ioctls of linux/fs.h, _IOR('X', 31, struct fsxattr) and _IOW('X', 32, struct fsxattr), as encoded by every architecture
// but Alpha, MIPS, PowerPC and SPARC.
const (
	fsGetXattr = 2<<30 | unsafe.Sizeof(fsxattr{})<<16 | 'X'<<8 | 31
	fsSetXattr = 1<<30 | unsafe.Sizeof(fsxattr{})<<16 | 'X'<<8 | 32
)

// FS_XFLAG_* of linux/fs.h.
const (
	flagImmutable = 0x8
	flagAppend    = 0x10
	flagInherit   = 0x200
)

// GetAttr reads the attributes of an open file or directory. A file system without them answers ENOTTY or EOPNOTSUPP.
func GetAttr(f *os.File) (Attr, error) {
	x, err := get(f)
	if err != nil {
		return Attr{}, err
	}
	return Attr{Project: x.project, Inherit: x.xflags&flagInherit != 0, Immutable: x.xflags&flagImmutable != 0, Append: x.xflags&flagAppend != 0}, nil
}

// SetAttr changes the attributes of an open file or directory and leaves all it doesn't know as it is. What a directory
// holds already keeps its own.
func SetAttr(f *os.File, a Attr) error {
	x, err := get(f)
	if err != nil {
		return err
	}
	x.project = a.Project
	for flag, set := range map[uint32]bool{flagInherit: a.Inherit, flagImmutable: a.Immutable, flagAppend: a.Append} {
		x.xflags &^= flag
		if set {
			x.xflags |= flag
		}
	}
	if err := control(f, fsSetXattr, &x); err != nil {
		return fmt.Errorf("set project %d of %s (FS_IOC_FSSETXATTR): %w", a.Project, f.Name(), err)
	}
	return nil
}

func get(f *os.File) (fsxattr, error) {
	var x fsxattr
	if err := control(f, fsGetXattr, &x); err != nil {
		return x, fmt.Errorf("read the project of %s (FS_IOC_FSGETXATTR): %w", f.Name(), err)
	}
	return x, nil
}

func control(f *os.File, request uintptr, x *fsxattr) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var errno unix.Errno
	err = raw.Control(func(fd uintptr) {
		for errno = unix.EINTR; errno == unix.EINTR; {
			_, _, errno = unix.Syscall(unix.SYS_IOCTL, fd, request, uintptr(unsafe.Pointer(x)))
		}
	})
	if err == nil && errno != 0 {
		return errno
	}
	return err
}
