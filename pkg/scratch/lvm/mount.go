package lvm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// flagOf are the options that are flags of mount(2): what is set, and what is cleared.
var flagOf = map[string]struct{ set, clear uintptr }{
	"noatime": {unix.MS_NOATIME, unix.MS_RELATIME | unix.MS_STRICTATIME}, "relatime": {unix.MS_RELATIME, unix.MS_NOATIME | unix.MS_STRICTATIME},
	"strictatime": {unix.MS_STRICTATIME, unix.MS_NOATIME | unix.MS_RELATIME}, "nodiratime": {unix.MS_NODIRATIME, 0},
	"lazytime": {unix.MS_LAZYTIME, 0}, "nolazytime": {0, unix.MS_LAZYTIME}, "exec": {0, unix.MS_NOEXEC}, "noexec": {unix.MS_NOEXEC, 0},
	"nodev": {unix.MS_NODEV, 0}, "nosuid": {unix.MS_NOSUID, 0}, "nosymfollow": {unix.MS_NOSYMFOLLOW, 0}, "sync": {unix.MS_SYNCHRONOUS, 0},
	"dirsync": {unix.MS_DIRSYNC, 0}, "ro": {unix.MS_RDONLY, 0},
}

// options are the flags and data of mount(2). A scratch volume never brings device files or set-user-ID programs.
func options(fsType string, m disk.Mount) (flags uintptr, data string, err error) {
	flags = unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID
	if m.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	var rest []string
	for _, o := range m.Options {
		if f, ok := flagOf[o]; ok {
			flags = flags&^f.clear | f.set
			continue
		}
		switch o {
		case "dev", "suid", "rw":
			return 0, "", fmt.Errorf("%w: mount option %s is not allowed for a scratch volume", volume.ErrInvalid, o)
		}
		if o == "" || strings.ContainsAny(o, ",\x00") {
			return 0, "", fmt.Errorf("%w: mount option %q is not one option", volume.ErrInvalid, o)
		}
		rest = append(rest, o)
	}
	if fsType == mkfs.Ext4 && !slices.ContainsFunc(rest, func(o string) bool { return strings.HasPrefix(o, "errors=") }) {
		// A file system that is known to be damaged isn't written on.
		rest = append(rest, "errors=remount-ro")
	}
	return flags, strings.Join(rest, ","), nil
}

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
	flags, data, err := options(l.is, m)
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
	if stopped(m) {
		return fmt.Errorf("%w: the file system of volume %s at %s stopped writing after an error", volume.ErrUnavailable, name, path)
	}
	return nil
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

// stopped: the file system itself stopped writing, not only this mount of it. Kernels say so in different ways: by ro, by a word of their own
// (from 6.14 on), or, with "ext4: don't set SB_RDONLY after filesystem errors" of 6.12 and its stable releases, only by a count of errors.
func stopped(m *mountpoint.Mount) bool {
	return !slices.Contains(m.Options, "ro") && slices.Contains(m.SuperOptions, "ro") ||
		slices.ContainsFunc(m.SuperOptions, func(o string) bool { return o == "emergency_ro" || o == "shutdown" }) ||
		slices.Contains(m.SuperOptions, "errors=remount-ro") && errorCount(m) > 0
}
