package warm

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// createBacked makes a read-only volume that is a snapshot: nothing is copied, and no manager command is needed. The volume's
// directory below the snapshot's keeps the snapshot from being deleted, which the metadata server enforces.
func (b *Backend) createBacked(ctx context.Context, s site, c class, spec volume.Spec) (volume.Volume, error) {
	snap, from, err := b.findSnapshot(ctx, spec.Source.Snapshot)
	if err != nil {
		return volume.Volume{}, err
	}
	if from.cluster != c.cluster || from.fs != c.fs {
		return volume.Volume{}, fmt.Errorf("%w: snapshot %s is in file system %s of cluster %s and the StorageClass in %s of %s",
			volume.ErrInvalid, spec.Source.Snapshot, from.fs, from.cluster, c.fs, c.cluster)
	}
	// The volume belongs to the snapshot's team, whatever the class says: its data is there.
	sub := ceph.Subvolume{Group: from.sub.Group, Name: volume.Name(c.volumePrefix, spec.Name, volumeNameLength)}
	id, err := volumeRef{cluster: c.cluster, fs: c.fs, sub: sub, backed: true}.id()
	if err != nil {
		return volume.Volume{}, err
	}
	if _, err := readRecord(ctx, s, sub); !unfinished(err) {
		if err != nil {
			return volume.Volume{}, err
		}
		return volume.Volume{}, fmt.Errorf("%w: %q is a volume of its own, not served from a snapshot", volume.ErrExists, spec.Name)
	}
	if limit := spec.Capacity.Limit; limit > 0 && limit < snap.Size {
		return volume.Volume{}, fmt.Errorf("%w: snapshot %s has %d bytes", volume.ErrOutOfRange, spec.Source.Snapshot, snap.Size)
	}
	data, err := s.fs.DataDirectory(ctx, from.sub.Base()+"/.snap/"+from.name)
	if err != nil {
		return volume.Volume{}, err
	}
	g := grant{holder: holder{sub: sub, backed: true}, id: id, may: accessOf(c, spec), path: from.sub.Base(), of: from.sub}
	if g.secret, err = secretName(g.may, spec.Owner); err != nil {
		return volume.Volume{}, err
	}
	rec := backedRecord{Name: spec.Name, Snapshot: spec.Source.Snapshot, Path: data, Size: max(snap.Size, spec.Capacity.Required), Identity: g.may, Owner: spec.Owner}
	rec, err = b.claim(ctx, s, from, g, rec)
	if err != nil {
		return volume.Volume{}, err
	}
	if rec.Identity != g.may {
		return volume.Volume{}, fmt.Errorf("%w: %q exists with %s %s, asked was %s", volume.ErrExists, spec.Name, paramIdentity, rec.Identity, g.may)
	}
	if rec.Name != spec.Name || rec.Snapshot != spec.Source.Snapshot || !spec.Capacity.Allows(rec.Size) {
		return volume.Volume{}, fmt.Errorf("%w: %q is served from snapshot %s with %d bytes", volume.ErrExists, spec.Name, rec.Snapshot, rec.Size)
	}
	return volume.Volume{ID: id, Capacity: rec.Size, Context: c.context(rec.Path, true), Source: spec.Source}, nil
}

