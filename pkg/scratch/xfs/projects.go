package xfs

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/volume"
)

// The project numbers that volumes get. An operator's own, of /etc/projects and other programs, usually begin at 1 or, of some, at
// 1048576; one that lies here and is in use is passed over.
const (
	firstProject = 1_400_000_000
	lastProject  = firstProject + 1<<20 - 1
)

// free finds a number that no directory here has and that the file system knows nothing of: no limit, and not one inode, not even
// one that left another volume for it. The caller is alone.
func (d *Disk) free() (uint32, error) {
	if err := d.release(); err != nil {
		return 0, err
	}
	entries, err := d.entries()
	if err != nil {
		return 0, err
	}
	taken := make(map[uint32]bool, len(entries))
	for _, e := range entries {
		id, err := d.project(e)
		if errors.Is(err, volume.ErrNotFound) || errors.Is(err, unix.ENOTDIR) {
			continue // being destroyed: its limit still shows that the number is taken; or nothing of ours
		}
		if err != nil {
			return 0, err
		}
		taken[id] = true
	}
	return pick(taken, d.quota.Usage)
}

func pick(taken map[uint32]bool, usage func(uint32) (projectquota.Usage, error)) (uint32, error) {
	for id := uint32(firstProject); id <= lastProject; id++ {
		if taken[id] {
			continue
		}
		u, err := usage(id)
		if err != nil {
			return 0, err
		}
		if u == (projectquota.Usage{}) {
			return id, nil
		}
	}
	return 0, fmt.Errorf("%w: every project number from %d to %d is in use on this file system", volume.ErrExhausted, firstProject, lastProject)
}

// inUse tells whether a project has more than the one directory that carries its number.
func (d *Disk) inUse(id uint32) (bool, error) {
	u, err := d.quota.Usage(id)
	return u.Inodes > 1 || u.Bytes > 0, err
}

// release gives numbers back that were held because files of them were still open.
func (d *Disk) release() error {
	entries, err := d.entries()
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, ok := strings.CutPrefix(e, heldPrefix)
		if !ok {
			continue
		}
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			continue // not ours
		}
		used, err := d.inUse(uint32(id))
		if err != nil {
			return err
		}
		if used {
			continue
		}
		if err := d.quota.Limit(uint32(id), projectquota.Limits{}); err != nil {
			return err
		}
		if err := d.home.Remove(e); err != nil {
			return err
		}
	}
	return nil
}
