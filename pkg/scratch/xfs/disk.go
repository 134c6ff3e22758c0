package xfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// The names below the path; see the package.
const (
	homeName = ".strata-scratch"
	dataName = "data"

	makingPrefix = ".new-"
	gonePrefix   = ".gone-"
	heldPrefix   = ".held-"
)

// bytesPerInode gives a volume as many inodes as mkfs.ext4 would. XFS counts no inode's own 512 bytes as the project's space: a volume
// of nothing but empty files takes a thirty-second of its size beside it.
const bytesPerInode = 16 << 10

// Disk is a directory on XFS. Its methods may be called from several goroutines.
type Disk struct {
	path  string
	home  *os.Root // PATH/.strata-scratch
	quota *projectquota.FS
	mount mountpoint.Mount // the file system's, by which path is reached
	root  string           // of home, within the file system, as the mount table shows it

	// mu is for who makes and destroys: project numbers are found by looking at what is there. Other processes are kept out by a lock on home.
	mu sync.Mutex
}

// Open takes the directory at path as it is: for the volumes that lie there already, whatever Probe says of it.
func Open(path string) (*Disk, error) { return open(path) }

// open takes the directory at path, which must be on XFS, and makes home.
func open(path string) (_ *Disk, err error) {
	m, err := find(path)
	if err != nil {
		return nil, err
	}
	rel, err := filepath.Rel(m.Path, path)
	if err != nil {
		return nil, err
	}
	base, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	if err := base.Mkdir(homeName, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if st, err := base.Lstat(homeName); err != nil || !st.IsDir() || st.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s must be a directory of root's with mode 0700: %w", filepath.Join(path, homeName), errors.Join(err, volume.ErrPrecondition))
	}
	home, err := base.OpenRoot(homeName)
	if err != nil {
		return nil, err
	}
	quota, err := projectquota.Open(filepath.Join(path, homeName), m.Source)
	if err != nil {
		return nil, errors.Join(err, home.Close())
	}
	return &Disk{path: path, home: home, quota: quota, mount: m, root: filepath.Join(m.Root, rel, homeName)}, nil
}

// find is the mount by which path is reached.
func find(path string) (mountpoint.Mount, error) {
	table, err := mountpoint.Read()
	if err != nil {
		return mountpoint.Mount{}, err
	}
	for at := path; ; at = filepath.Dir(at) {
		if m, ok := table.At(at); ok {
			return m, nil
		}
		if at == "/" {
			return mountpoint.Mount{}, fmt.Errorf("no mount holds %s", path)
		}
	}
}

// Kind is disk.XFS.
func (d *Disk) Kind() disk.Kind { return disk.XFS }

// Name is the path.
func (d *Disk) Name() string { return d.path }

// Close ends what is held open.
func (d *Disk) Close() error { return errors.Join(d.home.Close(), d.quota.Close()) }

// CheckSpec refuses what a directory can't be.
func (d *Disk) CheckSpec(spec disk.Spec) error {
	if err := disk.CheckName(spec.Name); err != nil {
		return err
	}
	switch {
	case spec.Block:
		return fmt.Errorf("%w: a volume of kind xfs is a directory and has no block device; use a pool of kind loop or lvm", volume.ErrUnsupported)
	case spec.FSType != "" && spec.FSType != "xfs":
		return fmt.Errorf("%w: a volume of kind xfs is a directory of the disk's own file system, xfs, and can't be %s; leave the file system out", volume.ErrInvalid, spec.FSType)
	case len(spec.MkfsOptions) > 0:
		return fmt.Errorf("%w: a volume of kind xfs is a directory: no file system is made that could have the options %q", volume.ErrInvalid, spec.MkfsOptions)
	case spec.Size < disk.MinSize || spec.Size%(1<<20) != 0:
		return fmt.Errorf("%w: %d bytes: a volume has at least %d and a multiple of 1 MiB", volume.ErrInvalid, spec.Size, disk.MinSize)
	}
	return nil
}

// CheckWipe refuses a policy that can't be kept on this disk. The error wraps volume.ErrPrecondition.
func (d *Disk) CheckWipe(wipe disk.Wipe) error {
	switch wipe {
	case "", disk.WipeNone:
		return nil
	case disk.WipeDiscard:
		table, err := mountpoint.Read()
		if err != nil {
			return err
		}
		for _, m := range table.OfDevice(d.mount) {
			if slices.Contains(m.SuperOptions, "discard") {
				return nil
			}
		}
		return fmt.Errorf("%w: wipe policy discard needs the file system at %s mounted with the option discard (mount -o remount,discard %s; "+
			"XFS drops it silently on a disk that can't)", volume.ErrPrecondition, d.path, d.mount.Path)
	case disk.WipeZero:
		return fmt.Errorf("%w: wipe policy zero can't be kept by kind xfs: what a pod deletes while it runs is freed at once and can't be overwritten later; "+
			"use a pool of kind loop or lvm", volume.ErrPrecondition)
	default:
		return fmt.Errorf("%w: wipe policy %q is not known", volume.ErrInvalid, wipe)
	}
}

// Attach has nothing to give: see CheckSpec.
func (d *Disk) Attach(context.Context, string) (string, error) {
	return "", fmt.Errorf("%w: a volume of kind xfs has no block device", volume.ErrUnsupported)
}

// List returns the volumes, those that a killed process left half made or half destroyed included.
func (d *Disk) List(context.Context) ([]string, error) {
	entries, err := d.entries()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := strings.TrimPrefix(strings.TrimPrefix(e, makingPrefix), gonePrefix)
		if disk.CheckName(name) == nil && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, nil
}

// entries are the names below home.
func (d *Disk) entries() ([]string, error) {
	f, err := d.home.Open(".")
	if err != nil {
		return nil, err
	}
	names, err := f.Readdirnames(-1)
	return names, errors.Join(err, f.Close())
}

// project reads the number of a directory below home. The error wraps volume.ErrNotFound when there is none.
func (d *Disk) project(entry string) (uint32, error) {
	f, err := d.openDirectory(entry)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: %s has no %s", volume.ErrNotFound, d.path, entry)
	}
	if err != nil {
		return 0, err
	}
	a, err := projectquota.GetAttr(f)
	return a.Project, errors.Join(err, f.Close())
}

// openDirectory opens a directory below home and no symbolic link.
func (d *Disk) openDirectory(entry string) (*os.File, error) {
	return d.home.OpenFile(entry, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// alone keeps out whoever else makes or destroys volumes of this path, another process included.
func (d *Disk) alone() (done func(), err error) {
	d.mu.Lock()
	f, err := d.home.Open(".")
	if err == nil {
		for err = unix.EINTR; err == unix.EINTR; {
			err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		}
		if err == nil {
			return func() { _ = f.Close(); d.mu.Unlock() }, nil
		}
		err = errors.Join(err, f.Close())
	}
	d.mu.Unlock()
	return nil, fmt.Errorf("lock %s: %w", filepath.Join(d.path, homeName), err)
}
