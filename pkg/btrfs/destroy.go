package btrfs

// Destroying a subvolume with all that lie within it.

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readOnly = 1 << 1 // BTRFS_SUBVOL_RDONLY

	// batch is how many nested subvolumes are found at a time.
	batch = 256
	// attempts is how often a subvolume is tried again into which others were made meanwhile.
	attempts = 10
)

// Destroy takes away the subvolume of that name in a directory and every subvolume within it, however deep: the kernel itself
// refuses one that isn't empty of others. Nested ones are found in the tree of roots and opened by inode number: there is no path
// that a link, a rename or its length could spoil. A name that doesn't exist is no error. The space is free only when Await says so; the
// ids are of all that were destroyed, children before parents.
func (fs *FS) Destroy(ctx context.Context, dir *os.File, name string) (ids []uint64, err error) {
	s, err := fs.Lookup(dir, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	id := s.ID
	defer s.Close()
	return fs.destroy(ctx, dir, child{id: id, name: name})
}

// destroy walks with a stack of its own: how deep subvolumes are nested is their maker's choice.
func (fs *FS) destroy(ctx context.Context, dir *os.File, top child) (ids []uint64, err error) {
	type level struct {
		child
		parent uint64 // 0 for the top
		tries  int
	}
	stack := []level{{child: top}}
	for len(stack) > 0 {
		if err := ctx.Err(); err != nil {
			return ids, fmt.Errorf("destroying subvolume %q: %w", top.name, err)
		}
		at := &stack[len(stack)-1]
		nested, err := fs.children(at.id, batch)
		if err != nil {
			return ids, err
		}
		if len(nested) > 0 {
			if at.tries++; at.tries > attempts && len(nested) < batch {
				return ids, fmt.Errorf("destroying subvolume %q: others are made within it all the time: stop what uses it", top.name)
			}
			parent := at.id
			if err := fs.makeWritable(parent); err != nil {
				return ids, err
			}
			for _, c := range nested {
				stack = append(stack, level{child: c, parent: parent})
			}
			continue
		}
		if err := fs.remove(dir, at.parent, at.child); err != nil {
			return ids, err
		}
		ids = append(ids, at.id)
		stack = stack[:len(stack)-1]
	}
	return ids, nil
}

// remove destroys one subvolume without others in it.
func (fs *FS) remove(dir *os.File, parent uint64, c child) error {
	if parent != 0 {
		d, err := fs.openInode(parent, c.directory)
		if err != nil {
			return fmt.Errorf("the directory of subvolume %d: %w", c.id, err)
		}
		defer d.Close()
		dir = d
	}
	arg, err := named(c.name)
	if err != nil {
		return err
	}
	err = ioctl(dir, "BTRFS_IOC_SNAP_DESTROY "+c.name, iocSnapDestroy, arg)
	if errors.Is(err, unix.ENOENT) {
		return nil // somebody else did
	}
	return err
}

// makeWritable lets others be taken out of a subvolume that its owner made read-only.
func (fs *FS) makeWritable(id uint64) error {
	f, err := fs.openInode(id, firstFree)
	if err != nil {
		return fmt.Errorf("subvolume %d: %w", id, err)
	}
	defer f.Close()
	flags := make([]byte, 8)
	if err := ioctl(f, "BTRFS_IOC_SUBVOL_GETFLAGS", iocGetFlags, flags); err != nil {
		return err
	}
	if order.Uint64(flags)&readOnly == 0 {
		return nil
	}
	return ioctl(f, "BTRFS_IOC_SUBVOL_SETFLAGS", iocSetFlags, words(order.Uint64(flags)&^readOnly))
}

// openInode opens a directory by its numbers, with a file handle as btrfs makes them: struct btrfs_fid without a parent, and a
// generation of 0, which stands for any. It takes CAP_DAC_READ_SEARCH.
func (fs *FS) openInode(subvolume, inode uint64) (*os.File, error) {
	const withoutParent, size = 0x4d, 20
	fid := make([]byte, size)
	binary.NativeEndian.PutUint64(fid, inode)
	binary.NativeEndian.PutUint64(fid[8:], subvolume)
	fd, err := unix.OpenByHandleAt(int(fs.dir.Fd()), unix.NewFileHandle(withoutParent, fid), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("open_by_handle_at", err)
	}
	return os.NewFile(uintptr(fd), fmt.Sprintf("subvolume %d, inode %d", subvolume, inode)), nil
}

// settled is how long the end of a subvolume may take before it is looked into why.
const settled = 20 * time.Millisecond

// Await waits until subvolumes that were destroyed are cleaned and their space is free, up to what others refer to. One in which somebody has a file
// open is not cleaned before it is closed.
func (fs *FS) Await(ctx context.Context, ids ...uint64) error {
	if len(ids) == 0 {
		return nil
	}
	pause := time.Millisecond
	for _, id := range ids {
		for {
			state, err := fs.State(id)
			if err != nil {
				return err
			}
			if state == Gone {
				break
			}
			// Each time: cleaning follows a commit, and one that was under way may have begun before the end of the subvolume.
			if pause > settled {
				if err := fs.stir(); err != nil {
					return err
				}
			}
			if err := fs.Commit(); err != nil {
				return err
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("waiting for the space of subvolume %d: %w", id, ctx.Err())
			case <-time.After(pause):
			}
			pause = min(2*pause, 200*time.Millisecond)
		}
	}
	// The blocks that cleaning took away are free, and charged to nobody, after one more.
	return fs.Committed()
}
