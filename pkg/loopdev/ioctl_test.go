package loopdev

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// blockIoctl is an ioctl of a block device with {start, length} in bytes.
func blockIoctl(f *os.File, request uint, extent *[2]uint64) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(unsafe.Pointer(extent))); errno != 0 {
		return errno
	}
	return nil
}
