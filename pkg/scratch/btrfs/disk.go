package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	fs "github.com/strata-csi/strata/pkg/btrfs"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// The names below the path; see the package.
const (
	homeName  = ".strata-scratch"
	dataName  = "data"
	workName  = "work"
	lowerName = "lower"
)

// level is that of the groups that hold the limits.
const level = 1

// Disk is a directory on btrfs. Its methods may be called from several goroutines.
type Disk struct {
	path string
	fs   *fs.FS
	home *os.File // PATH/.strata-scratch

	// mu is for who counts what is promised and then promises, and for who clears away groups.
	mu sync.Mutex
	// fresh has the names of the volumes that this process has made and not mounted since: the mount table needn't be asked for them.
	fresh sync.Map
}

// Open takes the directory at path as it is: for the volumes that lie there already, whatever Probe says of it.
func Open(path string) (*Disk, error) { return open(path) }

// open takes the directory at path and makes home. Nothing is tried: see Probe.
func open(path string) (_ *Disk, err error) {
	f, err := fs.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	if err := unix.Mkdirat(int(f.Dir().Fd()), homeName, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, &os.PathError{Op: "mkdir", Path: filepath.Join(path, homeName), Err: err}
	}
	home, err := fs.OpenBeneath(f.Dir(), homeName)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(home.Fd()), &st); err != nil || st.Uid != 0 || st.Mode&0o077 != 0 {
		return nil, errors.Join(fmt.Errorf("%w: %s must be a directory of root's with mode 0700", volume.ErrPrecondition, home.Name()), err, home.Close())
	}
	return &Disk{path: path, fs: f, home: home}, nil
}

// Kind is disk.Btrfs.
func (d *Disk) Kind() disk.Kind { return disk.Btrfs }

// Name is the path.
func (d *Disk) Name() string { return d.path }

// Close ends what is held open.
func (d *Disk) Close() error { return errors.Join(d.home.Close(), d.fs.Close()) }

// CheckSpec refuses what a subvolume can't be.
func (d *Disk) CheckSpec(spec disk.Spec) error {
	if err := disk.CheckName(spec.Name); err != nil {
		return err
	}
	switch {
	case spec.Block:
		return fmt.Errorf("%w: a volume of kind btrfs is a subvolume and has no block device; use a pool of kind loop or lvm", volume.ErrUnsupported)
	case spec.FSType != "" && spec.FSType != "btrfs":
		return fmt.Errorf("%w: a volume of kind btrfs is a part of the disk's own file system and can't be %s; leave the file system out", volume.ErrInvalid, spec.FSType)
	case len(spec.MkfsOptions) > 0:
		return fmt.Errorf("%w: a volume of kind btrfs is a subvolume: no file system is made that could have the options %q", volume.ErrInvalid, spec.MkfsOptions)
	}
	return checkSize(spec.Size)
}

func checkSize(size int64) error {
	if size < disk.MinSize || size%(1<<20) != 0 {
		return fmt.Errorf("%w: %d bytes: a volume has at least %d and a multiple of 1 MiB", volume.ErrInvalid, size, disk.MinSize)
	}
	return nil
}

// CheckWipe refuses a policy that can't be kept on this disk. The error wraps volume.ErrPrecondition.
func (d *Disk) CheckWipe(wipe disk.Wipe) error {
	switch wipe {
	case "", disk.WipeNone:
		return nil
	case disk.WipeDiscard:
		m, err := d.mount()
		if err != nil {
			return err
		}
		if slices.Contains(m.SuperOptions, "discard") || slices.Contains(m.SuperOptions, "discard=async") {
			return nil
		}
		return fmt.Errorf("%w: wipe policy discard needs the file system at %s mounted with the option discard=async (mount -o remount,discard=async %s; "+
			"it is the default on disks that can)", volume.ErrPrecondition, d.path, m.Path)
	case disk.WipeZero:
		return fmt.Errorf("%w: wipe policy zero can't be kept by kind btrfs, which writes zeros to another place than the data they should replace; "+
			"use a pool of kind loop or lvm", volume.ErrPrecondition)
	default:
		return unknownWipe(wipe)
	}
}

func unknownWipe(wipe disk.Wipe) error {
	return fmt.Errorf("%w: wipe policy %q is not known (allowed: none, discard, zero)", volume.ErrInvalid, wipe)
}

// mount is the mount by which the path is reached.
func (d *Disk) mount() (mountpoint.Mount, error) {
	table, err := mountpoint.Read()
	if err != nil {
		return mountpoint.Mount{}, err
	}
	for at := d.path; ; at = filepath.Dir(at) {
		if m, ok := table.At(at); ok {
			return m, nil
		}
		if at == "/" {
			return mountpoint.Mount{}, fmt.Errorf("%w: no mount holds %s", volume.ErrUnavailable, d.path)
		}
	}
}

// Attach has nothing to give: see CheckSpec.
func (d *Disk) Attach(context.Context, string) (string, error) {
	return "", fmt.Errorf("%w: a volume of kind btrfs has no block device", volume.ErrUnsupported)
}

// lookup opens the subvolume of a name. The error wraps volume.ErrInvalid or volume.ErrNotFound.
func (d *Disk) lookup(name string) (*fs.Subvolume, error) {
	if err := disk.CheckName(name); err != nil {
		return nil, err
	}
	s, err := d.fs.Lookup(d.home, name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s has no scratch volume %s", volume.ErrNotFound, d.path, name)
	}
	return s, err
}

// groupOf is the group that holds a subvolume's limit.
func groupOf(id uint64) fs.Group { return fs.NewGroup(level, id) }

// List returns the volumes, those that a killed process left half made included, and removes groups whose subvolume is gone.
func (d *Disk) List(ctx context.Context) ([]string, error) {
	ours, err := d.ours()
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.clearGroups(ctx); err != nil {
		return nil, err
	}
	var names []string
	for _, name := range ours {
		names = append(names, name)
	}
	return names, nil
}

// ours are the names of the volumes by the ids of their subvolumes.
func (d *Disk) ours() (map[uint64]string, error) {
	// A descriptor of its own: two readers of one would each get half.
	dir, err := fs.OpenBeneath(d.home, ".")
	if err != nil {
		return nil, err
	}
	entries, err := dir.Readdirnames(-1)
	if err := errors.Join(err, dir.Close()); err != nil {
		return nil, err
	}
	found := map[uint64]string{}
	for _, name := range entries {
		s, err := d.lookup(name)
		switch {
		case errors.Is(err, volume.ErrInvalid), errors.Is(err, volume.ErrNotFound), errors.Is(err, fs.ErrNotSubvolume):
			continue // a stranger's, or gone meanwhile
		case err != nil:
			return nil, err
		}
		found[s.ID] = name
		if err := s.Close(); err != nil {
			return nil, err
		}
	}
	return found, nil
}
