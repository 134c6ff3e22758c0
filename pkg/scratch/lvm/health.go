package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// Usage is what the volume's file system says, or the size of a block volume.
func (d *Disk) Usage(ctx context.Context, name, path string) (volume.Usage, error) {
	if path == "" {
		l, err := d.find(ctx, name)
		return volume.Usage{TotalBytes: l.size}, err
	}
	if _, err := d.mounted(name, path); err != nil {
		return volume.Usage{}, err
	}
	return d.watch.Usage(ctx, path)
}

type sayer func(s volume.Severity, reason, format string, a ...any)

// Health looks at the disks of the group, the logical volume, its device and the file system.
func (d *Disk) Health(ctx context.Context, name, path string) ([]volume.Condition, error) {
	if err := disk.CheckName(name); err != nil {
		return nil, err
	}
	var found []volume.Condition
	say := func(s volume.Severity, reason, format string, a ...any) {
		found = append(found, volume.Condition{Severity: s, Reason: reason, Message: fmt.Sprintf(format, a...)})
	}
	g, err := d.group(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		say(volume.Inaccessible, "VolumeGroupUnreadable", "volume group %s: %v", d.vg, err)
		return found, nil
	}
	l, err := d.find(ctx, name)
	switch {
	case errors.Is(err, volume.ErrNotFound):
		say(volume.DataLoss, "VolumeMissing", "logical volume %s%s is gone from volume group %s: delete the pod", prefix, name, d.vg)
		return found, nil
	case err != nil:
		return nil, err
	}
	healthOfGroup(d.vg, g, say)
	if err := d.healthOfVolume(ctx, g, l, say); err != nil {
		return nil, err
	}
	if path == "" {
		return found, nil
	}
	m, err := d.mounted(name, path)
	if err != nil {
		say(volume.Inaccessible, "NotMounted", "%v", err)
		return found, nil
	}
	return append(found, d.watch.Health(ctx, name, m)...), nil
}

func healthOfGroup(vg string, g group, say sayer) {
	for _, p := range g.disks {
		if p.missing {
			say(volume.Degraded, "DiskMissing", "a disk of volume group %s is missing (%s): no volume can be made, grown or destroyed; bring it back, or run vgreduce --removemissing --force %s", vg, p.name, vg)
		}
	}
	if g.readOnly {
		say(volume.Degraded, "VolumeGroupReadOnly", "volume group %s is read-only: no volume can be made, grown or destroyed; restore writable metadata with vgcfgrestore", vg)
	}
}

func (d *Disk) healthOfVolume(ctx context.Context, g group, l logical, say sayer) error {
	if l.health != "" {
		say(volume.DataLoss, "VolumePartial", "logical volume %s is %s: a disk that it lies on is missing; delete the pod", l.name, l.health)
	}
	if !l.active {
		say(volume.Inaccessible, "DeviceMissing", "logical volume %s is not active: somebody deactivated it; delete the pod", l.name)
	}
	usable := int64(0)
	for _, p := range g.disks {
		if p.usable {
			usable++
		}
	}
	if usable < 2 {
		return nil
	}
	stripes, _, err := d.segments(ctx, l.name)
	if err != nil {
		return err
	}
	if least := slices.Min(append(stripes, usable)); least < usable {
		say(volume.Degraded, "NotStriped", "the volume, or a part of it, lies on %d of the %d disks of volume group %s, which had no room for more: it has their speed only", least, usable, d.vg)
	}
	return nil
}
