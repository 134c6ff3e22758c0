package scratch

// The life of a volume: made, mounted, unmounted, destroyed. Callers hold the lock of its id.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// ensure makes the volume that want describes and mounts it at its path, or finds that done.
func (b *Backend) ensure(ctx context.Context, want record, class config.Class) error {
	r, ok := b.record(want.ID)
	if ok {
		done, err := b.reuse(ctx, r, want, class)
		if done || err != nil {
			return err
		}
	}
	// Before anything is made: what is mounted there now isn't this volume, which doesn't exist.
	if m, found, err := mountpoint.Find(want.Path); err != nil || found {
		if err != nil {
			return mounterror.Wrap(err)
		}
		return fmt.Errorf("%w: %s (%s) is mounted at %s, and volume %s isn't on this node", volume.ErrExists, m.Source, m.FSType, want.Path, want.ID)
	}
	spec := disk.Spec{Name: want.Name, Size: want.Size, Block: want.Block}
	if !want.Block { // a raw device gets no file system, whatever its class has for others
		spec.FSType, spec.MkfsOptions = class.FSType, class.MkfsOptions
	}
	d, err := b.reserve(ctx, want, spec)
	if err != nil {
		return err
	}
	b.changed()
	want, _ = b.record(want.ID)
	failpoint.Hit("scratch/volume/after-record")
	if err := d.Create(ctx, spec); err != nil {
		return b.undo(ctx, d, want, err)
	}
	failpoint.Hit("scratch/volume/after-create")
	want.Phase = ready
	if err := b.made(want); err != nil {
		return b.undo(ctx, d, want, err)
	}
	failpoint.Hit("scratch/volume/after-ready")
	logger(ctx, want).Info("Scratch volume made", "size", want.Size, "kind", want.Kind)
	if err := b.show(ctx, d, want, class); err != nil {
		return b.undo(ctx, d, want, err)
	}
	return nil
}

// reuse looks at what an earlier request left: done, to be gone on with, or in the way. What is worth nothing any more is destroyed.
func (b *Backend) reuse(ctx context.Context, r, want record, class config.Class) (done bool, err error) {
	d, err := b.diskOf(r)
	if err != nil {
		return false, err
	}
	mounted := d.Mounted(ctx, r.Name, r.Path)
	current := r.Phase == ready && r.Boot == b.boot
	switch {
	case !current && (mounted == nil || errors.Is(mounted, volume.ErrUnavailable)) && r.Phase != destroying:
		return false, fmt.Errorf("%w: volume %s is mounted at %s although its record says %s of boot %s", volume.ErrPrecondition, r.ID, r.Path, r.Phase, r.Boot)
	case !current:
		return false, b.discard(ctx, r)
	case r.Class != want.Class || r.Block != want.Block || r.ReadOnly != want.ReadOnly || r.Size < want.Size:
		return false, fmt.Errorf("%w: volume %s is on this node already, class %s, %d bytes, %s%s; it differs from what is asked for",
			volume.ErrExists, r.ID, r.Class, r.Size, mode(r.ReadOnly), map[bool]string{true: ", block"}[r.Block])
	}
	if !r.Orphan.IsZero() { // it has an owner after all
		r.Orphan = time.Time{}
		if err := b.put(r); err != nil {
			return false, err
		}
	}
	if r.Path != want.Path {
		if !errors.Is(mounted, volume.ErrNotFound) {
			return false, fmt.Errorf("%w: volume %s is mounted at %s; unmount it there first", volume.ErrExists, r.ID, r.Path)
		}
		r.Path = want.Path
		if err := b.put(r); err != nil {
			return false, err
		}
	}
	return true, b.mount(ctx, d, r, class)
}

func mode(readOnly bool) string {
	if readOnly {
		return "read-only"
	}
	return "read-write"
}

// root is the volume's root directory: whatever user the pod runs as may write, as in an emptyDir. What is made in one with a group belongs to that.
func (r record) root() disk.Root {
	if r.Group == nil {
		return disk.Root{Mode: 0o777}
	}
	return disk.Root{Mode: 0o777 | fs.ModeSetgid, Group: r.Group}
}

