package projectquota

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FS is a file system with projects.
type FS struct {
	dir      *os.File
	device   string
	byDevice atomic.Bool // the kernel has no quotactl_fd(2)
}

// Open takes the file system that holds the directory dir. The device is the path of its block device's node, which is only
// used on kernels before 5.14, which have no quotactl_fd(2); "" when there is none. Close ends it.
func Open(dir, device string) (*FS, error) {
	f, err := os.OpenFile(dir, unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &FS{dir: f, device: device}, nil
}

// Close closes the directory.
func (q *FS) Close() error { return q.dir.Close() }

// State is what the kernel does about projects.
type State struct {
	Accounting bool // it counts
	Enforcing  bool // it refuses what is over a limit
}

// Limits are a project's hard limits; 0 is none.
type Limits struct {
	Bytes  int64 // rounded down to 512
	Inodes int64
}

// Usage is what a project has. Space that was promised to a write and is not yet allocated is in it.
type Usage struct {
	Bytes, Inodes int64
	Limits        Limits
}

// State asks whether the file system counts, and limits, projects. A kernel without quotas of this file system answers ENOSYS,
// one whose file system is mounted without them neither of both, or ENOSYS too.
func (q *FS) State() (State, error) {
	s := stateV{version: 1}
	if err := q.control(cmdGetState, 0, unsafe.Pointer(&s)); err != nil {
		return State{}, fmt.Errorf("state of the project quota of %s (Q_XGETQSTATV): %w", q.dir.Name(), err)
	}
	return State{Accounting: s.flags&projectAccounted != 0, Enforcing: s.flags&projectEnforced != 0}, nil
}

// Limit sets both hard limits of a project; Limits{} clears them. The soft ones are cleared: they would end in a time limit.
// Usage over a new limit stays, and nothing is added to it.
func (q *FS) Limit(project uint32, l Limits) error {
	if project == 0 || l.Bytes < 0 || l.Inodes < 0 {
		return fmt.Errorf("limit of project %d to %d bytes and %d inodes: the project can't be 0, the limits not negative", project, l.Bytes, l.Inodes)
	}
	d := quotaOf{
		version: 1, flags: projectQuota, id: project, mask: softAndHard,
		blocksHard: uint64(l.Bytes / blockSize), inodesHard: uint64(l.Inodes),
	}
	if err := q.control(cmdSetLimit, project, unsafe.Pointer(&d)); err != nil {
		return fmt.Errorf("limit of project %d on %s (Q_XSETQLIM): %w", project, q.dir.Name(), err)
	}
	return nil
}

// Usage reads what a project has and may have. A project the file system never heard of has nothing.
func (q *FS) Usage(project uint32) (Usage, error) {
	var d quotaOf
	switch err := q.control(cmdGetQuota, project, unsafe.Pointer(&d)); {
	case errors.Is(err, unix.ENOENT):
		return Usage{}, nil
	case err != nil:
		return Usage{}, fmt.Errorf("usage of project %d on %s (Q_XGETQUOTA): %w", project, q.dir.Name(), err)
	}
	return Usage{
		Bytes: int64(d.blocks) * blockSize, Inodes: int64(d.inodes),
		Limits: Limits{Bytes: int64(d.blocksHard) * blockSize, Inodes: int64(d.inodesHard)},
	}, nil
}

// control calls quotactl_fd(2), or quotactl(2) with the device where the kernel doesn't have that.
func (q *FS) control(cmd uintptr, project uint32, data unsafe.Pointer) error {
	cmd = cmd<<8 | typeProject // QCMD
	if !q.byDevice.Load() {
		raw, err := q.dir.SyscallConn()
		if err != nil {
			return err
		}
		var errno unix.Errno
		err = raw.Control(func(fd uintptr) {
			_, _, errno = unix.Syscall6(unix.SYS_QUOTACTL_FD, fd, cmd, uintptr(project), uintptr(data), 0, 0)
		})
		switch {
		case err != nil:
			return err
		case errno == 0:
			return nil
		case errno != unix.ENOSYS || hasQuotactlFD():
			return errno
		}
		q.byDevice.Store(true)
	}
	if q.device == "" {
		return errors.New("this kernel has no quotactl_fd(2) (Linux 5.14) and the device of the file system isn't known")
	}
	device, err := unix.BytePtrFromString(q.device)
	if err != nil {
		return err
	}
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL, cmd, uintptr(unsafe.Pointer(device)), uintptr(project), uintptr(data), 0, 0)
	if errno != 0 {
		return fmt.Errorf("device %s: %w", q.device, errno)
	}
	return nil
}

// hasQuotactlFD tells a kernel without the system call from one whose file system has no quota: both say ENOSYS, but only the first
// before it looked at the descriptor.
func hasQuotactlFD() bool {
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, ^uintptr(0), cmdGetState<<8|typeProject, 0, 0, 0, 0)
	return errno != unix.ENOSYS
}
