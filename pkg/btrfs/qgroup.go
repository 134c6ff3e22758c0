package btrfs

// Simple quotas and their groups.

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// QuotaMode is how a file system counts.
type QuotaMode string

// The modes, as sysfs names them.
const (
	QuotaOff    QuotaMode = "disabled"
	QuotaFull   QuotaMode = "qgroup" // charges who refers to an extent
	QuotaSimple QuotaMode = "squota" // charges who made it
)

// Group is the id of a group: the level in the upper 16 bits, a number in the others.
type Group uint64

// NewGroup is the group level/number.
func NewGroup(level uint16, number uint64) Group { return Group(uint64(level)<<48 | number) }

// Level and Number are the two parts: at level 0 the number is a subvolume's id.
func (g Group) Level() uint16 { return uint16(g >> 48) }

// Number is the part after the slash.
func (g Group) Number() uint64 { return uint64(g) & (1<<48 - 1) }

// String is the form that btrfs-qgroup(8) takes.
func (g Group) String() string { return fmt.Sprintf("%d/%d", g.Level(), g.Number()) }

func (g Group) file() string { return fmt.Sprintf("%d_%d", g.Level(), g.Number()) }

// QuotaMode tells how the file system counts now. It fails where /sys isn't mounted.
func (fs *FS) QuotaMode() (QuotaMode, error) {
	if _, err := os.Stat(fs.sysfs()); err != nil {
		return "", fmt.Errorf("the kernel's view of the file system (is /sys mounted?): %w", err)
	}
	mode, err := os.ReadFile(fs.sysfs("qgroups", "mode"))
	if err == nil {
		return QuotaMode(strings.TrimSpace(string(mode))), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	// Before Linux 6.7 there is no such file, and no mode but one.
	if _, err := os.Stat(fs.sysfs("qgroups")); err == nil {
		return QuotaFull, nil
	}
	return QuotaOff, nil
}

// EnableSimpleQuota turns simple quotas on. What is there already is charged to nobody. The error wraps ErrNoSimpleQuota; it
// is EEXIST or EBUSY of the operating system where quotas are on already.
func (fs *FS) EnableSimpleQuota() error {
	const simple = 4 // BTRFS_QUOTA_CTL_ENABLE_SIMPLE_QUOTA
	err := ioctl(fs.dir, "BTRFS_IOC_QUOTA_CTL", iocQuotaCtl, words(simple, 0))
	if unknownIoctl(err) {
		return fmt.Errorf("%w: %w", ErrNoSimpleQuota, err)
	}
	return err
}

// QuotaOverride tells whether limits don't hold processes with CAP_SYS_RESOURCE.
func (fs *FS) QuotaOverride() (bool, error) {
	b, err := os.ReadFile(fs.sysfs("quota_override"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return strings.TrimSpace(string(b)) != "0", err
}

// CreateGroup makes a group; one that exists is no error.
func (fs *FS) CreateGroup(g Group) error {
	err := ioctl(fs.dir, "BTRFS_IOC_QGROUP_CREATE "+g.String(), iocGroupCreate, words(1, uint64(g)))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// RemoveGroup removes a group; one that doesn't exist is no error. The kernel refuses, with EBUSY, one that has members or
// is charged for something, and that of a subvolume that exists.
func (fs *FS) RemoveGroup(g Group) error {
	err := ioctl(fs.dir, "BTRFS_IOC_QGROUP_CREATE "+g.String(), iocGroupCreate, words(0, uint64(g)))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// Assign makes a group a member of one of a higher level; done already is no error. What is charged to the member is charged to it
// too, from now on and what was before.
func (fs *FS) Assign(member, parent Group) error {
	err := ioctl(fs.dir, fmt.Sprintf("BTRFS_IOC_QGROUP_ASSIGN %s to %s", member, parent), iocGroupAssign, words(1, uint64(member), uint64(parent)))
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}

// Unassign is the opposite of Assign; no member is no error.
func (fs *FS) Unassign(member, parent Group) error {
	err := ioctl(fs.dir, fmt.Sprintf("BTRFS_IOC_QGROUP_ASSIGN %s from %s", member, parent), iocGroupAssign, words(0, uint64(member), uint64(parent)))
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	return err
}

// maxReferenced is BTRFS_QGROUP_LIMIT_MAX_RFER.
const maxReferenced = 1 << 0

// Limit sets the most bytes that may be charged to a group, data and metadata. Another limit that it has is taken away.
func (fs *FS) Limit(g Group, bytes int64) error {
	return ioctl(fs.dir, "BTRFS_IOC_QGROUP_LIMIT "+g.String(), iocGroupLimit, words(uint64(g), maxReferenced, uint64(bytes), 0, 0, 0))
}

// Charge is what a group has and may have, in bytes.
type Charge struct {
	Used     int64 // written
	Reserved int64 // promised to writes that are not on disk yet
	Limit    int64 // 0: none
}

// Charge reads a group. The error wraps os.ErrNotExist.
func (fs *FS) Charge(g Group) (Charge, error) {
	c, err := fs.Settled(g)
	for _, name := range []string{"rsv_data", "rsv_meta_pertrans", "rsv_meta_prealloc"} {
		if err != nil {
			break
		}
		var more int64
		more, err = fs.value(g, name)
		c.Reserved += more
	}
	return c, err
}

// Settled is Charge without what is reserved, for half of the price: for those who look at all groups.
func (fs *FS) Settled(g Group) (Charge, error) {
	used, err := fs.value(g, "referenced")
	if err != nil {
		return Charge{}, err
	}
	c := Charge{Used: used}
	flags, err := fs.value(g, "limit_flags")
	if err == nil && flags&maxReferenced != 0 {
		c.Limit, err = fs.value(g, "max_referenced")
	}
	return c, err
}

// value reads a number of a group with three system calls. An os.File takes twice as many, and making a volume reads some for every volume of the disk.
func (fs *FS) value(g Group, name string) (int64, error) {
	var b [32]byte
	n := 0
	fd, err := unix.Open(fs.sysfs("qgroups", g.file(), name), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		n, err = unix.Read(fd, b[:])
		err = errors.Join(err, unix.Close(fd))
	}
	if errors.Is(err, unix.ENODEV) { // removed between opening and reading
		err = os.ErrNotExist
	}
	if err != nil {
		return 0, fmt.Errorf("quota group %s: read %s: %w", g, name, err)
	}
	v, err := strconv.ParseUint(strings.TrimSpace(string(b[:n])), 0, 64)
	if err != nil {
		return 0, fmt.Errorf("quota group %s: %s: %w", g, name, err)
	}
	return int64(min(v, 1<<63-1)), nil
}

// Groups lists the groups of one level.
func (fs *FS) Groups(level uint16) ([]Group, error) {
	entries, err := os.ReadDir(fs.sysfs("qgroups"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // quotas are off
	}
	var groups []Group
	for _, e := range entries {
		l, n, ok := strings.Cut(e.Name(), "_")
		if !ok || l != strconv.Itoa(int(level)) {
			continue
		}
		if number, err := strconv.ParseUint(n, 10, 48); err == nil {
			groups = append(groups, NewGroup(level, number))
		}
	}
	return groups, err
}

// Members lists the groups that are members of one.
func (fs *FS) Members(g Group) ([]Group, error) {
	var members []Group
	// A relation is kept twice, once from either side.
	err := fs.search(searchKey{tree: quotaTree, objectMin: uint64(g), objectMax: uint64(g), kind: groupRelation, offsetMax: uint64(g) - 1}, func(i item) error {
		if member := Group(i.offset); member.Level() < g.Level() {
			members = append(members, member)
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // no quota tree
	}
	return members, err
}
