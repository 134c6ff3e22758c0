package lvm

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// Create makes the logical volume, fills it with zeros, makes the file system, and only then gives it the tag of a whole one.
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
	err := d.make(ctx, spec)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("make volume %s in group %s: %w", spec.Name, d.vg, err)
	ctx, cancel := clearing(ctx)
	defer cancel()
	return errors.Join(err, d.Destroy(ctx, spec.Name, disk.WipeNone))
}

func (d *Disk) make(ctx context.Context, spec disk.Spec) error {
	lv := prefix + spec.Name
	if _, err := d.allocate(ctx, lv, spec.Size); err != nil {
		return err
	}
	failpoint.Hit("scratch/lvm/after-lvcreate")
	device, err := openDevice(d.node(lv))
	if err != nil {
		return err
	}
	err = zero(ctx, device, 0)
	if err := errors.Join(err, device.Close()); err != nil {
		return err
	}
	failpoint.Hit("scratch/lvm/after-zero")
	is := block
	if !spec.Block {
		if is = spec.FSType; is == "" {
			is = mkfs.Default(spec.Size)
		}
		if err := mkfs.Make(ctx, is, d.node(lv), spec.Size, spec.MkfsOptions); err != nil {
			return err
		}
		failpoint.Hit("scratch/lvm/after-mkfs")
	}
	_, err = d.lvm.run(ctx, "lvchange", "-q", "--addtag", isTag+is, d.vg+"/"+lv)
	failpoint.Hit("scratch/lvm/after-tag")
	return err
}

// layout is how size bytes, rounded up, lie on the disks of a group.
type layout struct {
	stripes, extents int64
	linear           string // why it isn't striped, where it could have been
}

// plan spreads size bytes over all disks, or finds out why that can't be.
func plan(g group, size int64) (layout, error) {
	if g.readOnly {
		return layout{}, fmt.Errorf("%w: the metadata of the volume group say that it is read-only (vgs -o vg_permissions): restore a writable version with vgcfgrestore", volume.ErrUnavailable)
	}
	up := func(n, by int64) int64 { return (n + by - 1) / by * by }
	extents := up(size, g.extent) / g.extent
	var disks, least int64
	for _, p := range g.disks {
		if !p.usable {
			continue
		}
		if disks == 0 || p.free < least {
			least = p.free
		}
		disks++
	}
	if striped := up(extents, max(disks, 1)); disks > 1 && striped/disks <= least {
		return layout{stripes: disks, extents: striped}, nil
	}
	if extents > g.free() {
		return layout{}, fmt.Errorf("%w: %d bytes were asked for, the volume group has %d free", volume.ErrExhausted, size, g.free()*g.extent)
	}
	l := layout{stripes: 1, extents: extents}
	if disks > 1 {
		l.linear = fmt.Sprintf("%d bytes over %d disks need %d on each, and one of them has %d free", size, disks, up(extents, disks)/disks*g.extent, least*g.extent)
	}
	return l, nil
}

// allocate makes a logical volume of ours. Nobody has written to it, but others have to its place on the disks.
func (d *Disk) allocate(ctx context.Context, lv string, size int64) (layout, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	g, err := d.group(ctx)
	if err != nil {
		return layout{}, err
	}
	l, err := plan(g, size)
	if err != nil {
		return layout{}, err
	}
	if l.linear != "" {
		klog.FromContext(ctx).Info("A scratch volume isn't striped and has the speed of one disk", "volumeGroup", d.vg, "logicalVolume", lv, "reason", l.linear)
	}
	// -Z and -W: we zero all of it ourselves. Inactive after a boot: by then it is nobody's.
	args := []string{"-q", "-y", "-Zn", "-Wn", "--setautoactivation", "n", "--addtag", tag, "-l", strconv.FormatInt(l.extents, 10), "-n", lv}
	if l.stripes > 1 {
		args = append(args, "-i", strconv.FormatInt(l.stripes, 10))
	}
	_, err = d.lvm.run(ctx, "lvcreate", append(args, d.vg)...)
	return l, err
}
