package btrfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotBtrfs is returned by Open for a directory of another file system.
	ErrNotBtrfs = errors.New("not a btrfs file system")
	// ErrNoSimpleQuota is returned by EnableSimpleQuota of a kernel that has none.
	ErrNoSimpleQuota = errors.New("the kernel has no btrfs simple quotas (Linux 6.7)")
)

// sysfs is where the kernel shows what it knows of btrfs (Documentation/ABI, and btrfs(5), "SYSFS").
const sysfs = "/sys/fs/btrfs"

// FS is a btrfs file system, held by one of its directories. It is safe for concurrent use.
type FS struct {
	dir  *os.File
	uuid string
	node int // bytes of a node of metadata
}

// Open opens the file system that the directory path lies on; the directory keeps it from being unmounted until Close. The error wraps
// ErrNotBtrfs, or is of the operating system.
func Open(path string) (*FS, error) {
	dir, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	fs, err := of(dir)
	if err != nil {
		return nil, errors.Join(err, dir.Close())
	}
	return fs, nil
}

func of(dir *os.File) (*FS, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(dir.Fd()), &st); err != nil {
		return nil, &os.PathError{Op: "statfs", Path: dir.Name(), Err: err}
	}
	if st.Type != unix.BTRFS_SUPER_MAGIC {
		return nil, fmt.Errorf("%s: %w", dir.Name(), ErrNotBtrfs)
	}
	info := make([]byte, 1024)
	if err := ioctl(dir, "BTRFS_IOC_FS_INFO", iocFSInfo, info); err != nil {
		return nil, err
	}
	u := info[16:32]
	return &FS{
		dir: dir, node: int(order.Uint32(info[32:])),
		uuid: fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]),
	}, nil
}

// Close lets go of the file system.
func (fs *FS) Close() error { return fs.dir.Close() }

// UUID is the file system's own, as the kernel names it in sysfs.
func (fs *FS) UUID() string { return fs.uuid }

// NodeSize is how many bytes of metadata are written at a time: an empty subvolume has one node.
func (fs *FS) NodeSize() int { return fs.node }

// Dir is the directory that was opened. It must not be closed.
func (fs *FS) Dir() *os.File { return fs.dir }

func (fs *FS) sysfs(elements ...string) string {
	return filepath.Join(append([]string{sysfs, fs.uuid}, elements...)...)
}

// Commit asks for the running transaction to be committed and does not wait: what was destroyed is cleaned after it. Unlike
// syncfs(2) it writes out nobody's files.
func (fs *FS) Commit() error {
	return ioctl(fs.dir, "BTRFS_IOC_START_SYNC", iocStartSync, make([]byte, 8))
}

// stir begins a transaction, so that there is one to commit: without one Commit does nothing, and what waits for a commit to be cleaned waits
// until the file system makes one by itself, half a minute (commit= in btrfs(5)).
func (fs *FS) stir() error {
	now := unix.NsecToTimeval(time.Now().UnixNano())
	return os.NewSyscallError("futimes", unix.Futimes(int(fs.dir.Fd()), []unix.Timeval{now, now}))
}

// Committed is Commit, waited for: what was freed before it can be given out again.
func (fs *FS) Committed() error {
	transaction := make([]byte, 8)
	if err := ioctl(fs.dir, "BTRFS_IOC_START_SYNC", iocStartSync, transaction); err != nil {
		return err
	}
	return ioctl(fs.dir, "BTRFS_IOC_WAIT_SYNC", iocWaitSync, transaction)
}
