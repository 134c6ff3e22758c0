package lvm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/mountpoint"
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
	s, err := d.prober.Probe(ctx, path)
	if err != nil {
		return volume.Usage{}, fmt.Errorf("%w: %w", volume.ErrUnavailable, err)
	}
	return volume.Usage{
		TotalBytes: int64(s.TotalBytes), UsedBytes: int64(s.UsedBytes()), AvailableBytes: int64(s.AvailableBytes),
		TotalInodes: int64(s.TotalInodes), UsedInodes: int64(s.UsedInodes()), AvailableInodes: int64(s.FreeInodes),
	}, nil
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
	if path != "" {
		d.healthOfMount(ctx, name, path, say)
	}
	return found, nil
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

func (d *Disk) healthOfMount(ctx context.Context, name, path string, say sayer) {
	m, err := d.mounted(name, path)
	if err != nil {
		say(volume.Inaccessible, "NotMounted", "%v", err)
		return
	}
	if _, err := d.prober.Probe(ctx, path); err != nil {
		say(volume.Inaccessible, "NotAnswering", "volume %s: %v: delete the pod", name, err)
		return
	}
	if err := readable(ctx, path); err != nil {
		say(volume.Inaccessible, "NotAnswering", "volume %s can't be read: %v: see the kernel's log, and delete the pod", name, err)
	}
	if stopped(m) {
		say(volume.Inaccessible, "ReadOnly", "the file system of volume %s stopped writing after an error: see the kernel's log, and delete the pod", name)
	}
	if n := errorCount(m); n > 0 {
		say(volume.Degraded, "FileSystemErrors", "the file system of volume %s has found %d errors in itself: some data may be wrong; delete the pod", name, n)
	}
}

// readable reads the directory, which a file system that has been shut down refuses although it still answers statfs.
func readable(ctx context.Context, path string) error {
	result := make(chan error, 1)
	go func() {
		dir, err := os.Open(path)
		if err == nil {
			if _, err = dir.Readdirnames(1); errors.Is(err, io.EOF) {
				err = nil
			}
			err = errors.Join(err, dir.Close())
		}
		result <- err
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", mountpoint.ErrProbeHung, ctx.Err())
	}
}

// errorCount is what an ext4 has counted (Documentation/ABI/testing/sysfs-fs-ext4, errors_count); 0 for anything else.
func errorCount(m *mountpoint.Mount) int {
	if m.FSType != mkfs.Ext4 {
		return 0
	}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", m.Major, m.Minor))
	if err != nil {
		return 0
	}
	b, err := os.ReadFile(filepath.Join("/sys/fs/ext4", filepath.Base(link), "errors_count"))
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}
