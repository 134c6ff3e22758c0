package mountpoint

// This file binds device nodes to files: how a raw block volume is published. The rules are those of directories: no symbolic link is
// followed, nothing is stacked unseen, nothing with content is covered or removed.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotFile is returned for a target that is something else than a regular file, a symbolic link included.
	ErrNotFile = errors.New("not a regular file")
	// ErrNotDevice is returned for what should be a block device and isn't, a symbolic link to one included.
	ErrNotDevice = errors.New("not a block device")
)

// Device is the number of a block device.
type Device struct{ Major, Minor uint32 }

// String is the number as the kernel writes it, "7:3".
func (d Device) String() string { return fmt.Sprintf("%d:%d", d.Major, d.Minor) }

// Size returns the device's size in bytes. It asks the kernel, not the device.
func (d Device) Size() (int64, error) {
	b, err := os.ReadFile("/sys/dev/block/" + d.String() + "/size")
	if err != nil {
		return 0, fmt.Errorf("size of block device %s: %w", d, err)
	}
	const sector = 512 // whatever the device's own (Linux, Documentation/block/stat.rst)
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("size of block device %s: %w", d, err)
	}
	return n * sector, nil
}

// DeviceAt returns the device whose node is at path, itself or bound there. It asks no file system that could hang: the
// attributes that the kernel remembers tell. ErrNotDevice: something else, or nothing, is there.
func DeviceAt(path string) (Device, error) {
	fd, d, err := openDevice(path)
	if err != nil {
		return Device{}, err
	}
	return d, unix.Close(fd)
}

// openDevice opens a device's node, not the device: that would make it busy.
func openDevice(path string) (int, Device, error) {
	fd, attr, err := openPath(path)
	if errors.Is(err, unix.ENOENT) {
		return -1, Device{}, fmt.Errorf("%s: %w: nothing is there", path, ErrNotDevice)
	}
	if err != nil {
		return -1, Device{}, err
	}
	if attr.Mode&unix.S_IFMT != unix.S_IFBLK {
		return -1, Device{}, errors.Join(fmt.Errorf("%s: %w", path, ErrNotDevice), unix.Close(fd))
	}
	return fd, Device{attr.Rdev_major, attr.Rdev_minor}, nil
}

// openPath opens what is at path, a symbolic link as itself, and reads what the kernel remembers of it.
func openPath(path string) (int, unix.Statx_t, error) {
	var attr unix.Statx_t
	if !filepath.IsAbs(path) {
		return -1, attr, fmt.Errorf("%q: %w", path, ErrInvalidPath)
	}
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, attr, &os.PathError{Op: "open", Path: path, Err: err}
	}
	err = again(func() error {
		return unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_TYPE|unix.STATX_SIZE, &attr)
	})
	if err != nil {
		return -1, attr, errors.Join(&os.PathError{Op: "statx", Path: path, Err: err}, unix.Close(fd))
	}
	return fd, attr, nil
}

// OfBlockDevice returns the visible mounts through which d can be opened: the binds of its nodes in /dev, the node's own or a
// container's. No other file system is asked: to open the root of some (NFS) means to ask their server.
func (t Table) OfBlockDevice(d Device) Table {
	return t.filter(func(m Mount) bool {
		if m.FSType != "devtmpfs" && m.FSType != "tmpfs" || m.Root == "/" { // "/": a whole file system, not one of its nodes
			return false
		}
		if top, ok := t.At(m.Path); !ok || top.ID != m.ID {
			return false
		}
		at, err := DeviceAt(m.Path)
		return err == nil && at == d
	})
}

// MakeFileMountpoint makes the empty file that a device's node will cover, with mode 0000, and tells whether it was this call
// that made it. The parent must exist. What is there already is left as it is and must pass CheckFileMountpoint.
func MakeFileMountpoint(path string) (bool, error) {
	if !filepath.IsAbs(path) {
		return false, fmt.Errorf("make mountpoint %q: %w", path, ErrInvalidPath)
	}
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, targetMode)
	if err == nil {
		return true, unix.Close(fd)
	}
	if err != unix.EEXIST {
		return false, fmt.Errorf("make mountpoint: %w", &os.PathError{Op: "open", Path: path, Err: err})
	}
	return false, CheckFileMountpoint(path)
}

// CheckFileMountpoint returns nil when path is an empty regular file: ErrNotFile, ErrNotEmpty otherwise.
func CheckFileMountpoint(path string) error {
	fd, attr, err := openPath(path)
	if err != nil {
		return fmt.Errorf("mountpoint %s: %w", path, err)
	}
	switch {
	case attr.Mode&unix.S_IFMT != unix.S_IFREG:
		err = fmt.Errorf("mountpoint %s: %w", path, ErrNotFile)
	case attr.Size > 0:
		err = fmt.Errorf("mountpoint %s: %w: a file of %d bytes; look at it and move it away", path, ErrNotEmpty, attr.Size)
	}
	return errors.Join(err, unix.Close(fd))
}

// BindDevice makes the block device whose node is at node visible at dst, a regular file; nothing may be bound there yet. Symbolic
// links are not followed at either end. There is no read-only kind: a read-only mount doesn't keep anybody from writing to a
// device whose node it shows.
func BindDevice(node, dst string) error {
	from, _, err := openDevice(node)
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	defer unix.Close(from)
	// The kernel would attach a file to a symbolic link itself.
	to, attr, err := openPath(dst)
	if err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	defer unix.Close(to)
	if attr.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("bind %s to %s: %w", node, dst, ErrNotFile)
	}
	err = bindDetachedFile(from, to)
	if errors.Is(err, unix.ENOSYS) {
		err = bindFile(from, to)
	}
	if err != nil {
		return fmt.Errorf("bind %s to %s: %w", node, dst, err)
	}
	return nil
}

func bindDetachedFile(from, to int) error {
	fd, err := unix.OpenTree(from, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return os.NewSyscallError("open_tree", err)
	}
	defer unix.Close(fd)
	return os.NewSyscallError("move_mount", unix.MoveMount(fd, "", to, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH))
}

// bindFile serves kernels before 5.2.
func bindFile(from, to int) error {
	self := func(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }
	return os.NewSyscallError("mount", unix.Mount(self(from), self(to), "", unix.MS_BIND, ""))
}

// RemoveTarget is RemoveMountpoint of a path that may also be the file of a block device. A file with something in it is
// ErrNotEmpty and stays.
func RemoveTarget(path string) error {
	fd, attr, err := openPath(path)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove mountpoint: %w", err)
	}
	if err := unix.Close(fd); err != nil {
		return err
	}
	m, ok, err := Find(path)
	if err != nil {
		return err
	}
	if ok {
		return fmt.Errorf("remove mountpoint %s: %w (%s from %s)", path, ErrStillMounted, m.FSType, m.Source)
	}
	if attr.Mode&unix.S_IFMT != unix.S_IFREG {
		return RemoveMountpoint(path)
	}
	if err := CheckFileMountpoint(path); err != nil {
		return err
	}
	switch err := unix.Unlink(path); {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("remove mountpoint %s: %w", path, ErrStillMounted)
	default:
		return fmt.Errorf("remove mountpoint: %w", &os.PathError{Op: "unlink", Path: path, Err: err})
	}
}
