package warm

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// A restored snapshot or a cloned volume is a copy that the manager makes in the background. CreateVolume starts it, waits a
// little, and answers volume.ErrPending with the progress until it is done; the record of the target carries what finishing
// it takes, so that any controller can.
//
// A clone gets the layout of its source, the RADOS namespace included, or with a pool given, none: its owner could
// read the source's objects, or everybody's. The manager has no option for it and begins to copy at once. But a directory that is
// given a pool takes the rest of its layout from the nearest directory above that has one: for the moment of the
// command, under a lock, the group's directory lends the clone the namespace it must have. Other volumes of the group name
// their own. Only the namespace is taken back: the group's layout also holds its pool, without which the manager can't read it.

const (
	copyPoll = 250 * time.Millisecond
	// copyStatusEvery is how many polls of the metadata server go by before the manager is asked once.
	copyStatusEvery = 20
	// answerMargin is kept of the caller's deadline so that the answer still reaches it.
	answerMargin = time.Second
	// temporaryPrefix begins the name of a snapshot that is taken for one copy; no CSI snapshot's name holds a '_'.
	temporaryPrefix = "copy_"
)

// createCopy starts a copy of the source into the volume. found: something is there by its name.
func (b *Backend) createCopy(ctx context.Context, s site, want wanted, found bool) (volume.Volume, error) {
	order, err := b.order(ctx, &want)
	if found && errors.Is(err, volume.ErrNotFound) {
		// An interrupted request may have ordered the copy before the source went, and can't come back to it.
		if _, not := s.fs.CloneStatus(ctx, want.sub); not == nil {
			err = errors.Join(err, b.delete(ctx, s, want.sub))
		}
	}
	if err != nil {
		return volume.Volume{}, err
	}
	var rec record
	lost := false
	err = b.withinTeam(ctx, s, want.sub, want.class.teamQuota, want.size, func(ctx context.Context) (err error) {
		rec, lost, err = b.beginCopy(ctx, s, want, order)
		return err
	})
	switch {
	case err != nil:
		return volume.Volume{}, err
	case lost:
		return b.lostCopy(ctx, s, want)
	}
	return b.finishCopy(ctx, s, want, rec)
}

// beginCopy starts the copy and writes the record of the volume. lost: another controller wrote it first.
func (b *Backend) beginCopy(ctx context.Context, s site, want wanted, order copyRecord) (rec record, lost bool, err error) {
	if order.Temporary {
		failpoint.Hit("warm/clone/before-temporary-snapshot")
		if err := s.fs.CreateSnapshot(ctx, order.Of, order.Snapshot); err != nil {
			return rec, false, err
		}
		failpoint.Hit("warm/clone/after-temporary-snapshot")
	}
	path, err := b.startCopy(ctx, s, want, order)
	if err != nil {
		return rec, false, err
	}
	failpoint.Hit("warm/clone/before-record")
	rec = record{Name: want.spec.Name, Path: path, Pool: want.class.pool, Source: want.spec.Source, Owner: want.spec.Owner,
		Cluster: s.cluster.NamePrefix, Size: want.size, Identity: want.may, Copy: &order}
	err = createRecord(ctx, s, want.sub, rec)
	if errors.Is(err, syscall.EEXIST) {
		return rec, true, nil
	}
	if err != nil {
		return rec, false, interrupted(err)
	}
	failpoint.Hit("warm/clone/after-record")
	return rec, false, nil
}

// lostCopy answers when another controller wrote the record first.
func (b *Backend) lostCopy(ctx context.Context, s site, want wanted) (volume.Volume, error) {
	rec, err := readRecord(ctx, s, want.sub)
	if err != nil {
		return volume.Volume{}, interrupted(err)
	}
	v, err := b.existing(ctx, s, want, rec)
	return v, interrupted(err)
}

