package warm

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// snapshotRecord is the record of a snapshot in the index. It is exclusive: of two requests with one name, whoever asks where, one
// is first. Without a time it belongs to a snapshot that may not have been taken yet.
type snapshotRecord struct {
	Name    string    `json:"name"` // the CSI request name
	Source  volume.ID `json:"source"`
	Created time.Time `json:"created,omitzero"`
	Size    int64     `json:"size,omitempty"` // the source's quota at that time
	// Stale: when the name was reserved, a snapshot that was being deleted still bore it. It has to go before the new one is taken.
	Stale bool `json:"stale,omitempty"`
	// Bytes is what the source held: the metadata server's sum for a snapshot's directory follows the live one.
	Bytes int64 `json:"bytes,omitempty"`
}

func (r snapshotRecord) snapshot(id volume.SnapshotID) volume.Snapshot {
	return volume.Snapshot{ID: id, Source: r.Source, Created: r.Created, Size: r.Size}
}

// CreateSnapshot takes a snapshot with one manager command, or finds it with none. See tier.Snapshotter.
func (b *Backend) CreateSnapshot(ctx context.Context, spec volume.SnapshotSpec) (volume.Snapshot, error) {
	snap, err := b.createSnapshot(ctx, spec)
	return snap, classify(err)
}

func (b *Backend) createSnapshot(ctx context.Context, spec volume.SnapshotSpec) (volume.Snapshot, error) {
	prefix, err := snapshotPrefix(spec.Parameters)
	if err != nil {
		return volume.Snapshot{}, err
	}
	of, s, source, err := b.find(ctx, spec.Source)
	if err != nil {
		return volume.Snapshot{}, err
	}
	if of.backed {
		return volume.Snapshot{}, fmt.Errorf("%w: volume %s is served from a snapshot already and can't change", volume.ErrInvalid, spec.Source)
	}
	ref := snapshotRef{cluster: of.cluster, fs: of.fs, sub: of.sub, name: volume.Name(prefix, spec.Name, snapshotNameLength)}
	id, err := ref.id()
	if err != nil {
		return volume.Snapshot{}, err
	}
	rec, err := b.reserve(ctx, s, ref, snapshotRecord{Name: spec.Name, Source: spec.Source})
	if err != nil {
		return volume.Snapshot{}, err
	}
	if rec.Name != spec.Name || rec.Source != spec.Source {
		return volume.Snapshot{}, fmt.Errorf("%w: a snapshot named %q exists, of volume %s", volume.ErrExists, spec.Name, rec.Source)
	}
	if rec.Created.IsZero() {
		if rec, err = b.take(ctx, s, ref, path.Base(source.Path), rec); err != nil {
			return volume.Snapshot{}, err
		}
	}
	return rec.snapshot(id), nil
}

// reserve writes the record of a name that has none, and returns the one in force.
func (b *Backend) reserve(ctx context.Context, s site, ref snapshotRef, rec snapshotRecord) (snapshotRecord, error) {
	dir := snapshotPath(s, ref.name)
	have, err := readAttr[snapshotRecord](ctx, s, dir)
	if err == nil || !unfinished(err) {
		return have, err
	}
	failpoint.Hit("warm/snapshot/before-record")
	var lookErr, makeErr error
	together(
		// A snapshot that is there without a record was being deleted: it is not the one to take now.
		func() { _, lookErr = s.tree().Xattr(ctx, ref.path(), attrBytes) },
		func() { makeErr = makeDirs(ctx, s.tree(), dir) },
	)
	rec.Stale = lookErr == nil
	if ceph.Absent(lookErr) {
		lookErr = nil
	}
	if err := errors.Join(makeErr, lookErr); err != nil {
		return rec, err
	}
	failpoint.Hit("warm/snapshot/after-directory")
	err = writeAttr(ctx, s.tree().CreateXattr, dir, rec)
	if errors.Is(err, syscall.EEXIST) {
		return readAttr[snapshotRecord](ctx, s, dir)
	}
	failpoint.Hit("warm/snapshot/after-record")
	return rec, err
}

// freshen removes the stale snapshot of a reserved name and says so in its record: under a lock, as the one that is there a moment
// later may be the new one, taken by another controller for the same request.
func (b *Backend) freshen(ctx context.Context, s site, ref snapshotRef) (rec snapshotRecord, err error) {
	lock, err := b.lock(ctx, s, "snapshot", ref.name, "remove the snapshot before")
	if err != nil {
		return rec, err
	}
	defer func() { _ = lock.end(err, nil) }()
	ctx = lock.ctx
	rec, err = readAttr[snapshotRecord](ctx, s, snapshotPath(s, ref.name))
	if err != nil || !rec.Stale {
		return rec, interrupted(err)
	}
	if err := s.fs.RemoveSnapshot(ctx, ref.sub, ref.name); err != nil && !ceph.Absent(err) {
		return rec, err
	}
	failpoint.Hit("warm/snapshot/after-stale")
	rec.Stale = false
	return rec, interrupted(writeAttr(ctx, s.tree().SetXattr, snapshotPath(s, ref.name), rec))
}

