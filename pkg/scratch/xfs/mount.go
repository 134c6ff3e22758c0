package xfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// always is on every mount: a volume is a pod's, and nothing in it is trusted.
const always = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV

// attributes turns options into those of one mount, mount_setattr(2); later ones win, but for ro. A bind mount has no others: the rest belong to the file system.
func attributes(options []string, readOnly bool) (unix.MountAttr, error) {
	// A change of how the access time is kept needs the whole field cleared.
	a := unix.MountAttr{Attr_set: always | unix.MOUNT_ATTR_NOATIME, Attr_clr: unix.MOUNT_ATTR__ATIME}
	for _, o := range options {
		switch o {
		case "nosuid", "nodev", "nodiscard", "rw":
		case "exec":
			a.Attr_set &^= unix.MOUNT_ATTR_NOEXEC
		case "noatime":
			a.Attr_set = a.Attr_set&^unix.MOUNT_ATTR__ATIME | unix.MOUNT_ATTR_NOATIME
		case "relatime":
			a.Attr_set &^= unix.MOUNT_ATTR__ATIME
		case "strictatime":
			a.Attr_set = a.Attr_set&^unix.MOUNT_ATTR__ATIME | unix.MOUNT_ATTR_STRICTATIME
		case "nosymfollow":
			a.Attr_set |= unix.MOUNT_ATTR_NOSYMFOLLOW
		case "nodiratime":
			a.Attr_set |= unix.MOUNT_ATTR_NODIRATIME
		case "noexec":
			a.Attr_set |= unix.MOUNT_ATTR_NOEXEC
		case "ro":
			readOnly = true
		default:
			return a, fmt.Errorf("%w: mount option %q: a volume of kind xfs is a bind mount and takes only exec, noexec, noatime, nodiratime, relatime, strictatime, nosymfollow, ro, "+
				"nosuid and nodev (always set); others belong to the file system, in /etc/fstab", volume.ErrInvalid, o)
		}
	}
	if readOnly {
		a.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	return a, nil
}

// Mount shows the volume's directory at m.Path: made detached, given its attributes and only then attached, so that it is at no
// moment there without them (Linux 5.12).
func (d *Disk) Mount(_ context.Context, name string, m disk.Mount) error {
	attr, err := attributes(m.Options, m.ReadOnly)
	if err != nil {
		return err
	}
	if !filepath.IsAbs(m.Path) {
		return fmt.Errorf("%w: %q is no absolute path", volume.ErrInvalid, m.Path)
	}
	if _, err := d.volume(name); err != nil {
		return err
	}
	data, err := d.openDirectory(filepath.Join(name, dataName))
	if err != nil {
		return err
	}
	defer data.Close()
	failpoint.Hit("scratch/xfs/before-mount")
	if err := bind(data, m.Path, attr); err != nil {
		return fmt.Errorf("mount volume %s of %s at %s: %w", name, d.path, m.Path, err)
	}
	failpoint.Hit("scratch/xfs/after-mount")
	return nil
}

func bind(dir *os.File, path string, attr unix.MountAttr) error {
	fd, err := unix.OpenTree(int(dir.Fd()), "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(fd)
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		return os.NewSyscallError("mount_setattr", err)
	}
	return os.NewSyscallError("move_mount", unix.MoveMount(fd, "", unix.AT_FDCWD, path, unix.MOVE_MOUNT_F_EMPTY_PATH))
}

// Mounted compares the mount at path with what the volume's would be. A volume whose directory was renamed, or removed, below
// its mount is volume.ErrUnavailable.
func (d *Disk) Mounted(_ context.Context, name, path string) error {
	if err := disk.CheckName(name); err != nil {
		return err
	}
	m, ok, err := mountpoint.Find(path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("%w: %s doesn't exist", volume.ErrNotFound, path)
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	}
	root := filepath.Join(d.root, name, dataName)
	if m.SameDevice(d.mount) {
		if m.Root == root {
			return nil
		}
		gone := filepath.Join(d.root, gonePrefix+name, dataName)
		if strings.TrimSuffix(m.Root, "//deleted") == gone || m.Root == root+"//deleted" {
			return fmt.Errorf("%w: the directory of volume %s was destroyed below its mount at %s", volume.ErrUnavailable, name, path)
		}
	}
	return fmt.Errorf("%w: %s of %s %s is mounted at %s, not volume %s of %s", volume.ErrExists, m.Root, m.FSType, m.Source, path, name, d.path)
}
