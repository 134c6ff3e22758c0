package lvm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// probeName is the volume that Probe makes.
const probeName = "probe"

// groupName is what LVM takes as the name of a volume group (lvm(8), VALID NAMES).
var groupName = regexp.MustCompile(`^[a-zA-Z0-9+_.][a-zA-Z0-9+_.-]{0,99}$`)

// Probe finds out whether the volume group can hold volumes by making one, writing to its end and beyond, and destroying it. A lvm
// program and a group prove nothing: without device-mapper in the kernel both are there. A group that can't is a *disk.Refused.
func Probe(ctx context.Context, vg string) (*Disk, error) {
	if !groupName.MatchString(vg) || vg == "." || vg == ".." {
		return nil, refused("%q can't name a volume group", vg)
	}
	p, err := findProgram()
	if err != nil {
		return nil, refused("%v", err)
	}
	d := newDisk(vg, p)
	if err := d.try(ctx); err != nil {
		if ctx.Err() != nil {
			return nil, err
		}
		return nil, refused("%v", err)
	}
	return d, nil
}

// Open takes the volume group as it is: for the volumes that lie there already, whatever Probe says of it.
func Open(vg string) (*Disk, error) {
	p, err := findProgram()
	if err != nil {
		return nil, err
	}
	return newDisk(vg, p), nil
}

func refused(format string, args ...any) error {
	return &disk.Refused{Kind: disk.LVM, Reason: fmt.Sprintf(format, args...)}
}

func (d *Disk) try(ctx context.Context) (err error) {
	g, err := d.group(ctx)
	if err != nil {
		return fmt.Errorf("volume group %s: %w; it must exist, on disks of this node (vgcreate makes one)", d.vg, err)
	}
	for _, p := range g.disks {
		if p.missing {
			return fmt.Errorf("a disk of volume group %s is missing (%s): bring it back, or run vgreduce --removemissing %s", d.vg, p.name, d.vg)
		}
	}
	if g.free()*g.extent < disk.MinSize {
		// A full group has been tried by the volumes in it.
		all, err := d.volumes(ctx)
		if err == nil && len(all) == 0 {
			err = fmt.Errorf("volume group %s has %d bytes free, %d are the least for a volume", d.vg, g.free()*g.extent, int64(disk.MinSize))
		}
		return err
	}
	err = d.Create(ctx, disk.Spec{Name: probeName, Size: disk.MinSize, Block: true})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := clearing(ctx)
		defer cancel()
		err = errors.Join(err, d.Destroy(ctx, probeName, disk.WipeNone))
	}()
	device, err := d.Attach(ctx, probeName)
	if err != nil {
		return err
	}
	l, err := d.find(ctx, probeName)
	if err != nil {
		return err
	}
	return limited(device, l.size)
}

// limited writes the last bytes of a device and one block beyond.
func limited(device string, size int64) (err error) {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := make([]byte, 4096)
	if _, err := f.WriteAt(b, size-int64(len(b))); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if _, err := f.WriteAt(b, size); !errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%w: writing beyond the end of %s gave %v, not ENOSPC", volume.ErrPrecondition, device, err)
	}
	return nil
}
