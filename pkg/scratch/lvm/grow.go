package lvm

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// Grow takes space as a logical volume of its own, zeroes it, and joins it to the volume: who has the device open sees nothing that
// another tenant wrote, not even for a moment.
func (d *Disk) Grow(ctx context.Context, name, path string, size int64) error {
	if err := d.CheckSpec(disk.Spec{Name: name, Size: size}); err != nil {
		return err
	}
	l, err := d.find(ctx, name)
	if err != nil {
		return err
	}
	if l.is == "" {
		return fmt.Errorf("%w: volume %s of group %s is only half made", volume.ErrPrecondition, name, d.vg)
	}
	mounted := path != "" && l.is != block
	if mounted {
		if _, err := d.mounted(name, path); err != nil {
			return fmt.Errorf("grow volume %s of group %s: %w", name, d.vg, err)
		}
		if err := mkfs.CheckGrow(l.is); err != nil {
			if l.size >= size {
				return nil // it never grew under this process
			}
			return fmt.Errorf("grow volume %s of group %s: %w", name, d.vg, err)
		}
	}
	if l.size < size {
		if err := d.extend(ctx, name, l, size); err != nil {
			return fmt.Errorf("grow volume %s of group %s from %d to %d bytes: %w", name, d.vg, l.size, size, err)
		}
		failpoint.Hit("scratch/lvm/after-lvextend")
	}
	if !mounted {
		return nil
	}
	// Also when the device has the size: the call before may have been killed here.
	err = mkfs.Grow(ctx, l.is, d.node(l.name), path)
	failpoint.Hit("scratch/lvm/after-grow-file-system")
	return err
}

func (d *Disk) extend(ctx context.Context, name string, l logical, size int64) (err error) {
	extra := prefix + name + growing
	if err := d.drop(ctx, extra); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			ctx, cancel := clearing(ctx)
			defer cancel()
			err = errors.Join(err, d.drop(ctx, extra))
		}
	}()
	layout, err := d.allocate(ctx, extra, size-l.size)
	if err != nil {
		return err
	}
	failpoint.Hit("scratch/lvm/after-grow-lvcreate")
	f, err := openDevice(d.node(extra))
	if err != nil {
		return err
	}
	err = zero(ctx, f, 0)
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	failpoint.Hit("scratch/lvm/after-grow-zero")
	_, ranges, err := d.segments(ctx, extra)
	if err != nil {
		return err
	}
	// From here to lvextend the extents are nobody's: no other call may take, and none may have written to them.
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, err := d.lvm.run(ctx, "lvremove", "-q", "-f", "-y", d.vg+"/"+extra); err != nil {
		return err
	}
	failpoint.Hit("scratch/lvm/after-grow-lvremove")
	args := []string{"-q", "-y", "-i", strconv.FormatInt(layout.stripes, 10), "-l", "+" + strconv.FormatInt(layout.extents, 10), d.vg + "/" + l.name}
	_, err = d.lvm.run(ctx, "lvextend", append(args, ranges...)...)
	return err
}

// drop removes a logical volume of ours if it is there.
func (d *Disk) drop(ctx context.Context, lv string) error {
	all, err := d.volumes(ctx)
	if err != nil {
		return err
	}
	for _, l := range all {
		if l.name == lv {
			return d.remove(ctx, l, disk.WipeNone)
		}
	}
	return nil
}
