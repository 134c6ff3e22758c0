package loop

import (
	"context"
	"errors"
	"fmt"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/loopdev"
	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/volume"
)

// Grow enlarges the image, the device and the file system, each if it is smaller: an interrupted Grow goes on where it ended. See disk.Disk.
func (d *Disk) Grow(ctx context.Context, name, path string, size int64) error {
	image, err := d.open(name)
	if err != nil {
		return err
	}
	defer image.Close()
	if err := checkSize(name, size); err != nil {
		return err
	}
	what, err := content(image)
	if err != nil {
		return err
	}
	device, ok, err := deviceOf(image)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%w: scratch volume %s is neither mounted nor attached: it can't grow now", volume.ErrNotFound, name)
	}
	s, err := image.Stat()
	if err != nil {
		return err
	}
	if s.Size() < size {
		if err := mkfs.CheckGrow(what); err != nil {
			return fmt.Errorf("grow scratch volume %s: %w", name, err)
		}
		if err := d.allocate(ctx, image, s.Size(), size); err != nil {
			// The device doesn't know of the space yet, so nothing in it can be lost.
			return errors.Join(fmt.Errorf("grow scratch volume %s: %w", name, err), image.Truncate(s.Size()))
		}
	}
	failpoint.Hit("scratch/loop/after-grow-image")
	if err := follow(device, max(size, s.Size())); err != nil {
		return fmt.Errorf("grow scratch volume %s: %w", name, err)
	}
	failpoint.Hit("scratch/loop/after-grow-device")
	if what == raw {
		return nil
	}
	if _, err := d.mounted(name, path); err != nil {
		return fmt.Errorf("grow scratch volume %s: %w", name, err)
	}
	if s.Size() >= size && mkfs.CheckGrow(what) != nil {
		return nil // it never grew under this process
	}
	if err := mkfs.Grow(ctx, what, device.Path(), path); err != nil {
		return fmt.Errorf("grow scratch volume %s: %w", name, err)
	}
	failpoint.Hit("scratch/loop/after-grow-file-system")
	return nil
}

func follow(device loopdev.Device, size int64) error {
	now, err := device.Size()
	if err != nil || now >= size {
		return err
	}
	return device.FollowFile()
}
