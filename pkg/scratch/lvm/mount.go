package lvm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/localfs"
	"github.com/strata-csi/strata/pkg/volume"
)

// ready returns a whole volume, active, that is, or isn't, a block volume.
func (d *Disk) ready(ctx context.Context, name string, raw bool) (logical, error) {
	l, err := d.find(ctx, name)
	if err != nil {
		return l, err
	}
	switch {
	case l.is == "":
		return l, fmt.Errorf("%w: volume %s of group %s is only half made", volume.ErrPrecondition, name, d.vg)
	case raw && l.is != block:
		return l, fmt.Errorf("%w: volume %s of group %s has a file system (%s) and is no block volume", volume.ErrInvalid, name, d.vg, l.is)
	case !raw && l.is == block:
		return l, fmt.Errorf("%w: volume %s of group %s is a block volume and has no file system to be mounted", volume.ErrInvalid, name, d.vg)
	}
	return l, d.activate(ctx, l)
}

// Mount mounts the file system. Its type is the one that Create made, whatever lies on the device by now.
func (d *Disk) Mount(ctx context.Context, name string, m disk.Mount) error {
	l, err := d.ready(ctx, name, false)
	if err != nil {
		return err
	}
	flags, data, err := localfs.Options(l.is, m)
	if err != nil {
		return err
	}
	failpoint.Hit("scratch/lvm/before-mount")
	if err := unix.Mount(d.node(l.name), m.Path, l.is, flags, data); err != nil {
		return fmt.Errorf("mount %s (%s, options %q) at %s: %w; the kernel's log says more", d.node(l.name), l.is, data, m.Path, err)
	}
	failpoint.Hit("scratch/lvm/after-mount")
	return nil
}

// Attach gives the device node: the one in /dev/mapper, or, where a udev made that a symbolic link, the one it leads to.
func (d *Disk) Attach(ctx context.Context, name string) (string, error) {
	l, err := d.ready(ctx, name, true)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(d.node(l.name))
}

// Mounted asks the mount table for the device, and sysfs for the name that device-mapper gave it.
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
	if m.Root != "/" || dmNameOf(m.Major, m.Minor) != d.dmName(prefix+name) {
		return nil, fmt.Errorf("%w: %s of %s %s is mounted at %s, not volume %s of group %s", volume.ErrExists, m.Root, m.FSType, m.Source, path, name, d.vg)
	}
	return m, nil
}

// dmNameOf is the device-mapper name of a block device, or "" when it is none (Documentation/ABI/testing/sysfs-block-dm).
func dmNameOf(major, minor int) string {
	b, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/dm/name", major, minor))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}
