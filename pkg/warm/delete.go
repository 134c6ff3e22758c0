package warm

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// cancelPoll is how often a copy that was told to stop is looked at.
const cancelPoll = 200 * time.Millisecond

// Delete removes a volume; its snapshots stay and can be restored and deleted. A copy that is still running is cancelled.
// See tier.Provisioner.
func (b *Backend) Delete(ctx context.Context, id volume.ID) error {
	ref, err := parseVolume(id)
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
	if ref.backed {
		return classify(b.deleteBacked(ctx, s, ref))
	}
	return classify(b.delete(ctx, s, ref.sub))
}

// delete removes first what opens the volume, then its data, and last the sign that it had an identity.
func (b *Backend) delete(ctx context.Context, s site, sub ceph.Subvolume) error {
	h := holder{sub: sub}
	t, err := b.takeBack(ctx, s, h)
	if err != nil {
		return err
	}
	if err := b.deleteData(ctx, s, sub); err != nil || !t.had {
		return err
	}
	failpoint.Hit("warm/delete/before-identity")
	return b.forgetIdentity(ctx, s, h, t)
}

func (b *Backend) deleteData(ctx context.Context, s site, sub ceph.Subvolume) error {
	rec, err := readRecord(ctx, s, sub)
	switch {
	case errors.Is(err, syscall.ENOENT):
		return nil
	case err != nil && !errors.Is(err, syscall.ENODATA):
		return err
	case err == nil && rec.Copy != nil:
		return b.deleteCopy(ctx, s, sub, rec)
	}
	if err := b.remove(ctx, s, sub, err == nil, rec); err != nil && !ceph.Absent(err) {
		return err
	}
	failpoint.Hit("warm/delete/after-remove")
	return b.forget(ctx, s, sub)
}

// remove removes a subvolume that is not known to be copied into. Only one that was never a copy needn't be looked for in the queue.
func (b *Backend) remove(ctx context.Context, s site, sub ceph.Subvolume, recorded bool, rec record) error {
	if !recorded { // an interrupted request left it, which may have ordered a copy
		if st, err := b.cancel(ctx, s, sub); err != nil || st.State != "" {
			if err == nil {
				err = b.removeStopped(ctx, s, sub, st)
			}
			return err
		}
	} else if !rec.Source.Empty() {
		if err := b.struckOff(ctx, s, sub); err != nil {
			return err
		}
	}
	failpoint.Hit("warm/delete/before-remove")
	return s.fs.Remove(ctx, sub)
}

// forget takes from the husk of a removed volume, which stays for the sake of its snapshots, our record and the snapshots that an
// interrupted copy of it left; of most volumes nothing is there any more. Under a lock, since the name may be in use anew.
func (b *Backend) forget(ctx context.Context, s site, sub ceph.Subvolume) (err error) {
	if husk, err := isHusk(ctx, s, sub); !husk {
		return err
	}
	lock, err := b.lock(ctx, s, "volume", sub.String(), "clear away what is left")
	if err != nil {
		return err
	}
	defer func() { _ = lock.end(err, nil) }()
	ctx = lock.ctx
	if husk, err := isHusk(ctx, s, sub); !husk {
		return err
	}
	if err := s.tree().RemoveXattr(ctx, sub.Base(), attrRecord); err != nil && !unfinished(err) {
		return err
	}
	failpoint.Hit("warm/delete/after-forget")
	names, err := list(ctx, s.tree(), sub.Base()+"/.snap")
	if err != nil {
		return err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, temporaryPrefix) {
			continue
		}
		// EAGAIN: the copy is running; it removes the snapshot when it is done.
		if err := s.fs.RemoveSnapshot(ctx, sub, name); err != nil && !ceph.Absent(err) && !errors.Is(err, syscall.EAGAIN) {
			return err
		}
	}
	return nil
}

// isHusk says whether a subvolume has nothing but snapshots.
func isHusk(ctx context.Context, s site, sub ceph.Subvolume) (bool, error) {
	if _, err := readRecord(ctx, s, sub); ceph.Absent(err) {
		return false, nil
	}
	_, err := s.fs.DataDirectory(ctx, sub.Base())
	if ceph.Absent(err) {
		return true, nil
	}
	return false, err
}

// deleteCopy removes a volume whose first content is still being copied, with the snapshot that was taken for it.
func (b *Backend) deleteCopy(ctx context.Context, s site, sub ceph.Subvolume, rec record) error {
	failpoint.Hit("warm/delete/before-cancel")
	if _, err := b.cancel(ctx, s, sub); err != nil {
		return err
	}
	failpoint.Hit("warm/delete/after-cancel")
	if err := b.struckOff(ctx, s, sub); err != nil {
		return err
	}
	if rec.Copy.Temporary { // before the clone, which bears the record of it
		if err := s.fs.RemoveSnapshot(ctx, rec.Copy.Of, rec.Copy.Snapshot); err != nil && !ceph.Absent(err) {
			return err
		}
		failpoint.Hit("warm/delete/after-temporary-snapshot")
	}
	if err := s.fs.RemoveClone(ctx, sub); err != nil && !ceph.Absent(err) {
		return err
	}
	failpoint.Hit("warm/delete/after-copy")
	return b.forget(ctx, s, sub)
}

// removeStopped removes a clone that has no record. What it was a copy of, only the manager knows: while it isn't complete.
func (b *Backend) removeStopped(ctx context.Context, s site, sub ceph.Subvolume, st ceph.CloneStatus) error {
	failpoint.Hit("warm/delete/after-stop")
	if err := b.struckOff(ctx, s, sub); err != nil {
		return err
	}
	if strings.HasPrefix(st.Snapshot, temporaryPrefix) {
		if err := s.fs.RemoveSnapshot(ctx, st.Source, st.Snapshot); err != nil && !ceph.Absent(err) {
			return err
		}
	}
	return s.fs.RemoveClone(ctx, sub)
}

// cancel stops a clone and waits until nothing copies any more. A clone that has finished, or isn't there, is stopped; what is none has
// no State. That the manager answers tells too that an order before has been obeyed.
func (b *Backend) cancel(ctx context.Context, s site, sub ceph.Subvolume) (ceph.CloneStatus, error) {
	for {
		st, err := s.fs.CloneStatus(ctx, sub)
		if ceph.Absent(err) || errors.Is(err, syscall.EOPNOTSUPP) {
			return st, nil
		}
		if err != nil {
			return st, err
		}
		switch st.State {
		case ceph.ClonePending, ceph.CloneInProgress:
			err := s.fs.CancelClone(ctx, sub)
			if err != nil && !ceph.Absent(err) && !errors.Is(err, syscall.EINVAL) {
				return st, err
			}
		default:
			return st, nil
		}
		select {
		case <-ctx.Done():
			return st, fmt.Errorf("%w: the copy into %s was told to stop and has not yet", volume.ErrPending, sub)
		case <-time.After(cancelPoll):
		}
	}
}
