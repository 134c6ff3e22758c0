package warm

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/volume"
)

// The manager keeps its queue of copies in the file system: a symbolic link for each, to the base directory of the clone. It writes into
// the clone that it is complete (or cancelled, or failed), lets go of its lock, and under the lock again strikes the clone off the
// queue and its source's list, for which it needs the clone. The command that removes a subvolume doesn't look there. A clone that is
// removed in between leaves its link for ever: the cloner takes the oldest link first, fails, and takes it again, so that no other copy
// in the file system is made, and the source's snapshot can't be removed (pybind/mgr/volumes/fs/async_cloner.py of
// Ceph 16.2). So no clone is removed, and none is answered with, that the queue has still.
const cloneIndex = "/volumes/_index/clone"

// strikePoll is how often the queue is looked at: it costs the metadata server a little and the manager nothing.
const strikePoll = 50 * time.Millisecond

// queued finds the link in the manager's queue that points at a clone; "" when none does.
func queued(ctx context.Context, s site, clone ceph.Subvolume) (string, error) {
	found := ""
	err := eachQueued(ctx, s, func(link, target string) (bool, error) {
		if target == clone.Base() {
			found = link
		}
		return found == "", nil
	})
	return found, err
}

// eachQueued calls f for the links of the queue until it returns false.
func eachQueued(ctx context.Context, s site, f func(link, target string) (bool, error)) error {
	names, err := list(ctx, s.tree(), cloneIndex)
	if err != nil {
		return err
	}
	for _, name := range names {
		link := cloneIndex + "/" + name
		target, err := s.tree().ReadLink(ctx, link)
		if errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.EINVAL) { // struck off meanwhile, or none of the manager's
			continue
		}
		if err != nil {
			return err
		}
		if more, err := f(link, target); err != nil || !more {
			return err
		}
	}
	return nil
}

// struckOff waits until the manager has struck a clone that has ended, or was never one, off its queue.
func (b *Backend) struckOff(ctx context.Context, s site, clone ceph.Subvolume) error {
	until := answerBy(ctx)
	for {
		link, err := queued(ctx, s, clone)
		if err != nil || link == "" {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(strikePoll):
			if time.Now().Before(until) {
				continue
			}
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerMargin/2)
		defer cancel()
		return fmt.Errorf("%w: the copy into %s has ended and Ceph's manager has still to strike it off its queue (%s)%s", volume.ErrPending,
			clone, link, jam(ctx, s))
	}
}

// jam says that the queue is stuck, should it be: at a link to a volume that somebody removed too early. Empty: it isn't, or can't be told
// in time.
func jam(ctx context.Context, s site) string {
	text := ""
	_ = eachQueued(ctx, s, func(link, target string) (bool, error) {
		if _, err := s.fs.DataDirectory(ctx, target); !ceph.Absent(err) {
			return true, err
		}
		// It may have been struck off and removed since it was read.
		if still, err := s.tree().ReadLink(ctx, link); err != nil || still != target {
			return true, nil
		}
		text = fmt.Sprintf("; the queue is stuck at %s: it points at %s, which was removed before its copy had ended; "+
			`remove the link as docs/operations.md says under "Copies stand still"`, link, target)
		return false, nil
	})
	return text
}
