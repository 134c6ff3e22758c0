package sides

// The floor of kind loop.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mkfs"
)

// loop: an image with all its space, a loop device with direct I/O and autoclear, the file system, the mount; back: the unmount, with which the
// device goes, and the end of the image.
type loop struct {
	images, targets string
	size            int64
}

// NewLoop is the floor of kind loop, with volumes of size bytes on the file system at disk, mounted below targets.
func NewLoop(disk, targets string, size int64) (Side, error) {
	f := &loop{images: filepath.Join(disk, "bare"), targets: targets, size: size}
	return f, os.Mkdir(f.images, 0o700)
}

func (f *loop) image(i int) string { return filepath.Join(f.images, fmt.Sprintf("%d.img", i)) }

func (f *loop) Publish(ctx context.Context, i int) (err error) {
	target, err := bareTarget(f.targets, i)
	if err != nil {
		return err
	}
	image, err := os.OpenFile(f.image(i), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	if err := unix.Fallocate(int(image.Fd()), 0, 0, f.size); err != nil {
		return os.NewSyscallError("fallocate", err)
	}
	device, err := attach(ctx, image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	if err := mkfs.Make(ctx, mkfs.Ext4, device.Name(), f.size, nil); err != nil { // with the driver's options
		return err
	}
	return os.NewSyscallError("mount", unix.Mount(device.Name(), target, mkfs.Ext4, unix.MS_NOATIME|unix.MS_NODEV|unix.MS_NOSUID, ""))
}

// attach is LOOP_CONFIGURE on the first device that nobody else takes meanwhile.
func attach(ctx context.Context, image *os.File) (*os.File, error) {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer control.Close()
	config := unix.LoopConfig{Fd: uint32(image.Fd()), Size: 4096}
	config.Info.Flags = unix.LO_FLAGS_DIRECT_IO | unix.LO_FLAGS_AUTOCLEAR
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, os.NewSyscallError("LOOP_CTL_GET_FREE", err)
		}
		device, err := os.OpenFile(fmt.Sprintf("/dev/loop%d", n), os.O_RDWR, 0)
		if err == nil {
			if err = unix.IoctlLoopConfigure(int(device.Fd()), &config); err == nil {
				return device, nil
			}
			_ = device.Close()
		}
		if !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENXIO) || ctx.Err() != nil {
			return nil, errors.Join(os.NewSyscallError("LOOP_CONFIGURE", err), ctx.Err())
		}
	}
}

func (f *loop) Unpublish(_ context.Context, i int) error {
	target, err := bareTarget(f.targets, i)
	if err != nil {
		return err
	}
	if err := unix.Unmount(target, 0); err != nil {
		return os.NewSyscallError("unmount "+target, err)
	}
	return os.Remove(f.image(i))
}

func (f *loop) Close() error { return nil }
