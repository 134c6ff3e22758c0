package loop

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/loopdev"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/localfs"
	"github.com/strata-csi/strata/pkg/volume"
)

// attached returns the volume's device, open, and attaches it if need be.
func (d *Disk) attached(ctx context.Context, image *os.File, o loopdev.Options) (loopdev.Device, *os.File, error) {
	device, ok, err := deviceOf(image)
	if err != nil {
		return device, nil, err
	}
	var open *os.File
	if ok {
		open, err = device.Open()
	} else {
		device, open, err = loopdev.Attach(ctx, image, o)
	}
	if err != nil {
		return device, nil, err
	}
	failpoint.Hit("scratch/loop/after-attach")
	if err := device.RefuseDiscard(); err != nil {
		return device, nil, errors.Join(err, open.Close(), drop(ctx, device, ok || o.Autoclear))
	}
	failpoint.Hit("scratch/loop/after-refuse-discard")
	return device, open, nil
}

// drop takes a device away that this call made and that doesn't go by itself.
func drop(ctx context.Context, device loopdev.Device, keep bool) error {
	if keep {
		return nil
	}
	return device.Detach(context.WithoutCancel(ctx))
}

// Mount mounts a volume; the device goes away with the last mount of it. See disk.Disk.
func (d *Disk) Mount(ctx context.Context, name string, m disk.Mount) error {
	image, err := d.open(name)
	if err != nil {
		return err
	}
	defer image.Close()
	fsType, err := content(image)
	if err != nil {
		return err
	}
	if fsType == raw {
		return fmt.Errorf("%w: scratch volume %s is a block device and has no file system to be mounted", volume.ErrInvalid, name)
	}
	flags, data, err := localfs.Options(fsType, m)
	if err != nil {
		return fmt.Errorf("mount scratch volume %s: %w", name, err)
	}
	device, open, err := d.attached(ctx, image, loopdev.Options{Autoclear: true})
	if err != nil {
		return fmt.Errorf("mount scratch volume %s: %w", name, err)
	}
	err = unix.Mount(device.Path(), m.Path, fsType, flags, data)
	failpoint.Hit("scratch/loop/after-mount")
	if err != nil {
		err = fmt.Errorf("mount scratch volume %s (%s, options %q) at %s: %w; the kernel's log says more", name, fsType, data, m.Path, err)
	}
	return errors.Join(err, open.Close())
}

// Attach gives the device of a block volume. It stays until Destroy. See disk.Disk.
func (d *Disk) Attach(ctx context.Context, name string) (string, error) {
	image, err := d.open(name)
	if err != nil {
		return "", err
	}
	defer image.Close()
	what, err := content(image)
	if err != nil {
		return "", err
	}
	if what != raw {
		return "", fmt.Errorf("%w: scratch volume %s has a file system and is no block device", volume.ErrInvalid, name)
	}
	device, open, err := d.attached(ctx, image, loopdev.Options{})
	if err != nil {
		return "", fmt.Errorf("attach scratch volume %s: %w", name, err)
	}
	return device.Path(), open.Close()
}

// Mounted asks the mount table and the loop driver. See disk.Disk.
func (d *Disk) Mounted(_ context.Context, name, path string) error {
	m, err := d.mounted(name, path)
	if err != nil {
		return err
	}
	return localfs.CheckWriting(name, m)
}

func (d *Disk) mounted(name, path string) (*mountpoint.Mount, error) {
	if err := disk.CheckName(name); err != nil {
		return nil, err
	}
	m, ok, err := mountpoint.Find(path)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	}
	other := fmt.Errorf("%w: %s is a mount of %s (%s), not of scratch volume %s", volume.ErrExists, path, m.Source, m.FSType, name)
	_, b, ok, err := loopdev.Lookup(m.Major, m.Minor)
	if err != nil {
		return nil, err
	}
	if !ok || m.Root != "/" {
		return nil, other
	}
	var s unix.Stat_t
	switch err := unix.Lstat(d.image(name), &s); err {
	case nil:
		if s.Dev != b.Dev || s.Ino != b.Inode {
			return nil, other
		}
		return m, nil
	case unix.ENOENT:
		if b.Deleted && b.Path == d.image(name) {
			return nil, fmt.Errorf("%w: the image of the scratch volume mounted at %s has been removed: %s", volume.ErrUnavailable, path, b.Path)
		}
		return nil, other
	default:
		return nil, fmt.Errorf("%w: %w", volume.ErrUnavailable, &os.PathError{Op: "stat", Path: d.image(name), Err: err})
	}
}