// take takes the snapshot, which a repeated command leaves as it is, and completes its record. data is the name of the
// directory that holds the volume's files.
func (b *Backend) take(ctx context.Context, s site, ref snapshotRef, data string, rec snapshotRecord) (snapshotRecord, error) {
	if rec.Stale {
		var err error
		if rec, err = b.freshen(ctx, s, ref); err != nil || !rec.Created.IsZero() {
			return rec, err
		}
	}
	err := s.fs.CreateSnapshot(ctx, ref.sub, ref.name)
	if ceph.Absent(err) { // the volume went in the meantime
		_ = removeDir(ctx, s.tree(), snapshotPath(s, ref.name))
		return rec, fmt.Errorf("%w: there is no volume %s", volume.ErrNotFound, rec.Source)
	}
	if err != nil {
		return rec, err
	}
	failpoint.Hit("warm/snapshot/after-snapshot")
	err = rec.measure(ctx, s, ref, data)
	if ceph.Absent(err) { // the volume was removed and made anew, and the snapshot is of before
		var dir string
		if dir, err = s.fs.DataDirectory(ctx, ref.path()); err == nil {
			err = rec.measure(ctx, s, ref, path.Base(dir))
		}
	}
	if err != nil {
		return rec, interrupted(err)
	}
	failpoint.Hit("warm/snapshot/before-ready")
	if err := writeAttr(ctx, s.tree().SetXattr, snapshotPath(s, ref.name), rec); err != nil {
		return rec, interrupted(err)
	}
	failpoint.Hit("warm/snapshot/after-ready")
	return rec, nil
}

// measure asks a snapshot for its time, quota and content. The time and the quota are the snapshot's own; `snapshot info`
// would say the time in the manager's time zone, and not which.
func (r *snapshotRecord) measure(ctx context.Context, s site, ref snapshotRef, data string) error {
	var errs [3]error
	dir := ref.path() + "/" + data
	together(
		func() { r.Created, errs[0] = snapshotTime(ctx, s.tree(), ref.path()) },
		func() { r.Size, errs[1] = number(ctx, s.tree(), dir, attrQuota) },
		func() { r.Bytes, errs[2] = number(ctx, s.tree(), dir, attrBytes) },
	)
	return errors.Join(errs[:]...)
}

// DeleteSnapshot removes a snapshot that no volume is served from. See tier.Snapshotter.
func (b *Backend) DeleteSnapshot(ctx context.Context, id volume.SnapshotID) error {
	ref, err := parseSnapshot(id)
	if errors.Is(err, volume.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	s, err := b.reach(ctx, ref.cluster, ref.fs, ref.sub)
	if err != nil {
		return classify(err)
	}
	return classify(b.deleteSnapshot(ctx, s, ref))
}

func (b *Backend) deleteSnapshot(ctx context.Context, s site, ref snapshotRef) error {
	dir := snapshotPath(s, ref.name)
	source, err := ref.source().id()
	if err != nil {
		return err
	}
	rec, err := readAttr[snapshotRecord](ctx, s, dir)
	if err != nil && !unfinished(err) {
		return err
	}
	if err != nil || rec.Source == source { // else the name is another volume's snapshot by now, and its record stays
		err = removeDir(ctx, s.tree(), dir)
		if errors.Is(err, syscall.ENOTEMPTY) {
			if err = b.reap(ctx, s, ref); err == nil {
				err = removeDir(ctx, s.tree(), dir)
			}
		}
		if errors.Is(err, syscall.ENOTEMPTY) {
			users, _ := list(ctx, s.tree(), dir)
			return fmt.Errorf("%w: volumes are served from the snapshot: %s; delete them first", volume.ErrPrecondition, strings.Join(users, ", "))
		}
		if err != nil {
			return err
		}
	}
	failpoint.Hit("warm/snapshot/after-release")
	if err := s.fs.RemoveSnapshot(ctx, ref.sub, ref.name); err != nil && !ceph.Absent(err) {
		return err
	}
	return nil
}

// GetSnapshot returns a snapshot, or volume.ErrNotFound.
func (b *Backend) GetSnapshot(ctx context.Context, id volume.SnapshotID) (volume.Snapshot, error) {
	rec, _, err := b.findSnapshot(ctx, id)
	if err != nil {
		return volume.Snapshot{}, classify(err)
	}
	return rec.snapshot(id), nil
}

// findSnapshot looks for a snapshot that has been taken.
func (b *Backend) findSnapshot(ctx context.Context, id volume.SnapshotID) (snapshotRecord, snapshotRef, error) {
	ref, err := parseSnapshot(id)
	if err != nil {
		return snapshotRecord{}, ref, err
	}
	s, err := b.reach(ctx, ref.cluster, ref.fs, ref.sub)
	if err != nil {
		return snapshotRecord{}, ref, err
	}
	rec, err := readAttr[snapshotRecord](ctx, s, snapshotPath(s, ref.name))
	if err != nil && !unfinished(err) {
		return rec, ref, err
	}
	source, sourceErr := ref.source().id()
	if err != nil || sourceErr != nil || rec.Source != source || rec.Created.IsZero() {
		return rec, ref, fmt.Errorf("%w: there is no snapshot %s", volume.ErrNotFound, id)
	}
	return rec, ref, nil
}

// snapshotTime is when a snapshot was taken: seconds and nanoseconds since 1970, with a '.' between them.
func snapshotTime(ctx context.Context, t ceph.Tree, path string) (time.Time, error) {
	raw, err := t.Xattr(ctx, path, attrSnapshotTime)
	if err != nil {
		return time.Time{}, err
	}
	seconds, nanos, _ := strings.Cut(strings.TrimRight(raw, "\x00"), ".")
	sec, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: attribute %s: %w", path, attrSnapshotTime, err)
	}
	ns, err := strconv.ParseInt((nanos + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s: attribute %s: %w", path, attrSnapshotTime, err)
	}
	return time.Unix(sec, ns), nil
}