// order says what to copy: a snapshot that is there, or, of a volume, one still to be taken. It holds the wanted size against the
// source's, and raises it to that where none was asked for.
func (b *Backend) order(ctx context.Context, want *wanted) (copyRecord, error) {
	order := copyRecord{MaxFiles: want.class.maxFiles}
	var of volumeRef
	var least int64
	if id := want.spec.Source.Snapshot; id != "" {
		snap, ref, err := b.findSnapshot(ctx, id)
		if err != nil {
			return order, err
		}
		of, least = ref.source(), snap.Size
		order.Snapshot, order.Bytes = ref.name, snap.Bytes
	} else {
		id := want.spec.Source.Volume
		ref, s, rec, err := b.find(ctx, id)
		if err != nil {
			return order, err
		}
		if ref.backed {
			return order, fmt.Errorf("%w: volume %s is served from a snapshot; restore snapshot %s instead", volume.ErrInvalid, id, rec.Source.Snapshot)
		}
		if least, err = number(ctx, s.tree(), rec.Path, attrQuota); err != nil {
			return order, err
		}
		if order.Bytes, err = number(ctx, s.tree(), rec.Path, attrBytes); err != nil {
			return order, err
		}
		of = ref
		order.Snapshot, order.Temporary = temporaryPrefix+want.sub.Name, true
	}
	if of.cluster != want.class.cluster || of.fs != want.class.fs {
		return order, fmt.Errorf("%w: the source is in file system %s of cluster %s and the StorageClass in %s of %s; a copy stays in one file system",
			volume.ErrInvalid, of.fs, of.cluster, want.class.fs, want.class.cluster)
	}
	if asked := want.spec.Capacity; asked.Required > 0 && asked.Required < least || asked.Limit > 0 && asked.Limit < least {
		return order, fmt.Errorf("%w: the source has %d bytes; a copy of it can't have less", volume.ErrOutOfRange, least)
	}
	want.size = max(want.size, least)
	if limit := want.spec.Capacity.Limit; limit > 0 {
		want.size = min(want.size, limit)
	}
	order.Of, order.Size = of.sub, want.size
	return order, nil
}

// startCopy gives the manager its order and returns the directory it copies into. An order given before is found.
func (b *Backend) startCopy(ctx context.Context, s site, want wanted, order copyRecord) (string, error) {
	if err := b.orderCopy(ctx, s, want, order); err != nil {
		return "", err
	}
	failpoint.Hit("warm/clone/after-order")
	path, err := s.fs.DataDirectory(ctx, want.sub.Base())
	if err != nil {
		return "", interrupted(err)
	}
	namespace, err := s.tree().Xattr(ctx, path, attrNamespace)
	if err != nil && !errors.Is(err, syscall.ENODATA) {
		return "", err
	}
	if namespace != namespaceOf(want.sub) {
		return "", fmt.Errorf("%w: subvolume %s exists with RADOS namespace %q and isn't a copy made by this driver; use another name",
			volume.ErrExists, want.sub, namespace)
	}
	// Striping keeps nobody out, so it may come late: what is copied by then has the file system's own.
	for _, a := range stripeAttributes(want.class.layout) {
		if err := s.tree().SetXattr(ctx, path, a.name, a.value); err != nil {
			return "", interrupted(err)
		}
	}
	return path, nil
}

