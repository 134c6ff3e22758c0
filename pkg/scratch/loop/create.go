package loop

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/loopdev"
	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// Create makes a volume. See disk.Disk.
func (d *Disk) Create(ctx context.Context, spec disk.Spec) error {
	if err := d.CheckSpec(spec); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.Destroy(ctx, spec.Name, disk.WipeNone); err != nil {
		return fmt.Errorf("what is left of an earlier scratch volume %s: %w", spec.Name, err)
	}
	failpoint.Hit("scratch/loop/before-folder")
	if err := os.Mkdir(d.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("scratch directory: %w", err)
	}
	failpoint.Hit("scratch/loop/after-folder")
	image, err := os.OpenFile(d.image(spec.Name), os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return fmt.Errorf("scratch volume %s: %w", spec.Name, err)
	}
	defer image.Close()
	failpoint.Hit("scratch/loop/after-image")
	if err := d.fill(ctx, image, spec); err != nil {
		// Whoever called may have gone; what was made must go all the same.
		return errors.Join(fmt.Errorf("make scratch volume %s: %w", spec.Name, err), d.Destroy(context.WithoutCancel(ctx), spec.Name, disk.WipeNone))
	}
	return nil
}

func (d *Disk) fill(ctx context.Context, image *os.File, spec disk.Spec) error {
	if err := d.inPlace(image); err != nil {
		return err
	}
	if err := d.allocate(ctx, image, 0, spec.Size); err != nil {
		return err
	}
	failpoint.Hit("scratch/loop/after-allocate")
	what := raw
	if !spec.Block {
		if what = spec.FSType; what == "" {
			what = mkfs.Default(spec.Size)
		}
		if err := format(ctx, image, what, spec); err != nil {
			return err
		}
	}
	failpoint.Hit("scratch/loop/after-format")
	if err := unix.Fsetxattr(int(image.Fd()), attribute, []byte(what), 0); err != nil {
		return &os.PathError{Op: "setxattr", Path: image.Name(), Err: err}
	}
	failpoint.Hit("scratch/loop/after-mark")
	return nil
}

// format makes a file system through a device, so that it fits the device's block size, and takes the device away.
func format(ctx context.Context, image *os.File, fsType string, spec disk.Spec) error {
	device, open, err := loopdev.Attach(ctx, image, loopdev.Options{Autoclear: true})
	if err != nil {
		return err
	}
	failpoint.Hit("scratch/loop/after-attach-to-format")
	err = device.RefuseDiscard()
	if err == nil {
		err = mkfs.Make(ctx, fsType, device.Path(), spec.Size, spec.MkfsOptions)
	}
	failpoint.Hit("scratch/loop/after-mkfs")
	return errors.Join(err, open.Close(), detach(ctx, device))
}

func detach(ctx context.Context, device loopdev.Device) error {
	err := device.Detach(ctx)
	if errors.Is(err, loopdev.ErrBusy) {
		return fmt.Errorf("%w: %w", volume.ErrUnavailable, err)
	}
	return err
}

// Destroy takes a volume away. See disk.Disk.
func (d *Disk) Destroy(ctx context.Context, name string, wipe disk.Wipe) error {
	switch wipe {
	case disk.WipeNone, disk.WipeDiscard, disk.WipeZero:
	default:
		return fmt.Errorf("%w: wipe %q (allowed: %s, %s, %s)", volume.ErrInvalid, wipe, disk.WipeNone, disk.WipeDiscard, disk.WipeZero)
	}
	image, err := d.open(name)
	if errors.Is(err, volume.ErrNotFound) {
		return d.endDeleted(ctx, name)
	}
	if err != nil {
		return err
	}
	defer image.Close()
	if err := d.destroy(ctx, name, image, wipe); err != nil {
		return fmt.Errorf("destroy scratch volume %s: %w", name, err)
	}
	return nil
}

func (d *Disk) destroy(ctx context.Context, name string, image *os.File, wipe disk.Wipe) error {
	found, err := loopdev.Find(image)
	if err != nil {
		return err
	}
	if err := endDevices(ctx, found); err != nil {
		return err
	}
	failpoint.Hit("scratch/loop/after-detach")
	if wipe == disk.WipeZero {
		if err := zero(ctx, image); err != nil {
			return fmt.Errorf("overwrite: %w", err)
		}
	}
	failpoint.Hit("scratch/loop/after-wipe")
	// Now, and not when the file system comes to it: the next volume may need the space at once.
	d.counting.Lock()
	err = image.Truncate(0)
	d.counting.Unlock()
	if err != nil {
		return err
	}
	failpoint.Hit("scratch/loop/after-truncate")
	if err := os.Remove(d.image(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	failpoint.Hit("scratch/loop/after-remove")
	if wipe == disk.WipeDiscard {
		return d.discardAfter(image)
	}
	return nil
}

// discardAfter closes the last hold on the space first.
func (d *Disk) discardAfter(image *os.File) error {
	if err := image.Close(); err != nil {
		return err
	}
	return d.discard()
}

// endDevices takes devices away that nothing uses. The mount table is asked first: a device in use isn't even told to go.
func endDevices(ctx context.Context, devices []loopdev.Device) error {
	if len(devices) == 0 {
		return nil
	}
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	for _, device := range devices {
		for _, m := range table {
			if number, _, ok, err := loopdev.Lookup(m.Major, m.Minor); err == nil && ok && number.Number == device.Number {
				return fmt.Errorf("%w: it is mounted at %s: unmount it first", volume.ErrUnavailable, m.Path)
			}
		}
	}
	for _, device := range devices {
		if err := detach(ctx, device); err != nil {
			return err
		}
	}
	return nil
}

// endDeleted takes away the devices over an image that somebody removed.
func (d *Disk) endDeleted(ctx context.Context, name string) error {
	found, err := loopdev.FindDeleted(d.path, name+suffix)
	if err != nil {
		return err
	}
	return endDevices(ctx, found)
}
