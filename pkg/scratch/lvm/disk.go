package lvm

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/localfs"
	"github.com/strata-csi/strata/pkg/volume"
)

// The names and tags; see the package.
const (
	prefix    = "strata-scratch-"
	growing   = ".grow" // no volume's name has a dot
	tag       = "strata"
	isTag     = "strata.is="
	block     = "block"
	maxDMName = 127 // DM_NAME_LEN of include/uapi/linux/dm-ioctl.h, less the NUL
)

// Disk is a volume group. Its methods may be called from several goroutines.
type Disk struct {
	vg    string
	lvm   runner
	watch *localfs.Watch
	// mu is for who takes extents: what was free when it was looked at is still free when it is taken.
	mu sync.Mutex
}

var _ disk.Disk = (*Disk)(nil)

func newDisk(vg string, r runner) *Disk {
	return &Disk{vg: vg, lvm: r, watch: localfs.NewWatch()}
}

// Kind is disk.LVM.
func (d *Disk) Kind() disk.Kind { return disk.LVM }

// Name is vg/NAME.
func (d *Disk) Name() string { return "vg/" + d.vg }

// Close has nothing to end.
func (d *Disk) Close() error { return nil }

// CheckSpec refuses what a logical volume can't be.
func (d *Disk) CheckSpec(spec disk.Spec) error {
	if err := disk.CheckName(spec.Name); err != nil {
		return err
	}
	if n := len(d.dmName(prefix + spec.Name + growing)); n > maxDMName {
		return fmt.Errorf("%w: volume %s of group %s would have a device name of %d bytes; the kernel takes %d", volume.ErrInvalid, spec.Name, d.vg, n, maxDMName)
	}
	if spec.Size < disk.MinSize || spec.Size%(1<<20) != 0 {
		return fmt.Errorf("%w: %d bytes: a volume has at least %d and a multiple of 1 MiB", volume.ErrInvalid, spec.Size, disk.MinSize)
	}
	if !spec.Block {
		return mkfs.Check(spec.FSType, spec.Size)
	}
	if spec.FSType != "" || len(spec.MkfsOptions) > 0 {
		return fmt.Errorf("%w: a block volume has no file system; leave its type %q and the options %q out", volume.ErrInvalid, spec.FSType, spec.MkfsOptions)
	}
	return nil
}

// dmName is the name that device-mapper has for a logical volume: VG-LV, each '-' within written twice.
func (d *Disk) dmName(lv string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return double(d.vg) + "-" + double(lv)
}

func (d *Disk) node(lv string) string { return "/dev/mapper/" + d.dmName(lv) }

// Capacity is what is free on the disks that are there, and what ours have.
func (d *Disk) Capacity(ctx context.Context) (int64, error) {
	d.mu.Lock() // between the two reports nothing of ours may come or go
	defer d.mu.Unlock()
	g, err := d.group(ctx)
	if err != nil {
		return 0, err
	}
	all, err := d.volumes(ctx)
	if err != nil {
		return 0, err
	}
	total := g.free() * g.extent
	for _, l := range all {
		total += l.size
	}
	return total, nil
}

// List returns the volumes, those half made, half grown or half destroyed included.
func (d *Disk) List(ctx context.Context) ([]string, error) {
	all, err := d.volumes(ctx)
	if err != nil {
		return nil, err
	}
	seen := make(map[string]bool)
	var names []string
	for _, l := range all {
		name := strings.TrimSuffix(strings.TrimPrefix(l.name, prefix), growing)
		if disk.CheckName(name) == nil && !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	return names, nil
}

// find returns the volume; volume.ErrNotFound.
func (d *Disk) find(ctx context.Context, name string) (logical, error) {
	if err := disk.CheckName(name); err != nil {
		return logical{}, err
	}
	all, err := d.volumes(ctx)
	if err != nil {
		return logical{}, err
	}
	for _, l := range all {
		if l.name == prefix+name {
			return l, nil
		}
	}
	return logical{}, fmt.Errorf("%w: volume group %s has no scratch volume %s", volume.ErrNotFound, d.vg, name)
}