// orderCopy tells the manager to copy while the group lends its layout. When the manager has not answered in time, the lock and the
// layout stay until it has: an order that it obeys later must not put the copy into another namespace.
func (b *Backend) orderCopy(ctx context.Context, s site, want wanted, order copyRecord) (err error) {
	group := "/volumes/" + want.sub.Group
	lock, err := b.lock(ctx, s, "group", want.sub.Group, "clone")
	if err != nil {
		return err
	}
	takeBack := func(ctx context.Context) error {
		err := s.tree().RemoveXattr(ctx, group, attrNamespace)
		if errors.Is(err, syscall.ENODATA) {
			return nil
		}
		return err
	}
	defer func() {
		if back := lock.end(err, takeBack); err == nil {
			err = back
		}
	}()
	// The manager obeys in turn: once it has answered this, no order of a controller that died is left to see what is lent now.
	if err := createGroup(lock.ctx, s, want.sub.Group); err != nil {
		return err
	}
	failpoint.Hit("warm/clone/after-group")
	if err := s.tree().SetXattr(lock.ctx, group, attrNamespace, namespaceOf(want.sub)); err != nil {
		return err
	}
	failpoint.Hit("warm/clone/before-command")
	err = s.fs.Clone(lock.ctx, order.Of, order.Snapshot, want.sub, want.class.pool)
	failpoint.Hit("warm/clone/after-command")
	if !errors.Is(err, syscall.EEXIST) {
		return err
	}
	if _, err = s.fs.CloneStatus(lock.ctx, want.sub); errors.Is(err, syscall.EOPNOTSUPP) {
		return fmt.Errorf("%w: subvolume %s exists and isn't a copy; delete it first or use another name", volume.ErrExists, want.sub)
	}
	return interrupted(err)
}

// answerBy is when a call has to answer in order to be heard.
func answerBy(ctx context.Context) time.Time {
	if deadline, ok := ctx.Deadline(); ok {
		return deadline.Add(-answerMargin)
	}
	return time.Now().Add(time.Hour)
}

// finishCopy waits for the copy as long as the caller's time and CopyWait allow, then answers with the volume or the progress.
func (b *Backend) finishCopy(ctx context.Context, s site, want wanted, rec record) (volume.Volume, error) {
	until := time.Now().Add(b.copyWait)
	if answer := answerBy(ctx); answer.Before(until) {
		until = answer
	}
	complete := false
	for poll := 0; ; poll++ {
		// The manager sets the quota when everything is copied: until then it needn't be asked.
		quota, err := number(ctx, s.tree(), rec.Path, attrQuota)
		if err != nil {
			return volume.Volume{}, interrupted(err)
		}
		st := ceph.CloneStatus{State: ceph.CloneInProgress}
		if complete {
			st.State = ceph.CloneComplete
		} else if quota > 0 || poll%copyStatusEvery == 0 {
			if st, err = s.fs.CloneStatus(ctx, want.sub); err != nil {
				return volume.Volume{}, interrupted(err)
			}
		}
		pause := copyPoll
		switch st.State {
		case ceph.CloneComplete:
			complete = true
			link, err := queued(ctx, s, want.sub)
			if err != nil {
				return volume.Volume{}, err
			}
			if link != "" { // the manager has still to strike it off
				pause = strikePoll
				break
			}
			v, err := b.completeCopy(ctx, s, want)
			if !errors.Is(err, syscall.EAGAIN) { // else it has still to let go of the snapshot
				return v, interrupted(err)
			}
		case ceph.CloneFailed, ceph.CloneCanceled:
			return volume.Volume{}, b.abandonCopy(ctx, s, want, rec, st)
		}
		if !time.Now().Before(until) {
			return volume.Volume{}, b.progress(ctx, s, rec, st)
		}
		select {
		case <-ctx.Done():
			return volume.Volume{}, b.progress(ctx, s, rec, st)
		case <-time.After(min(pause, time.Until(until))):
		}
	}
}

// progress says how far a copy is, in Ceph's words where it has them, else in bytes (which the metadata server adds up lazily).
func (b *Backend) progress(ctx context.Context, s site, rec record, st ceph.CloneStatus) error {
	pending := func(format string, args ...any) error {
		return fmt.Errorf("%w: copying %s: %s", volume.ErrPending, describe(rec.Source), fmt.Sprintf(format, args...))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerMargin/2)
	defer cancel()
	if st.State == ceph.CloneComplete {
		return pending("everything is copied, and Ceph's manager has still to strike the copy off its queue%s", jam(ctx, s))
	}
	done, err := number(ctx, s.tree(), rec.Path, attrBytes)
	stuck := ""
	if err == nil && done == 0 { // it hasn't begun, as far as can be seen
		stuck = jam(ctx, s)
	}
	if st.Progress != "" {
		return pending("%s%s", st.Progress, stuck)
	}
	total := rec.Copy.Bytes
	if err != nil || total == 0 {
		return pending("%s%s", st.State, stuck)
	}
	return pending("%s, %d of %d bytes (%d%%)%s", st.State, done, total, min(100, 100*done/total), stuck)
}

