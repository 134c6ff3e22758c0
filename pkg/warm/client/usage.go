package client

// How full a volume is. CephFS answers statfs on a quota's directory with the quota, but in steps of 4 MiB, and without a quota
// with the size of the whole cluster, which is nobody's volume. Its virtual extended attributes say it in bytes and files
// (https://docs.ceph.com/en/pacific/cephfs/quota/), through both clients.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// The attributes of a mount's root. The files that max_files counts are those of rentries: files and directories, the
// volume's own included.
const (
	attrMaxBytes  = "ceph.quota.max_bytes"
	attrMaxFiles  = "ceph.quota.max_files"
	attrUsedBytes = "ceph.dir.rbytes"
	attrUsedFiles = "ceph.dir.rentries"
)

// Usage implements tier.UsageReporter. The totals are the quotas; 0 where the volume has none. The used numbers are
// those of the metadata server, which lag some seconds behind a writer.
func (s *Stager) Usage(ctx context.Context, _ volume.ID, path string) (volume.Usage, error) {
	m, ok, err := mountpoint.Find(path)
	if err != nil {
		return volume.Usage{}, mounterror.Wrap(err)
	}
	if !ok {
		return volume.Usage{}, fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	}
	// The probe's number of waiting calls is limited; only a mount that has just answered it is asked for more.
	if err := s.mounts.Alive(ctx, path); err != nil {
		return volume.Usage{}, err
	}
	u, err := ask(ctx, s, "usage of mount "+strconv.Itoa(m.ID), path, func() (volume.Usage, error) { return readUsage(path) })
	return u, mounterror.Wrap(err)
}

func readUsage(path string) (volume.Usage, error) {
	var n [4]int64
	for i, name := range []string{attrMaxBytes, attrUsedBytes, attrMaxFiles, attrUsedFiles} {
		var err error
		if n[i], err = attribute(path, name); err != nil {
			return volume.Usage{}, err
		}
	}
	u := volume.Usage{TotalBytes: n[0], UsedBytes: n[1], AvailableBytes: max(n[0]-n[1], 0)}
	if n[2] > 0 {
		u.TotalInodes, u.UsedInodes, u.AvailableInodes = n[2], n[3], max(n[2]-n[3], 0)
	}
	return u, nil
}

// attribute reads a number; the kernel's client has no attribute where there is no quota, ceph-fuse says 0.
func attribute(path, name string) (int64, error) {
	var buf [32]byte
	n, err := unix.Getxattr(path, name, buf[:])
	if errors.Is(err, unix.ENODATA) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("attribute %s: %w", name, &os.PathError{Op: "getxattr", Path: path, Err: err})
	}
	v, err := strconv.ParseInt(string(buf[:n]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("attribute %s of %s: %w", name, path, err)
	}
	return v, nil
}