// mount mounts a volume that is ready at its path, or finds it there.
func (b *Backend) mount(ctx context.Context, d disk.Disk, r record, class config.Class) error {
	if !r.Block {
		if err := d.Mounted(ctx, r.Name, r.Path); !errors.Is(err, volume.ErrNotFound) {
			return err
		}
	}
	return b.show(ctx, d, r, class)
}

// show mounts a volume that is ready at its path, where nothing is mounted. What is at the path is always whole: where the disk can't do it
// in one step, it is mounted at a place of our own first, and bound to the path when its root directory is as it should be.
func (b *Backend) show(ctx context.Context, d disk.Disk, r record, class config.Class) (err error) {
	if r.Block {
		_, err := d.Attach(ctx, r.Name)
		failpoint.Hit("scratch/volume/after-attach")
		return err
	}
	if w, ok := d.(disk.WholeMounter); ok {
		err := w.MountWhole(ctx, r.Name, disk.Mount{Path: r.Path, Options: class.MountOptions, ReadOnly: r.ReadOnly}, r.root())
		return mounterror.Wrap(err)
	}
	if err := b.unmountOwn(ctx, r.Name); err != nil { // of an interrupted call
		return err
	}
	own := b.own(r.Name)
	if err := os.MkdirAll(own, 0o700); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.unmountOwn(context.WithoutCancel(ctx), r.Name)) }()
	if err := d.Mount(ctx, r.Name, disk.Mount{Path: own, Options: class.MountOptions}); err != nil {
		return err
	}
	failpoint.Hit("scratch/volume/after-mount")
	if err := r.root().Apply(own); err != nil {
		return err
	}
	err = mounterror.Wrap(mountpoint.Bind(own, r.Path, r.ReadOnly))
	failpoint.Hit("scratch/volume/after-bind")
	return err
}

// own is where a volume is mounted while it is made ready.
func (b *Backend) own(name string) string { return filepath.Join(b.mounts, name) }

