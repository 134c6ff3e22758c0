package xfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// Warning is for the log of a node whose configuration names this kind.
const Warning = "volumes of kind xfs limit accidents, not attackers: the owner of a file may give it another project number and leave the limit; " +
	"run only trusted pods on them, or pods with hostUsers: false"

// Probe finds out whether path can hold volumes, by making one, writing more than it may hold, and destroying it. A path that can't
// is a *disk.Refused.
func Probe(ctx context.Context, path string) (*Disk, error) {
	// A place that is refused has nothing of ours on it.
	for _, check := range []func(string) error{suits, enforced} {
		if err := errors.Join(check(path), ctx.Err()); err != nil {
			return nil, err
		}
	}
	d, err := open(path)
	if err != nil {
		return nil, refused("%s: %v", path, err)
	}
	if err := d.try(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

func refused(format string, args ...any) error {
	return &disk.Refused{Kind: disk.XFS, Reason: fmt.Sprintf(format, args...)}
}

// suits looks at the directory.
func suits(path string) error {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return refused("%q: the path must be absolute and clean", path)
	}
	if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
		return refused("%s is reached by a symbolic link; name %s", path, real)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return refused("%v; it must be a directory that exists", err)
	}
	defer f.Close()
	var st unix.Statfs_t
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Fstatfs(int(f.Fd()), &st)
	}
	if err != nil {
		return refused("statfs %s: %v", path, err)
	}
	if st.Type != unix.XFS_SUPER_MAGIC {
		return refused("%s is not on XFS (its file system's magic number is %#x)", path, st.Type)
	}
	a, err := projectquota.GetAttr(f)
	if err != nil {
		return refused("%v", err)
	}
	if a.Project != 0 || a.Inherit {
		return refused("%s belongs to project %d itself (inherited: %t), whose limit would hide the disk's size; name a directory without one", path, a.Project, a.Inherit)
	}
	return nil
}

// enforced asks the kernel what it does about projects.
func enforced(path string) error {
	m, err := find(path)
	if err != nil {
		return refused("%v", err)
	}
	q, err := projectquota.Open(path, m.Source)
	if err != nil {
		return refused("%v", err)
	}
	defer q.Close()
	state, err := q.State()
	switch {
	case errors.Is(err, unix.ENOSYS):
		// The kernel's answer is the same for both.
		if _, err := os.Stat("/proc/fs/xfs/xqmstat"); err != nil {
			return refused("this kernel was built without quotas for XFS (CONFIG_XFS_QUOTA)")
		}
		return refused("%s is mounted without project quotas; mount it with the option prjquota (a remount can't add it)", m.Path)
	case err != nil:
		return refused("%v", err)
	case !state.Accounting:
		return refused("%s is mounted with quotas, and without those of projects; mount it with the option prjquota (a remount can't add it)", m.Path)
	case !state.Enforcing:
		return refused("%s counts what projects have and limits nothing (pqnoenforce); mount it with the option prjquota", m.Path)
	}
	return nil
}

// try makes a volume, fills it and destroys it. Its name is the process' own: a node and its --probe may run at once.
func (d *Disk) try(ctx context.Context) (err error) {
	name := "probe-" + strconv.Itoa(os.Getpid())
	if err := d.Create(ctx, disk.Spec{Name: name, Size: disk.MinSize}); err != nil {
		return refused("a volume for the probe can't be made: %v", err)
	}
	defer func() {
		if gone := d.Destroy(context.WithoutCancel(ctx), name, disk.WipeNone); gone != nil {
			err = errors.Join(err, refused("the volume of the probe can't be destroyed: %v", gone))
		}
	}()
	f, err := d.home.Create(filepath.Join(name, dataName, "fill"))
	if err != nil {
		return refused("a file in the volume of the probe can't be made: %v", err)
	}
	defer f.Close()
	chunk := make([]byte, 1<<20)
	for written := 0; written <= disk.MinSize; written += len(chunk) {
		_, err := f.Write(chunk)
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			if u, err := d.Usage(ctx, name, ""); err != nil || u.AvailableBytes > int64(len(chunk)) {
				return refused("the volume of the probe was refused space before its limit was reached: is the disk full? (%+v, %v)", u, err)
			}
			return nil
		}
		if err != nil {
			return refused("the volume of the probe can't be written: %v", err)
		}
	}
	return refused("a volume limited to %d bytes took more: the kernel doesn't enforce the limit", disk.MinSize)
}
