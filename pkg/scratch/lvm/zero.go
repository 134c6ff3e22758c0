package lvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/volume"
)

// Requests of include/uapi/linux/fs.h.
const (
	blkDiscard = 0x1277 // BLKDISCARD
	blkZeroOut = 0x127f // BLKZEROOUT
)

// piece is what is zeroed between two looks at the context, bytes.
const piece = 64 << 20

// openDevice opens a block device for writing and keeps file systems off it.
func openDevice(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_EXCL, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, fmt.Errorf("%w: something still uses it: %w", volume.ErrUnavailable, err)
	}
	return f, err
}

// zero makes a device read as zeros from an offset to its end. The kernel uses the disk's own command where there is one; it is not
// allowed to discard instead, after which a disk may answer with anything.
func zero(ctx context.Context, f *os.File, from int64) error {
	return inPieces(ctx, f, from, blkZeroOut)
}

// discard tells the disk that nothing on the device is needed. A disk that can't isn't asked.
func discard(ctx context.Context, f *os.File) error {
	if err := inPieces(ctx, f, 0, blkDiscard); !errors.Is(err, unix.EOPNOTSUPP) {
		return err
	}
	return nil
}

func inPieces(ctx context.Context, f *os.File, from int64, request uint) error {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for at := from; at < size; at += piece {
		if err := ctx.Err(); err != nil {
			return err
		}
		r := [2]uint64{uint64(at), uint64(min(piece, size-at))}
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(unsafe.Pointer(&r))); errno != 0 {
			return fmt.Errorf("ioctl %#x of %s at %d: %w", request, f.Name(), at, errno)
		}
	}
	return nil
}
