package cephkernel

// Whether this node can mount CephFS with its kernel.

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Available reports whether the kernel client can be used here, and if not, why
// in words for an operator. It asks for what a mount asks for, so the kernel
// loads its module by itself if it has one: through the host's modprobe even
// when the caller lives in a container without it.
func Available() (ok bool, reason string) {
	fs, err := openContext()
	if err != nil {
		return false, err.Error()
	}
	_ = unix.Close(fs)
	return true, ""
}

// openContext opens a file system context of the ceph client.
func openContext() (int, error) {
	fs, err := unix.Fsopen(fsType, unix.FSOPEN_CLOEXEC)
	if err == nil {
		return fs, nil
	}
	var why string
	switch {
	case errors.Is(err, unix.ENODEV):
		why = "this kernel has no ceph file system and could not load a module for it (on the host: modprobe ceph)"
	case errors.Is(err, unix.ENOSYS):
		why = "this kernel has no fsopen(2); Linux 5.2 or newer is needed"
	case errors.Is(err, unix.EPERM):
		why = "the process may not mount; CAP_SYS_ADMIN is needed"
	default:
		why = "fsopen(2) failed"
	}
	return -1, fmt.Errorf("%w: %s: %w", ErrUnavailable, why, err)
}
