package main

// Volumes of tier scratch made by hand: what the driver can't do without, by the same calls to the kernel.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/btrfs"
	"github.com/strata-csi/strata/pkg/mkfs"
)

// localFloor makes and removes bare volumes on a disk; operation i has place i.
type localFloor interface {
	publish(ctx context.Context, i int) error
	unpublish(ctx context.Context, i int) error
	close() error
}

// bareTarget is where a bare volume is mounted.
func bareTarget(dir string, i int) (string, error) {
	path := filepath.Join(dir, fmt.Sprint("pod-", i))
	return path, os.MkdirAll(path, 0o750)
}

// loopFloor: an image with all its space, a loop device with direct I/O and autoclear, the file system, the mount; back: the unmount, with which the
// device goes, and the end of the image.
type loopFloor struct{ images, targets string }

func newLoopFloor(disk, targets string) (localFloor, error) {
	f := &loopFloor{images: filepath.Join(disk, "bare"), targets: targets}
	return f, os.Mkdir(f.images, 0o700)
}

func (f *loopFloor) image(i int) string { return filepath.Join(f.images, fmt.Sprintf("%d.img", i)) }

func (f *loopFloor) publish(ctx context.Context, i int) (err error) {
	target, err := bareTarget(f.targets, i)
	if err != nil {
		return err
	}
	image, err := os.OpenFile(f.image(i), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, image.Close()) }()
	if err := unix.Fallocate(int(image.Fd()), 0, 0, scratchSize); err != nil {
		return os.NewSyscallError("fallocate", err)
	}
	device, err := attach(ctx, image)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, device.Close()) }()
	if err := mkfs.Make(ctx, mkfs.Ext4, device.Name(), scratchSize, nil); err != nil { // with the driver's options
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

func (f *loopFloor) unpublish(_ context.Context, i int) error {
	target, err := bareTarget(f.targets, i)
	if err != nil {
		return err
	}
	if err := unix.Unmount(target, 0); err != nil {
		return os.NewSyscallError("unmount "+target, err)
	}
	return os.Remove(f.image(i))
}

func (f *loopFloor) close() error { return nil }

// btrfsFloor: a subvolume, a group of its own with the limit, and a bind mount; back: the unmount, the end of the subvolume, the wait for its
// space, and the end of the group.
type btrfsFloor struct {
	fs      *btrfs.FS
	dir     *os.File
	targets string
}

func newBtrfsFloor(disk, targets string) (localFloor, error) {
	fs, err := btrfs.Open(disk)
	if err != nil {
		return nil, err
	}
	f := &btrfsFloor{fs: fs, targets: targets}
	if err := os.Mkdir(filepath.Join(disk, "bare"), 0o700); err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	if f.dir, err = os.Open(filepath.Join(disk, "bare")); err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	return f, nil
}

// The driver's groups are of level 1.
func bareGroup(id uint64) btrfs.Group { return btrfs.NewGroup(2, id) }

func (f *btrfsFloor) publish(_ context.Context, i int) error {
	target, err := bareTarget(f.targets, i)
	if err != nil {
		return err
	}
	if err := f.fs.Create(f.dir, fmt.Sprint(i)); err != nil {
		return err
	}
	s, err := f.fs.Lookup(f.dir, fmt.Sprint(i))
	if err != nil {
		return err
	}
	defer s.Close()
	group := bareGroup(s.ID)
	if err := f.fs.CreateGroup(group); err != nil {
		return err
	}
	if err := f.fs.Limit(group, scratchSize); err != nil {
		return err
	}
	if err := f.fs.Assign(btrfs.NewGroup(0, s.ID), group); err != nil {
		return err
	}
	return os.NewSyscallError("bind", unix.Mount(s.Name(), target, "", unix.MS_BIND, ""))
}

func (f *btrfsFloor) unpublish(ctx context.Context, i int) error {
	target, err := bareTarget(f.targets, i)
	if err != nil {
		return err
	}
	if err := unix.Unmount(target, 0); err != nil {
		return os.NewSyscallError("unmount "+target, err)
	}
	ids, err := f.fs.Destroy(ctx, f.dir, fmt.Sprint(i))
	if err != nil {
		return err
	}
	if err := f.fs.Await(ctx, ids...); err != nil {
		return err
	}
	for _, id := range ids {
		if err := errors.Join(f.fs.RemoveGroup(btrfs.NewGroup(0, id)), f.fs.RemoveGroup(bareGroup(id))); err != nil {
			return err
		}
	}
	return nil
}

func (f *btrfsFloor) close() error { return errors.Join(f.dir.Close(), f.fs.Close()) }
