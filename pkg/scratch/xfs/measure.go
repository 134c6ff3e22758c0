package xfs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/volume"
)

// Capacity is what the file system has free, and what the projects of our volumes have. Files that left their volume are in neither.
func (d *Disk) Capacity(context.Context) (int64, error) {
	st, err := d.statfs()
	if err != nil {
		return 0, fmt.Errorf("free space of %s: %w", d.path, err)
	}
	entries, err := d.entries()
	if err != nil {
		return 0, err
	}
	total := int64(st.Bavail) * st.Frsize
	for _, e := range entries {
		id, err := d.project(e)
		if errors.Is(err, volume.ErrNotFound) || errors.Is(err, unix.ENOTDIR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if id < firstProject || id > lastProject {
			continue
		}
		u, err := d.quota.Usage(id)
		if err != nil {
			return 0, err
		}
		total += u.Bytes
	}
	return total, nil
}

// Usage is the project's, which is what df shows in the pod too. Less is available than the limit allows where the file system itself is full.
func (d *Disk) Usage(_ context.Context, name, _ string) (volume.Usage, error) {
	id, err := d.volume(name)
	if err != nil {
		return volume.Usage{}, err
	}
	u, err := d.quota.Usage(id)
	if err != nil {
		return volume.Usage{}, err
	}
	st, err := d.statfs()
	if err != nil {
		return volume.Usage{}, err
	}
	return volume.Usage{
		TotalBytes: u.Limits.Bytes, UsedBytes: u.Bytes, AvailableBytes: max(0, min(u.Limits.Bytes-u.Bytes, int64(st.Bavail)*st.Frsize)),
		TotalInodes: u.Limits.Inodes, UsedInodes: u.Inodes, AvailableInodes: max(0, min(u.Limits.Inodes-u.Inodes, int64(st.Ffree))),
	}, nil
}

// The reasons of Health.
const (
	ReasonDiskFailed    = "DiskFailed"
	ReasonNoLimit       = "LimitNotEnforced"
	ReasonLeft          = "LeftItsLimit"
	ReasonOvercommitted = "DiskOvercommitted"
)

// Health looks at the volume's directory, the quota, and whether the space that is promised is there. Files that left the volume's limit
// aren't searched for; that its first directory did is seen.
func (d *Disk) Health(_ context.Context, name, _ string) ([]volume.Condition, error) {
	id, err := d.volume(name)
	if errors.Is(err, volume.ErrNotFound) {
		return nil, err
	}
	if err != nil {
		return failed(d.path, err), nil
	}
	data, err := d.openDirectory(filepath.Join(name, dataName))
	if err != nil {
		return failed(d.path, err), nil
	}
	attr, err := projectquota.GetAttr(data)
	if err := errors.Join(err, data.Close()); err != nil {
		return failed(d.path, err), nil
	}
	state, err := d.quota.State()
	if err != nil && !errors.Is(err, unix.ENOSYS) {
		return failed(d.path, err), nil
	}
	if !state.Enforcing {
		return []volume.Condition{{Severity: volume.Degraded, Reason: ReasonNoLimit,
			Message: fmt.Sprintf("the file system of %s doesn't enforce project quotas any more, so that no volume on it has a limit; mount it with prjquota", d.path)}}, nil
	}
	var found []volume.Condition
	if attr.Project != id || !attr.Inherit {
		found = append(found, volume.Condition{Severity: volume.Degraded, Reason: ReasonLeft,
			Message: fmt.Sprintf("the pod has changed the project of the volume's root directory from %d to %d (inherited: %t): what it writes isn't limited to the volume's size; "+
				"delete the pod", id, attr.Project, attr.Inherit)})
	}
	u, err := d.quota.Usage(id)
	if err != nil {
		return failed(d.path, err), nil
	}
	st, err := d.statfs()
	if err != nil {
		return failed(d.path, err), nil
	}
	if rest, free := u.Limits.Bytes-u.Bytes, int64(st.Bavail)*st.Frsize; rest > free {
		found = append(found, volume.Condition{Severity: volume.Degraded, Reason: ReasonOvercommitted,
			Message: fmt.Sprintf("the volume may take %d bytes more and the disk %s has %d free: files of others, or files that left their volume's limit, are on it", rest, d.path, free)})
	}
	return found, nil
}

func failed(path string, err error) []volume.Condition {
	return []volume.Condition{{Severity: volume.Inaccessible, Reason: ReasonDiskFailed,
		Message: fmt.Sprintf("the disk %s doesn't answer as it should: %v; see the kernel's log", path, err)}}
}
