package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// Destroy removes the logical volume, and what a Grow that was killed left beside it.
func (d *Disk) Destroy(ctx context.Context, name string, wipe disk.Wipe) error {
	if err := disk.CheckName(name); err != nil {
		return err
	}
	switch wipe {
	case "", disk.WipeNone, disk.WipeDiscard, disk.WipeZero:
	default:
		return fmt.Errorf("%w: wipe policy %q (allowed: %s, %s, %s)", volume.ErrInvalid, wipe, disk.WipeNone, disk.WipeDiscard, disk.WipeZero)
	}
	all, err := d.volumes(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.name != prefix+name && l.name != prefix+name+growing {
			continue
		}
		if err := d.remove(ctx, l, wipe); err != nil {
			return fmt.Errorf("destroy volume %s of group %s: %w", name, d.vg, err)
		}
		failpoint.Hit("scratch/lvm/after-lvremove")
	}
	return nil
}

func (d *Disk) remove(ctx context.Context, l logical, wipe disk.Wipe) error {
	if l.open && claimed(d.node(l.name)) {
		return fmt.Errorf("%w: %s is mounted or in use; end its users (dmsetup info, lsof and /proc/*/mountinfo show them)", volume.ErrUnavailable, d.node(l.name))
	}
	if wipe == disk.WipeDiscard || wipe == disk.WipeZero {
		// Nothing of a volume in use may be lost: LVM deactivates it only when nobody has it open. It tries for some seconds, as a udev
		// looks into a device after every unmount.
		if l.active {
			if _, err := d.lvm.run(ctx, "lvchange", "-q", "-an", d.vg+"/"+l.name); err != nil {
				return err
			}
			l.active = false
			failpoint.Hit("scratch/lvm/after-deactivate")
		}
		if err := d.wipe(ctx, l, wipe); err != nil {
			return err
		}
		failpoint.Hit("scratch/lvm/after-wipe")
	}
	// The kernel refuses to remove a device that is open, whatever -f says.
	_, err := d.lvm.run(ctx, "lvremove", "-q", "-f", "-y", d.vg+"/"+l.name)
	if errors.Is(err, volume.ErrNotFound) {
		return nil
	}
	return err
}

// claimed tells whether a file system, or a device on top, has the device: then waiting is no use.
func claimed(node string) bool {
	f, err := os.OpenFile(node, os.O_RDONLY|unix.O_EXCL, 0) // a close after writing would call udev
	if err != nil {
		return errors.Is(err, unix.EBUSY)
	}
	return f.Close() != nil
}

func (d *Disk) wipe(ctx context.Context, l logical, wipe disk.Wipe) (err error) {
	if err := d.activate(ctx, l); err != nil {
		return err
	}
	f, err := openDevice(d.node(l.name))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if wipe == disk.WipeDiscard {
		return discard(ctx, f)
	}
	return zero(ctx, f, 0)
}

func (d *Disk) activate(ctx context.Context, l logical) error {
	if l.active {
		return nil
	}
	_, err := d.lvm.run(ctx, "lvchange", "-q", "-ay", d.vg+"/"+l.name)
	failpoint.Hit("scratch/lvm/after-activate")
	return err
}

// clearing is the context for taking away what a failed call made: the caller's time may be what ran out.
func clearing(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
}
