package disktest

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The requests of include/uapi/linux/fs.h and btrfs.h.
const (
	iocTrim          = 0xc0185879 // FITRIM
	iocGetAttributes = 0x801c581f // FS_IOC_FSGETXATTR
	iocSetAttributes = 0x401c5820 // FS_IOC_FSSETXATTR
	iocSubvolume     = 0x5000940e // BTRFS_IOC_SUBVOL_CREATE
	iocSnapshot      = 0x50009417 // BTRFS_IOC_SNAP_CREATE_V2
	projectInherit   = 0x200      // FS_XFLAG_PROJINHERIT
)

// attributes is struct fsxattr.
type attributes struct {
	Flags, Extent, Extents, Project, CowExtent uint32
	_                                          [8]byte
}

// trimRange is struct fstrim_range.
type trimRange struct{ Start, Length, Minimum uint64 }

// subvolumeArgs is struct btrfs_ioctl_vol_args.
type subvolumeArgs struct {
	_    int64
	Name [4088]byte
}

// snapshotArgs is struct btrfs_ioctl_vol_args_v2.
type snapshotArgs struct {
	Source int64
	_      uint64
	Flags  uint64
	_      [4]uint64
	Name   [4040]byte
}

func ioctl(fd int, request uint, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), uintptr(request), uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}

// trim is what fstrim does.
func trim(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	r := trimRange{Length: ^uint64(0)}
	return ioctl(int(d.Fd()), iocTrim, unsafe.Pointer(&r))
}

// setProject is what chattr -p and xfs_io's chproj do, and takes the mark off that new files inherit the project.
func setProject(path string, project uint32) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	var a attributes
	if err := ioctl(int(d.Fd()), iocGetAttributes, unsafe.Pointer(&a)); err != nil {
		return err
	}
	a.Project = project
	a.Flags &^= projectInherit
	return ioctl(int(d.Fd()), iocSetAttributes, unsafe.Pointer(&a))
}

func subvolume(dir, name string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	var a subvolumeArgs
	copy(a.Name[:], name)
	return ioctl(int(d.Fd()), iocSubvolume, unsafe.Pointer(&a))
}

func snapshot(source, dir, name string) error {
	s, err := os.Open(source)
	if err != nil {
		return err
	}
	defer s.Close()
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	a := snapshotArgs{Source: int64(s.Fd())}
	copy(a.Name[:], name)
	return ioctl(int(d.Fd()), iocSnapshot, unsafe.Pointer(&a))
}
