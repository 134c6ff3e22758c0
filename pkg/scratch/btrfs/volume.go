package btrfs

// Making and destroying a volume.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	fs "github.com/strata-csi/strata/pkg/btrfs"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// Create makes the subvolume first, since the name of its group is its id. See disk.Disk.
func (d *Disk) Create(ctx context.Context, spec disk.Spec) error {
	if err := d.CheckSpec(spec); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if s, err := d.lookup(spec.Name); err == nil {
		if err := errors.Join(s.Close(), d.Destroy(ctx, spec.Name, disk.WipeNone)); err != nil {
			return fmt.Errorf("what is left of an earlier volume %s: %w", spec.Name, err)
		}
	}
	if err := d.make(ctx, spec); err != nil {
		return errors.Join(fmt.Errorf("make scratch volume %s on %s: %w", spec.Name, d.path, noSpace(err)),
			d.Destroy(context.WithoutCancel(ctx), spec.Name, disk.WipeNone))
	}
	d.fresh.Store(spec.Name, true)
	return nil
}

func noSpace(err error) error {
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return fmt.Errorf("%w: %w", volume.ErrExhausted, err)
	}
	return err
}

func (d *Disk) make(ctx context.Context, spec disk.Spec) error {
	group, err := d.promise(ctx, spec)
	if err != nil {
		return err
	}
	failpoint.Hit("scratch/btrfs/after-limit")
	s, err := d.lookup(spec.Name)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := d.fs.Assign(fs.NewGroup(0, s.ID), group); err != nil {
		return err
	}
	failpoint.Hit("scratch/btrfs/after-assign")
	for _, name := range []string{dataName, lowerName} {
		if err := unix.Mkdirat(int(s.Fd()), name, 0o755); err != nil {
			return &os.PathError{Op: "mkdir", Path: s.Name() + "/" + name, Err: err}
		}
		failpoint.Hit("scratch/btrfs/after-directory")
	}
	return ctx.Err()
}

// promise makes the subvolume and its group with the limit, in one step for all: from then on it counts as promised.
func (d *Disk) promise(ctx context.Context, spec disk.Spec) (fs.Group, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.admit(spec.Size); err != nil {
		return 0, err
	}
	if err := d.whenFull(ctx, func() error { return d.fs.Create(d.home, spec.Name) }); err != nil {
		return 0, err
	}
	failpoint.Hit("scratch/btrfs/after-subvolume")
	s, err := d.lookup(spec.Name)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	group := groupOf(s.ID)
	if err := d.fs.CreateGroup(group); err != nil {
		return 0, err
	}
	failpoint.Hit("scratch/btrfs/after-group")
	return group, d.fs.Limit(group, spec.Size)
}

// Destroy takes the subvolume away, waits until its space is free, and removes its groups. With a policy that the disk can't keep the volume
// stays: see CheckWipe. See disk.Disk.
func (d *Disk) Destroy(ctx context.Context, name string, wipe disk.Wipe) error {
	if err := disk.CheckName(name); err != nil {
		return err
	}
	switch wipe {
	case "", disk.WipeNone, disk.WipeDiscard, disk.WipeZero:
	default:
		return unknownWipe(wipe)
	}
	d.fresh.Delete(name)
	if err := d.unused(name); err != nil {
		return err
	}
	if s, err := d.lookup(name); err == nil {
		if err := errors.Join(s.Close(), d.CheckWipe(wipe)); err != nil {
			return err
		}
	}
	ids, err := d.fs.Destroy(ctx, d.home, name)
	if err != nil {
		return err
	}
	if len(ids) == 0 {
		// It may be that a killed process got so far: what it left has no name any more.
		if ids, err = d.dying(); err != nil {
			return err
		}
	}
	failpoint.Hit("scratch/btrfs/after-destroy")
	if err := d.fs.Await(ctx, ids...); err != nil {
		return fmt.Errorf("%w: the space of scratch volume %s isn't free yet: %w", volume.ErrUnavailable, name, err)
	}
	failpoint.Hit("scratch/btrfs/after-clean")
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, id := range ids {
		if err := d.clearGroup(ctx, id); err != nil {
			return err
		}
		failpoint.Hit("scratch/btrfs/after-clear")
	}
	return nil
}

// dying are the subvolumes with a group of ours that were destroyed and aren't cleaned yet, or are and have left the group.
func (d *Disk) dying() ([]uint64, error) {
	groups, err := d.fs.Groups(level)
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for _, g := range groups {
		state, err := d.fs.State(g.Number())
		if err != nil {
			return nil, err
		}
		if state != fs.Alive {
			ids = append(ids, g.Number())
		}
	}
	return ids, nil
}

// clearGroups removes the groups whose subvolumes are gone.
func (d *Disk) clearGroups(ctx context.Context) error {
	ids, err := d.dying()
	if err != nil {
		return err
	}
	for _, id := range ids {
		state, err := d.fs.State(id)
		if err != nil {
			return err
		}
		if state != fs.Gone {
			continue
		}
		if err := d.clearGroup(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// clearGroup removes the groups of a subvolume that is gone. One that is still charged, for blocks that another volume refers to, stays for a
// later call: the kernel refuses to remove it. So does that of a subvolume within which others live.
func (d *Disk) clearGroup(ctx context.Context, id uint64) error {
	members, err := d.fs.Members(groupOf(id))
	if err != nil {
		return err
	}
	// A new kernel removes a subvolume's own group with it, an older one leaves it.
	for _, g := range append(members, fs.NewGroup(0, id), groupOf(id)) {
		if g.Level() == 0 {
			// Linux before 6.12 would remove that of a subvolume that lives.
			if state, err := d.fs.State(g.Number()); err != nil || state != fs.Gone {
				return err
			}
		}
		if err := d.whenFull(ctx, func() error { return d.fs.RemoveGroup(g) }); err != nil && !errors.Is(err, unix.EBUSY) {
			return err
		}
	}
	return nil
}

// whenFull tries again what failed for want of room for metadata. On a disk that was full to the last chunk the kernel turns the chunks of a
// destroyed volume into free space only some time after its blocks are free.
func (d *Disk) whenFull(ctx context.Context, do func() error) error {
	const attempts, pause = 100, 100 * time.Millisecond
	for i := 0; ; i++ {
		err := do()
		if !errors.Is(err, unix.ENOSPC) || i == attempts {
			return err
		}
		if cerr := d.fs.Committed(); cerr != nil {
			return errors.Join(err, cerr)
		}
		select {
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(pause):
		}
	}
}
