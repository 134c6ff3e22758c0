package btrfs

// The ioctls and how they are called.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

const magic = 0x94

// The directions of an ioctl number (asm-generic/ioctl.h), which x86-64 and arm64 share.
const (
	write = 1
	read  = 2
)

func number(direction, nr, size uintptr) uintptr { return direction<<30 | size<<16 | magic<<8 | nr }

var (
	iocSnapDestroy  = number(write, 15, argsSize)
	iocTreeSearch   = number(read|write, 17, 4096)
	iocInoLookup    = number(read|write, 18, 4096)
	iocSpaceInfo    = number(read|write, 20, 16)
	iocWaitSync     = number(write, 22, 8)
	iocStartSync    = number(read, 24, 8)
	iocSubvolCreate = number(write, 14, argsSize)
	iocGetFlags     = number(read, 25, 8)
	iocSetFlags     = number(write, 26, 8)
	iocDevInfo      = number(read|write, 30, 4096)
	iocFSInfo       = number(read, 31, 1024)
	iocQuotaCtl     = number(read|write, 40, 16)
	iocGroupAssign  = number(write, 41, 24)
	iocGroupCreate  = number(write, 42, 16)
	iocGroupLimit   = number(read, 43, 48)
	iocDevStats     = number(read|write, 52, 1032)
)

// argsSize is that of struct btrfs_ioctl_vol_args: a number and a name.
const argsSize = 4096

// order is that of the machine, for the ioctls' own fields; items of a tree are always little-endian.
var order = binary.NativeEndian

// ioctl calls nr with an argument that the kernel reads and writes in place.
func ioctl(f *os.File, name string, nr uintptr, arg []byte) error {
	var p unsafe.Pointer
	if len(arg) > 0 {
		p = unsafe.Pointer(&arg[0])
	}
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), nr, uintptr(p))
		runtime.KeepAlive(arg)
		runtime.KeepAlive(f)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return &os.PathError{Op: name, Path: f.Name(), Err: errno}
		}
		return nil
	}
}

// words makes an argument of 64-bit fields.
func words(values ...uint64) []byte {
	b := make([]byte, 0, 8*len(values))
	for _, v := range values {
		b = order.AppendUint64(b, v)
	}
	return b
}

// named is struct btrfs_ioctl_vol_args with a name.
func named(name string) ([]byte, error) {
	if name == "" || name == "." || name == ".." || len(name) > 255 || bytes.ContainsAny([]byte(name), "/\x00") {
		return nil, &os.PathError{Op: "subvolume", Path: name, Err: unix.EINVAL}
	}
	b := make([]byte, argsSize)
	copy(b[8:], name)
	return b, nil
}

// unknownIoctl tells whether the kernel is too old for what it was asked.
func unknownIoctl(err error) bool {
	return errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP)
}
