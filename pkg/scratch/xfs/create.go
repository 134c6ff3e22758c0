package xfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// Create makes the directory under another name, gives it its number and limits, and then its name: a directory with the name of a
// volume is always a whole one.
func (d *Disk) Create(ctx context.Context, spec disk.Spec) error {
	if err := d.CheckSpec(spec); err != nil {
		return err
	}
	if err := d.Destroy(ctx, spec.Name, disk.WipeNone); err != nil {
		return fmt.Errorf("take away what an interrupted call left: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	done, err := d.alone()
	if err != nil {
		return err
	}
	err = d.make(ctx, spec)
	done()
	if err == nil {
		return nil
	}
	err = fmt.Errorf("make volume %s on %s: %w", spec.Name, d.path, noSpace(err))
	// The caller's time may be what ran out.
	return errors.Join(err, d.Destroy(context.WithoutCancel(ctx), spec.Name, disk.WipeNone))
}

func (d *Disk) make(ctx context.Context, spec disk.Spec) error {
	if err := d.fits(ctx, spec.Size); err != nil {
		return err
	}
	id, err := d.free()
	if err != nil {
		return err
	}
	making := makingPrefix + spec.Name
	if err := d.home.Mkdir(making, 0o700); err != nil {
		return err
	}
	failpoint.Hit("scratch/xfs/after-mkdir")
	dir, err := d.openDirectory(making)
	if err != nil {
		return err
	}
	err = projectquota.SetAttr(dir, projectquota.Attr{Project: id, Inherit: true})
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	failpoint.Hit("scratch/xfs/after-project")
	if err := d.quota.Limit(id, limitsOf(spec.Size)); err != nil {
		return err
	}
	failpoint.Hit("scratch/xfs/after-limit")
	// It inherits the number, so that statfs(2) of the mount shows the limit.
	if err := d.home.Mkdir(filepath.Join(making, dataName), 0o755); err != nil {
		return err
	}
	failpoint.Hit("scratch/xfs/after-data")
	return d.home.Rename(making, spec.Name)
}

// fits refuses what the disk couldn't hold if it were empty. How much of it is promised already is pkg/scratch's to know.
func (d *Disk) fits(ctx context.Context, size int64) error {
	capacity, err := d.Capacity(ctx)
	if err == nil && size > capacity {
		err = fmt.Errorf("%w: %d bytes are asked for and %s could hold %d", volume.ErrExhausted, size, d.path, capacity)
	}
	return err
}

func limitsOf(size int64) projectquota.Limits {
	return projectquota.Limits{Bytes: size, Inodes: size / bytesPerInode}
}

// Grow sets new limits.
func (d *Disk) Grow(ctx context.Context, name, _ string, size int64) error {
	if err := d.CheckSpec(disk.Spec{Name: name, Size: size}); err != nil {
		return err
	}
	id, err := d.volume(name)
	if err != nil {
		return err
	}
	u, err := d.quota.Usage(id)
	if err != nil {
		return err
	}
	want := limitsOf(size)
	if u.Limits.Bytes >= want.Bytes && u.Limits.Inodes >= want.Inodes {
		return nil
	}
	if err := d.fits(ctx, size); err != nil {
		return err
	}
	failpoint.Hit("scratch/xfs/before-grow")
	return d.quota.Limit(id, projectquota.Limits{Bytes: max(want.Bytes, u.Limits.Bytes), Inodes: max(want.Inodes, u.Limits.Inodes)})
}

// volume is the project of a whole volume; volume.ErrNotFound.
func (d *Disk) volume(name string) (uint32, error) {
	if err := disk.CheckName(name); err != nil {
		return 0, err
	}
	id, err := d.project(name)
	if err == nil && (id < firstProject || id > lastProject) {
		return 0, fmt.Errorf("%w: %s has project %d, which is none of a volume's (%d to %d)",
			volume.ErrExists, filepath.Join(d.path, homeName, name), id, firstProject, lastProject)
	}
	return id, err
}

// noSpace gives the kernel's errors of a full disk their name.
func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", volume.ErrExhausted, err)
	}
	return err
}

// any tells whether home has one of the entries.
func (d *Disk) any(entries ...string) (bool, error) {
	for _, e := range entries {
		if there, err := d.exists(e); err != nil || there {
			return there, err
		}
	}
	return false, nil
}

// exists tells whether home has the entry.
func (d *Disk) exists(entry string) (bool, error) {
	_, err := d.home.Lstat(entry)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
