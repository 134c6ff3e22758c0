package loopdev

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// deleted is what the kernel adds to the path of a backing file without a name (d_path in fs/d_path.c).
const deleted = " (deleted)"

// Find returns the devices over the open file: none or one, unless somebody else attached a second.
func Find(file *os.File) ([]Device, error) {
	var s unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &s); err != nil {
		return nil, &os.PathError{Op: "stat", Path: file.Name(), Err: err}
	}
	return find(filepath.Base(file.Name()), func(i *unix.LoopInfo64) bool { return i.Device == s.Dev && i.Inode == s.Ino })
}

// FindDeleted returns the devices over files of that name on the file system of dir that have been removed.
func FindDeleted(dir, name string) ([]Device, error) {
	var s unix.Stat_t
	if err := unix.Stat(dir, &s); err != nil {
		return nil, &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	return find(name+deleted, func(i *unix.LoopInfo64) bool { return i.Device == s.Dev })
}

// find opens only devices over a file of that name: an open device with autoclear outlives its last user until it is closed.
func find(name string, same func(*unix.LoopInfo64) bool) ([]Device, error) {
	entries, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		return nil, err
	}
	var found []Device
	for _, e := range entries {
		number, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(filepath.Dir(filepath.Dir(e))), "loop"))
		if err != nil {
			continue
		}
		d := Device{Number: number}
		path, ok, err := d.backing()
		if err != nil {
			return nil, err
		}
		if base := filepath.Base(path); !ok || base != name && strings.TrimSuffix(base, deleted) != name {
			continue
		}
		attached, info, err := d.status()
		if err != nil {
			return nil, err
		}
		if attached && same(info) {
			d.see(info)
			found = append(found, d)
		}
	}
	return found, nil
}

// backing is the path of the file as this process sees it, with deleted; false: nothing is attached.
func (d Device) backing() (string, bool, error) {
	b, err := os.ReadFile(d.sys("loop/backing_file"))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("backing file of %s: %w", d.Path(), err)
	}
	return strings.TrimSuffix(string(b), "\n"), len(b) > 0, nil
}

// status asks the device; false: nothing is attached.
func (d Device) status() (bool, *unix.LoopInfo64, error) {
	if _, ok, err := d.backing(); !ok || err != nil {
		return false, &unix.LoopInfo64{}, err
	}
	f, err := d.open(os.O_RDONLY)
	if errors.Is(err, unix.ENXIO) {
		return false, &unix.LoopInfo64{}, nil
	}
	if err != nil {
		return false, nil, err
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	switch err {
	case nil:
		return true, info, nil
	case unix.ENXIO:
		return false, &unix.LoopInfo64{}, nil
	}
	return false, nil, os.NewSyscallError("LOOP_GET_STATUS64 "+d.Path(), err)
}

// Backing is what a device lies on.
type Backing struct {
	Path       string // as this process sees it, without the mark of a file that has no name any more
	Deleted    bool
	Dev, Inode uint64 // those of stat(2)
}

// Lookup returns the device with a device number and what it lies on; false: the number is none of an attached loop device.
func Lookup(major, minor int) (Device, Backing, bool, error) {
	if major != Major {
		return Device{}, Backing{}, false, nil
	}
	link, err := os.Readlink(fmt.Sprintf("/sys/dev/block/%d:%d", major, minor))
	if err != nil {
		return Device{}, Backing{}, false, nil
	}
	number, err := strconv.Atoi(strings.TrimPrefix(filepath.Base(link), "loop"))
	if err != nil {
		return Device{}, Backing{}, false, nil // a partition
	}
	d := Device{Number: number}
	path, ok, err := d.backing()
	if err != nil || !ok {
		return Device{}, Backing{}, false, err
	}
	ok, info, err := d.status()
	if err != nil || !ok {
		return Device{}, Backing{}, false, err
	}
	d.see(info)
	name, gone := strings.CutSuffix(path, deleted)
	return d, Backing{name, gone, info.Device, info.Inode}, true, nil
}
