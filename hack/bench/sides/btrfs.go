package sides

// The floor of kind btrfs.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/btrfs"
)

// subvolumes: a subvolume, a group of its own with the limit, and a bind mount; back: the unmount, the end of the subvolume, the wait for its
// space, and the end of the group.
type subvolumes struct {
	fs      *btrfs.FS
	dir     *os.File
	targets string
	size    int64
}

// NewBtrfs is the floor of kind btrfs, with volumes of size bytes on the file system at disk, mounted below targets.
func NewBtrfs(disk, targets string, size int64) (Side, error) {
	fs, err := btrfs.Open(disk)
	if err != nil {
		return nil, err
	}
	f := &subvolumes{fs: fs, targets: targets, size: size}
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

func (f *subvolumes) Publish(_ context.Context, i int) error {
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
	if err := f.fs.Limit(group, f.size); err != nil {
		return err
	}
	if err := f.fs.Assign(btrfs.NewGroup(0, s.ID), group); err != nil {
		return err
	}
	return os.NewSyscallError("bind", unix.Mount(s.Name(), target, "", unix.MS_BIND, ""))
}

func (f *subvolumes) Unpublish(ctx context.Context, i int) error {
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

func (f *subvolumes) Close() error { return errors.Join(f.dir.Close(), f.fs.Close()) }
