package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	probeName = "strata-probe"
	probeSize = 32 << 20
)

// Probe finds out whether the directory can hold volumes: it makes a small one, fills it beyond its size, and destroys it. A directory that
// can't is a *disk.Refused.
func Probe(ctx context.Context, path string) (*Disk, error) {
	d, err := Open(path)
	if err != nil {
		return nil, refused(err)
	}
	if err := d.probe(ctx); err != nil {
		return nil, refused(err)
	}
	return d, nil
}

func refused(err error) error { return &disk.Refused{Kind: disk.Loop, Reason: err.Error()} }

func (d *Disk) probe(ctx context.Context) error {
	if err := os.Mkdir(d.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("making a directory for the images: %w", err)
	}
	unlock, err := d.alone(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	mnt := filepath.Join(d.dir, probeName)
	// What a probe left that was killed.
	for unix.Unmount(mnt, unix.UMOUNT_NOFOLLOW) == nil {
	}
	if err := os.Mkdir(mnt, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	err = d.tryVolume(ctx, mnt)
	after := context.WithoutCancel(ctx)
	return errors.Join(err, d.Destroy(after, probeName, disk.WipeNone), os.Remove(mnt))
}

// alone keeps a second probe of the directory out, by another process.
func (d *Disk) alone(ctx context.Context) (func(), error) {
	dir, err := os.Open(d.dir)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = dir.Close() }, nil
		}
		if err != unix.EWOULDBLOCK && err != unix.EINTR {
			return nil, errors.Join(os.NewSyscallError("flock", err), dir.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("another process tries %s: %w", d.path, ctx.Err()), dir.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (d *Disk) tryVolume(ctx context.Context, mnt string) error {
	if err := d.Create(ctx, disk.Spec{Name: probeName, Size: probeSize}); err != nil {
		return err
	}
	if err := d.Mount(ctx, probeName, disk.Mount{Path: mnt}); err != nil {
		return err
	}
	err := errors.Join(d.Mounted(ctx, probeName, mnt), tryLimit(mnt))
	if uerr := unix.Unmount(mnt, unix.UMOUNT_NOFOLLOW); uerr != nil {
		err = errors.Join(err, &os.PathError{Op: "umount", Path: mnt, Err: uerr})
	}
	return err
}

// tryLimit writes until the volume refuses, which has to be at its size.
func tryLimit(mnt string) error {
	f, err := os.Create(filepath.Join(mnt, "fill"))
	if err != nil {
		return err
	}
	defer f.Close()
	b := make([]byte, 1<<20)
	for written := 0; written <= probeSize; {
		n, err := f.Write(b)
		if err == nil {
			err = f.Sync()
		}
		written += n
		if errors.Is(err, unix.ENOSPC) && written > probeSize/2 {
			return nil
		}
		if err != nil {
			return fmt.Errorf("a volume of %d bytes took only %d: %w", int64(probeSize), written, err)
		}
	}
	return fmt.Errorf("%w: a volume of %d bytes took more: its limit doesn't hold", volume.ErrPrecondition, int64(probeSize))
}
