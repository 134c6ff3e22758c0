package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/volume"
)

// portion is how much is set aside or overwritten between two looks at the context.
const portion = 4 << 30

// allocate sets the space of an image aside from one size up to another. What it got before an error stays; the caller takes it away.
func (d *Disk) allocate(ctx context.Context, image *os.File, from, to int64) error {
	exhausted := func() error {
		free, err := d.free()
		return errors.Join(fmt.Errorf("%w: scratch directory %s has %d MiB free and %d MiB were asked for", volume.ErrExhausted, d.path, free>>20, (to-from)>>20), err)
	}
	free, err := d.free()
	if err != nil {
		return err
	}
	// Root could have what the file system keeps in reserve, and what a disk needs for itself: see Capacity.
	if to-from > free {
		return exhausted()
	}
	for at := from; at < to; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(portion, to-at)
		d.counting.Lock()
		err := unix.Fallocate(int(image.Fd()), 0, at, n)
		d.counting.Unlock()
		switch err {
		case nil:
			at += n
		case unix.EINTR:
		case unix.ENOSPC, unix.EDQUOT, unix.EFBIG:
			return errors.Join(exhausted(), err)
		case unix.EOPNOTSUPP:
			return fmt.Errorf("%w: the file system of %s can't set space aside (fallocate): use ext4, xfs or btrfs", volume.ErrPrecondition, d.path)
		default:
			return &os.PathError{Op: "fallocate", Path: image.Name(), Err: err}
		}
	}
	return nil
}

const (
	iocGetFlags = 0x80086601 // FS_IOC_GETFLAGS
	iocSetFlags = 0x40086602 // FS_IOC_SETFLAGS
	flagNoCow   = 0x00800000 // FS_NOCOW_FL
)

// inPlace makes btrfs write where the space was set aside, not elsewhere (btrfs(5), nodatacow). It has to come before the first byte.
func (d *Disk) inPlace(image *os.File) error {
	s, err := d.statfs()
	if err != nil || s.Type != unix.BTRFS_SUPER_MAGIC {
		return err
	}
	flags, err := unix.IoctlGetInt(int(image.Fd()), iocGetFlags)
	if err != nil {
		return &os.PathError{Op: "FS_IOC_GETFLAGS", Path: image.Name(), Err: err}
	}
	if err := unix.IoctlSetPointerInt(int(image.Fd()), iocSetFlags, flags|flagNoCow); err != nil {
		return &os.PathError{Op: "FS_IOC_SETFLAGS", Path: image.Name(), Err: err}
	}
	return nil
}

// zero overwrites all of an image, on the disk.
func zero(ctx context.Context, image *os.File) error {
	s, err := image.Stat()
	if err != nil {
		return err
	}
	b := make([]byte, 4<<20)
	for at := int64(0); at < s.Size(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := image.WriteAt(b[:min(int64(len(b)), s.Size()-at)], at)
		if err != nil {
			return err
		}
		at += int64(n)
		// The node's memory isn't to fill with zeros.
		if at%(256<<20) == 0 {
			if err := image.Sync(); err != nil {
				return err
			}
			_ = unix.Fadvise(int(image.Fd()), 0, at, unix.FADV_DONTNEED)
		}
	}
	return image.Sync()
}

// trimRange is struct fstrim_range, iocTrim FITRIM of include/uapi/linux/fs.h.
type trimRange struct{ start, length, minimum uint64 }

const iocTrim = 0xc0185879

// discard tells the disk which space isn't needed, after the image has gone. A disk that can't be told is none the worse.
func (d *Disk) discard() error {
	dir, err := os.Open(d.path)
	if err != nil {
		return err
	}
	defer dir.Close()
	// What is still in the journal counts as used.
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return &os.PathError{Op: "syncfs", Path: d.path, Err: err}
	}
	r := trimRange{length: ^uint64(0)}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, dir.Fd(), iocTrim, uintptr(unsafe.Pointer(&r)))
	if errno != 0 && errno != unix.EOPNOTSUPP && errno != unix.ENOTTY {
		return &os.PathError{Op: "FITRIM", Path: d.path, Err: errno}
	}
	return nil
}
