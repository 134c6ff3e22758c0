package xfs

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// settle is how long Destroy waits for XFS to give back what was deleted, which it does in the background, normally within a few
// milliseconds. What takes longer is a file that somebody holds open.
const settle = 2 * time.Second

// Destroy renames the volume, so that no half emptied directory has its name, empties it, clears the limits and removes it. The
// directory goes last: it is the only thing that knows the project number.
func (d *Disk) Destroy(ctx context.Context, name string, wipe disk.Wipe) error {
	if err := disk.CheckName(name); err != nil {
		return err
	}
	if err := d.unused(name); err != nil {
		return err
	}
	gone := gonePrefix + name
	if there, err := d.any(name, makingPrefix+name, gone); err != nil || !there {
		return err
	}
	if err := d.CheckWipe(wipe); err != nil {
		return err
	}
	if err := d.remove(ctx, gone); err != nil { // an interrupted call's
		return fmt.Errorf("destroy volume %s on %s: %w", name, d.path, err)
	}
	for _, entry := range []string{name, makingPrefix + name} {
		there, err := d.exists(entry)
		if err == nil && there {
			if err = d.home.Rename(entry, gone); err == nil {
				failpoint.Hit("scratch/xfs/after-rename")
				err = d.remove(ctx, gone)
			}
		}
		if err != nil {
			return fmt.Errorf("destroy volume %s on %s: %w", name, d.path, err)
		}
	}
	if wipe == disk.WipeDiscard {
		return d.flush()
	}
	return nil
}

// unused refuses a volume that is mounted in this mount namespace.
func (d *Disk) unused(name string) error {
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	for _, m := range table.OfDevice(d.mount) {
		for _, entry := range []string{name, makingPrefix + name, gonePrefix + name} {
			if root := filepath.Join(d.root, entry); m.Root == root || strings.HasPrefix(m.Root, root+"/") {
				return fmt.Errorf("%w: volume %s on %s is still mounted at %s", volume.ErrUnavailable, name, d.path, m.Path)
			}
		}
	}
	return nil
}

// remove empties a renamed volume and takes it away.
func (d *Disk) remove(ctx context.Context, gone string) error {
	if there, err := d.exists(gone); err != nil || !there {
		return err
	}
	dir, err := d.openDirectory(gone)
	if err != nil {
		return err
	}
	err = empty(ctx, dir)
	var a projectquota.Attr
	if err == nil {
		a, err = projectquota.GetAttr(dir)
	}
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	failpoint.Hit("scratch/xfs/after-empty")
	if a.Project < firstProject || a.Project > lastProject { // it was made and got no number
		return d.home.Remove(gone)
	}
	if err := d.settled(ctx, a.Project); err != nil {
		return err
	}
	done, err := d.alone()
	if err != nil {
		return err
	}
	defer done()
	// Asked again, so that nobody is between the answer and the limits.
	used, err := d.inUse(a.Project)
	if err != nil {
		return err
	}
	if used {
		// The open files stay limited, and the next Create that finds them closed clears up.
		return d.home.Rename(gone, heldPrefix+strconv.FormatUint(uint64(a.Project), 10))
	}
	if err := d.quota.Limit(a.Project, projectquota.Limits{}); err != nil {
		return err
	}
	failpoint.Hit("scratch/xfs/after-clear")
	return d.home.Remove(gone)
}

// settled waits until the project has nothing, or settle is over.
func (d *Disk) settled(ctx context.Context, id uint32) error {
	limit := time.NewTimer(settle)
	defer limit.Stop()
	for wait := time.Millisecond; ; wait = min(2*wait, 100*time.Millisecond) {
		if used, err := d.inUse(id); err != nil || !used {
			return err
		}
		// It makes XFS begin (xfs_inodegc_push in xfs_fs_statfs).
		if _, err := d.statfs(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return nil
		case <-time.After(wait):
		}
	}
}

func (d *Disk) statfs() (unix.Statfs_t, error) {
	var st unix.Statfs_t
	f, err := d.home.Open(".")
	if err != nil {
		return st, err
	}
	for err = unix.EINTR; err == unix.EINTR; {
		err = unix.Fstatfs(int(f.Fd()), &st)
	}
	return st, errors.Join(err, f.Close())
}

// flush makes the file system commit what was freed, which is when XFS tells the disk.
func (d *Disk) flush() error {
	f, err := d.home.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(unix.Syncfs(int(f.Fd())), f.Close())
}