// completeCopy gives a finished copy the size that was asked for and removes what was there for the copy alone. Under a lock, since
// the volume may be grown as soon as its record says that it is ready.
func (b *Backend) completeCopy(ctx context.Context, s site, want wanted) (_ volume.Volume, err error) {
	lock, err := b.lock(ctx, s, "volume", want.sub.String(), "finish the copy")
	if err != nil {
		return volume.Volume{}, err
	}
	defer func() { _ = lock.end(err, nil) }()
	ctx = lock.ctx
	rec, err := readRecord(ctx, s, want.sub)
	if err != nil {
		return volume.Volume{}, interrupted(err)
	}
	if rec.Copy == nil {
		return b.existing(ctx, s, want, rec)
	}
	failpoint.Hit("warm/clone/before-quota")
	for _, a := range []attribute{{attrQuota, strconv.FormatInt(rec.Copy.Size, 10)}, {attrMaxFiles, strconv.FormatInt(rec.Copy.MaxFiles, 10)}} {
		if a.name == attrMaxFiles && rec.Copy.MaxFiles == 0 {
			continue
		}
		if err := s.tree().SetXattr(ctx, rec.Path, a.name, a.value); err != nil {
			return volume.Volume{}, interrupted(err)
		}
	}
	failpoint.Hit("warm/clone/after-quota")
	if err := b.removeTemporary(ctx, s, rec); err != nil {
		return volume.Volume{}, err
	}
	g := want.grant(rec.Path)
	if err := b.give(ctx, s, &g); err != nil {
		return volume.Volume{}, err
	}
	failpoint.Hit("warm/clone/before-ready")
	size := rec.Copy.Size
	rec.Copy = nil
	if err := replaceRecord(ctx, s, want.sub, rec); err != nil {
		return volume.Volume{}, b.abandon(ctx, s, g, interrupted(err))
	}
	failpoint.Hit("warm/clone/after-ready")
	return want.volume(rec.Path, size), nil
}

func (b *Backend) removeTemporary(ctx context.Context, s site, rec record) error {
	if !rec.Copy.Temporary {
		return nil
	}
	err := s.fs.RemoveSnapshot(ctx, rec.Copy.Of, rec.Copy.Snapshot)
	if ceph.Absent(err) {
		return nil
	}
	return err
}

// abandonCopy clears away a copy that failed or was cancelled, so that the next request starts anew. Another controller may have done
// both in the meantime: the copy that is there under the lock must still be the one that failed.
func (b *Backend) abandonCopy(ctx context.Context, s site, want wanted, rec record, st ceph.CloneStatus) error {
	if err := b.clearCopy(ctx, s, want.sub, rec); err != nil {
		return err
	}
	if st.State == ceph.CloneCanceled {
		return fmt.Errorf("%w: the copy was cancelled; the next request starts it anew", volume.ErrPending)
	}
	return fmt.Errorf("%w: Ceph gave up copying %s (%s); see the manager's log; the next request starts it anew", volume.ErrUnavailable,
		describe(rec.Source), st.Error)
}

func (b *Backend) clearCopy(ctx context.Context, s site, sub ceph.Subvolume, failed record) (err error) {
	lock, err := b.lock(ctx, s, "copy", sub.String(), "clear away a failed copy")
	if err != nil {
		return err
	}
	defer func() { _ = lock.end(err, nil) }()
	ctx = lock.ctx
	rec, err := readRecord(ctx, s, sub)
	if err != nil {
		return interrupted(err)
	}
	if rec.Path != failed.Path || rec.Copy == nil {
		return fmt.Errorf("%w: another request is copying anew", volume.ErrPending)
	}
	return b.deleteCopy(ctx, s, sub, rec)
}