func (b *Backend) unmountOwn(ctx context.Context, name string) error {
	if err := b.unmounter.Unmount(ctx, b.own(name)); err != nil {
		return mounterror.Wrap(err)
	}
	if err := os.Remove(b.own(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// undo takes back a volume that could not be made. Its record stays when that fails: the next request, or the Reaper, goes on.
func (b *Backend) undo(ctx context.Context, d disk.Disk, r record, cause error) error {
	ctx = context.WithoutCancel(ctx)
	if now, ok := b.record(r.ID); ok && now.Phase == ready {
		// Half of it may go and half stay: nobody is to take that for a volume.
		now.Phase = destroying
		err := b.put(now)
		if isFull(err) {
			err = b.unwrite(now)
		}
		if err != nil {
			return errors.Join(cause, err)
		}
	}
	if err := d.Destroy(ctx, r.Name, disk.WipeNone); err != nil {
		return errors.Join(cause, err)
	}
	return errors.Join(cause, b.forget(r.Name))
}

// discard takes a volume away, mount and all, and forgets it. Of one whose disk can't be used now only the mount goes, so that the
// pod can; the Reaper destroys it when the disk is back.
func (b *Backend) discard(ctx context.Context, r record) error {
	d, lost := b.diskOf(r)
	was := r
	full := false
	if r.Phase != destroying {
		// Journalled first: a volume that was unmounted must not be mounted again with what its last user wrote.
		r.Phase = destroying
		err := b.put(r)
		// The state often lies on the disk that is to get room now.
		if full = isFull(err) && lost == nil; err != nil && !full {
			return err
		}
	}
	failpoint.Hit("scratch/volume/before-unmount")
	if err := b.unmount(ctx, d, r, r.Path); err != nil {
		if full || !errors.Is(err, mountpoint.ErrBusy) || was.Phase != ready {
			return mounterror.Wrap(err)
		}
		return errors.Join(mounterror.Wrap(err), b.put(was)) // it stays in use
	}
	if full {
		if err := b.unwrite(r); err != nil {
			return err
		}
	}
	if err := b.unmountOwn(ctx, r.Name); err != nil {
		return err
	}
	failpoint.Hit("scratch/volume/after-unmount")
	if lost != nil {
		logger(ctx, r).Error(lost, "Scratch volume unmounted and not destroyed: its space stays taken until its disk is back")
		return nil
	}
	if err := d.Destroy(ctx, r.Name, r.Wipe); err != nil {
		return err
	}
	failpoint.Hit("scratch/volume/after-destroy")
	if err := b.forget(r.Name); err != nil {
		return err
	}
	failpoint.Hit("scratch/volume/after-forget")
	logger(ctx, r).Info("Scratch volume destroyed", "size", r.Size, "wipe", r.Wipe)
	return nil
}

// unmount takes the volume's own mounts away from a path; a stranger's stays and is an error. Without its disk (nil) nobody can tell
// whose they are: the path is the orchestrator's, made for this volume alone.
func (b *Backend) unmount(ctx context.Context, d disk.Disk, r record, path string) error {
	return b.unmounter.UnmountWhile(ctx, path, func(ctx context.Context) error {
		if d == nil {
			return nil
		}
		if err := d.Mounted(ctx, r.Name, path); errors.Is(err, volume.ErrExists) {
			return fmt.Errorf("%w: what is mounted at %s isn't volume %s; it is left alone: find out whose it is", volume.ErrPrecondition, path, r.ID)
		}
		return nil
	})
}

func (b *Backend) forget(name string) error {
	defer b.changed()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ledger.remove(name)
}

// mounted finds the volume of an id at a path: its staging or target path, or a bind of it.
func (b *Backend) mounted(ctx context.Context, id, path string) (record, disk.Disk, error) {
	r, ok := b.record(id)
	if !ok {
		_, found, err := mountpoint.Find(path)
		switch {
		case err != nil:
			return r, nil, mounterror.Wrap(err)
		case found:
			return r, nil, fmt.Errorf("%w: what is mounted at %s is no scratch volume %s: this node has none of that id", volume.ErrExists, path, id)
		}
		return r, nil, fmt.Errorf("%w: this node has no scratch volume %s", volume.ErrNotFound, id)
	}
	d, err := b.diskOf(r)
	if err != nil {
		return r, nil, err
	}
	if r.Block {
		if err := b.checkStagedBlock(r); err != nil {
			return r, d, err
		}
		_, err := d.Attach(ctx, r.Name)
		return r, d, err
	}
	if err := d.Mounted(ctx, r.Name, path); err != nil || r.Phase == ready {
		return r, d, err
	}
	return r, d, fmt.Errorf("%w: volume %s is still mounted at %s and is to be destroyed; unmount it", volume.ErrUnavailable, id, path)
}

// checkStagedBlock refuses a device that isn't whole, or isn't empty: of an earlier boot, or to be destroyed.
func (b *Backend) checkStagedBlock(r record) error {
	if !r.Block || r.Phase != ready || r.Boot != b.boot {
		return fmt.Errorf("%w: volume %s isn't staged as a block device on this node", volume.ErrNotFound, r.ID)
	}
	return nil
}

// records are all of them, as they were at one moment, by name.
func (b *Backend) records() []record {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []record
	for _, name := range b.ledger.names() {
		all = append(all, b.ledger.records[name])
	}
	return all
}

// recorded says whether the volume of a name on a disk has a record.
func (b *Backend) recorded(name string, d disk.Disk) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ledger.has(name, d)
}

// claimStray keeps requests for a volume without a record away while it is destroyed: its id is unknown, and with it its lock. False: it
// has a record by now.
func (b *Backend) claimStray(name string, d disk.Disk) (release func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ledger.has(name, d) {
		return nil, false
	}
	b.strays[name] = true
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.strays, name)
	}, true
}