// claim makes the two directories and returns the record that is in force: ours, or that of a request before. The snapshot's comes
// last but the record, so that a volume with a record is one whose snapshot can't go.
//
// Under a lock of the snapshot: whoever holds it knows that a directory there without a record is a dead controller's (see reap).
func (b *Backend) claim(ctx context.Context, s site, from snapshotRef, g grant, rec backedRecord) (_ backedRecord, err error) {
	sub, own := g.sub, backedPath(s, g.sub)
	have, err := readAttr[backedRecord](ctx, s, own)
	if err == nil || !unfinished(err) {
		return have, err
	}
	lock, err := b.lock(ctx, s, "snapshot", from.name, "serve a volume")
	if err != nil {
		return rec, err
	}
	defer func() { _ = lock.end(err, nil) }()
	ctx = lock.ctx
	failpoint.Hit("warm/backed/before-claim")
	if err := makeDirs(ctx, s.tree(), own); err != nil {
		return rec, err
	}
	failpoint.Hit("warm/backed/after-volume")
	err = s.tree().MakeDir(ctx, snapshotPath(s, from.name)+"/"+sub.Name)
	if ceph.Absent(err) {
		_ = removeDir(ctx, s.tree(), own)
		return rec, fmt.Errorf("%w: the snapshot was deleted", volume.ErrNotFound)
	}
	if err != nil && !errors.Is(err, syscall.EEXIST) {
		return rec, err
	}
	failpoint.Hit("warm/backed/after-reference")
	if g.may != accessNone {
		// A client can't be bound to a snapshot alone: the metadata server goes by the path of the live directory.
		if g.pool, err = poolOf(ctx, s, rec.Path); err != nil {
			return rec, err
		}
		if err := b.give(ctx, s, &g); err != nil {
			return rec, err
		}
	}
	err = writeAttr(ctx, s.tree().CreateXattr, own, rec)
	if errors.Is(err, syscall.EEXIST) {
		return readAttr[backedRecord](ctx, s, own)
	}
	if err != nil {
		return rec, b.abandon(ctx, s, g, interrupted(err))
	}
	failpoint.Hit("warm/backed/after-record")
	return rec, nil
}

// reap removes from a snapshot's directory what requests left that were interrupted and never repeated: volumes without a record of
// being served from it.
func (b *Backend) reap(ctx context.Context, s site, from snapshotRef) (err error) {
	lock, err := b.lock(ctx, s, "snapshot", from.name, "look for volumes")
	if err != nil {
		return err
	}
	defer func() { _ = lock.end(err, nil) }()
	ctx = lock.ctx
	id, err := from.id()
	if err != nil {
		return err
	}
	dir := snapshotPath(s, from.name)
	users, err := list(ctx, s.tree(), dir)
	if err != nil {
		return err
	}
	for _, name := range users {
		own := backedPath(s, ceph.Subvolume{Group: from.sub.Group, Name: name})
		rec, err := readAttr[backedRecord](ctx, s, own)
		if err == nil && rec.Snapshot == id {
			continue
		}
		if unfinished(err) {
			h := holder{sub: ceph.Subvolume{Group: from.sub.Group, Name: name}, backed: true}
			var t taken
			if t, err = b.takeBack(ctx, s, h); err == nil && t.had {
				err = b.forgetIdentity(ctx, s, h, t)
			}
			if err == nil {
				err = removeDir(ctx, s.tree(), own)
			}
		}
		if err != nil {
			return err
		}
		failpoint.Hit("warm/backed/after-reap")
		if err := removeDir(ctx, s.tree(), dir+"/"+name); err != nil {
			return err
		}
	}
	return nil
}

// deleteBacked removes a volume that is served from a snapshot; the snapshot stays.
func (b *Backend) deleteBacked(ctx context.Context, s site, ref volumeRef) error {
	own, h := backedPath(s, ref.sub), holder{sub: ref.sub, backed: true}
	t, err := b.takeBack(ctx, s, h)
	if err != nil {
		return err
	}
	rec, err := readAttr[backedRecord](ctx, s, own)
	if err != nil && !unfinished(err) {
		return err
	}
	if err == nil {
		from, err := parseSnapshot(rec.Snapshot)
		if err != nil {
			return err
		}
		if err := removeDir(ctx, s.tree(), snapshotPath(s, from.name)+"/"+ref.sub.Name); err != nil {
			return err
		}
		failpoint.Hit("warm/backed/after-release")
	}
	if err := removeDir(ctx, s.tree(), own); err != nil || !t.had {
		return err
	}
	return b.forgetIdentity(ctx, s, h, t)
}
