package btrfs

// Space and devices.

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Types and profiles of chunks (btrfs_tree.h). No profile bit is the profile "single".
const (
	chunkData     = 1 << 0
	chunkMetadata = 1 << 2

	raid1   = 1 << 4
	dup     = 1 << 5
	raid10  = 1 << 6
	raid1c3 = 1 << 9
	raid1c4 = 1 << 10

	globalReserve = 1 << 49
)

// Space is how the bytes of a file system are divided.
type Space struct {
	Available int64 // for data, as statfs(2) says: in chunks of data and where a chunk may yet be made
	InChunks  int64 // the part of Available that is in chunks of data already: nothing else can have it
	// DataCopies and MetadataCopies are how many times a byte is stored: 2 for DUP, RAID1 and RAID10. Parity is not counted.
	DataCopies, MetadataCopies int64
	Mixed                      bool // data and metadata share chunks
}

// Space measures the file system.
func (fs *FS) Space() (Space, error) {
	var s Space
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(fs.dir.Fd()), &st); err != nil {
		return s, &os.PathError{Op: "statfs", Path: fs.dir.Name(), Err: err}
	}
	s.Available = int64(st.Bavail) * st.Bsize
	head := make([]byte, 16)
	if err := ioctl(fs.dir, "BTRFS_IOC_SPACE_INFO", iocSpaceInfo, head); err != nil {
		return s, err
	}
	slots := order.Uint64(head[8:]) + 4 // some more: a profile may have come meanwhile
	arg := make([]byte, 16+24*slots)
	order.PutUint64(arg, slots)
	if err := ioctl(fs.dir, "BTRFS_IOC_SPACE_INFO", iocSpaceInfo, arg); err != nil {
		return s, err
	}
	s.DataCopies, s.MetadataCopies = 1, 1
	for i := range min(order.Uint64(arg[8:]), slots) {
		entry := arg[16+24*i:]
		flags, total, used := order.Uint64(entry), int64(order.Uint64(entry[8:])), int64(order.Uint64(entry[16:]))
		if flags&globalReserve != 0 {
			continue
		}
		if flags&chunkData != 0 {
			s.InChunks += max(total-used, 0)
			s.DataCopies = max(s.DataCopies, copies(flags))
			s.Mixed = s.Mixed || flags&chunkMetadata != 0
		}
		if flags&chunkMetadata != 0 {
			s.MetadataCopies = max(s.MetadataCopies, copies(flags))
		}
	}
	s.InChunks = min(s.InChunks, s.Available)
	return s, nil
}

func copies(flags uint64) int64 {
	switch {
	case flags&raid1c4 != 0:
		return 4
	case flags&raid1c3 != 0:
		return 3
	case flags&(raid1|dup|raid10) != 0:
		return 2
	}
	return 1
}

// Device is one disk of a file system.
type Device struct {
	ID      uint64
	Path    string // as the kernel has it; "" when it is missing
	Missing bool
	// Errors are counted since they were last reset, by name: write, read, flush, corruption, generation. Those that are 0 are left out.
	Errors map[string]uint64
}

// Devices looks at every disk of the file system.
func (fs *FS) Devices() ([]Device, error) {
	info := make([]byte, 1024)
	if err := ioctl(fs.dir, "BTRFS_IOC_FS_INFO", iocFSInfo, info); err != nil {
		return nil, err
	}
	last, count := order.Uint64(info), order.Uint64(info[8:])
	var devices []Device
	for id := uint64(1); id <= last && uint64(len(devices)) < count; id++ {
		d, err := fs.device(id)
		if errors.Is(err, unix.ENODEV) {
			continue // ids are not given again
		}
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	return devices, nil
}

func (fs *FS) device(id uint64) (Device, error) {
	d := Device{ID: id, Errors: map[string]uint64{}}
	arg := make([]byte, 4096)
	order.PutUint64(arg, id)
	if err := ioctl(fs.dir, "BTRFS_IOC_DEV_INFO", iocDevInfo, arg); err != nil {
		return d, err
	}
	d.Path, _, _ = strings.Cut(string(arg[3072:]), "\x00") // 8 id, 16 uuid, 8 used, 8 total, 16 fsid, unused up to the path
	if text, err := os.ReadFile(fs.sysfs("devinfo", fmt.Sprint(id), "missing")); err == nil {
		d.Missing = strings.TrimSpace(string(text)) == "1"
	} else if d.Path == "" {
		d.Missing = true
	}
	names := []string{"write", "read", "flush", "corruption", "generation"}
	stats := make([]byte, 1032)
	copy(stats, words(id, uint64(len(names)), 0))
	err := ioctl(fs.dir, "BTRFS_IOC_GET_DEV_STATS", iocDevStats, stats)
	if errors.Is(err, unix.ENODEV) {
		return d, nil // a missing device counts nothing
	}
	if err != nil {
		return d, err
	}
	for i, name := range names {
		if n := order.Uint64(stats[24+8*i:]); n > 0 {
			d.Errors[name] = n
		}
	}
	return d, nil
}

// ReadOnly tells whether nothing can be written, because it was mounted so or since the file system gave up after an error.
func (fs *FS) ReadOnly() (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(fs.dir.Fd()), &st); err != nil {
		return false, &os.PathError{Op: "statfs", Path: fs.dir.Name(), Err: err}
	}
	return st.Flags&unix.ST_RDONLY != 0, nil
}
