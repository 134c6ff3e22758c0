package mountpoint

// This file makes bind mounts and the directories they sit on.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// targetMode lets nobody into a directory, or file, that nothing is mounted on: a pod which meets it by mistake cannot fill the node's
// disk, or take what it reads there for its volume. Only CAP_DAC_OVERRIDE passes, which kubelet has and needs.
const targetMode = 0

// ErrNotDirectory is returned for a mountpoint that is something else, a
// symbolic link included.
var ErrNotDirectory = errors.New("not a directory")

// MakeMountpoint makes the directory that a mount will cover, with mode 0000, and tells
// whether it was this call that made it. The parent must exist: the container
// orchestrator owns it (CSI spec, NodePublishVolume target_path). An existing
// directory is left as it is, and is not stat'ed: it may be a dead mount.
func MakeMountpoint(path string) (bool, error) {
	if !filepath.IsAbs(path) {
		return false, fmt.Errorf("make mountpoint %q: %w", path, ErrInvalidPath)
	}
	err := os.Mkdir(path, targetMode)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, os.ErrExist) {
		return false, fmt.Errorf("make mountpoint: %w", err)
	}
	return false, CheckMountpoint(path)
}

// CheckMountpoint returns nil when path is a directory, and no symbolic link. It asks
// only the kernel's own memory of the directory, never the file system behind it.
func CheckMountpoint(path string) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == unix.ENOTDIR || err == unix.ELOOP {
		return fmt.Errorf("mountpoint %s: %w", path, ErrNotDirectory)
	}
	if err != nil {
		return fmt.Errorf("mountpoint %s: %w", path, &os.PathError{Op: "open", Path: path, Err: err})
	}
	return unix.Close(fd)
}

// Bind makes src visible at dst, a directory that exists. With readOnly, dst is
// never writable, not even for a moment: the mount is made detached, turned
// read-only and only then attached (open_tree(2), mount_setattr(2),
// move_mount(2); Linux 5.12). An older kernel falls back to mount(2) with a
// read-only remount, where a moment remains. Trailing symbolic links are not
// followed at either end. Bind does not look at what is mounted at dst already:
// calling it twice stacks two mounts.
func Bind(src, dst string, readOnly bool) error {
	for _, p := range [...]string{src, dst} {
		if !filepath.IsAbs(p) {
			return fmt.Errorf("bind %q: %w", p, ErrInvalidPath)
		}
	}
	err := bindDetached(src, dst, readOnly)
	if errors.Is(err, unix.ENOSYS) {
		err = bindRemount(src, dst, readOnly)
	}
	if err != nil {
		return fmt.Errorf("bind %s to %s: %w", src, dst, err)
	}
	return nil
}

func bindDetached(src, dst string, readOnly bool) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, src,
		unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(fd)
	if readOnly {
		attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
			return os.NewSyscallError("mount_setattr", err)
		}
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, dst, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return os.NewSyscallError("move_mount", err)
	}
	return nil
}

func bindRemount(src, dst string, readOnly bool) error {
	for _, p := range [...]string{src, dst} {
		if err := CheckMountpoint(p); err != nil {
			return err
		}
	}
	if err := unix.Mount(src, dst, "", unix.MS_BIND, ""); err != nil {
		return os.NewSyscallError("mount", err)
	}
	if !readOnly {
		return nil
	}
	err := remountReadOnly(dst)
	if err == nil {
		return nil
	}
	// A writable mount where a read-only one was asked for must not stay.
	return errors.Join(err, os.NewSyscallError("umount", unix.Unmount(dst, unix.UMOUNT_NOFOLLOW)))
}

// remountReadOnly keeps the flags that the bind took over from its source: a
// remount clears every flag it does not name (mount(2)).
func remountReadOnly(dst string) error {
	m, ok, err := Find(dst)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("%s is not in the mount table after its mount", dst)
	}
	flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY)
	keep := map[string]uintptr{
		"nosuid": unix.MS_NOSUID, "nodev": unix.MS_NODEV, "noexec": unix.MS_NOEXEC,
		"noatime": unix.MS_NOATIME, "nodiratime": unix.MS_NODIRATIME, "relatime": unix.MS_RELATIME,
	}
	for _, o := range m.Options {
		flags |= keep[o]
	}
	return os.NewSyscallError("mount", unix.Mount("", dst, "", flags, ""))
}
