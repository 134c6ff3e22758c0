package cold

// Removing volumes: everything below the prefix and nothing else. What is removed can't be had back, so a place without a marker is left alone, each key is looked at before it
// is named in a request, and the marker goes last: a call that was interrupted is taken up by the next one.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

// removers is how many requests of one call remove at the same time, each up to s3.MaxDeleteKeys objects.
const removers = 8

// Delete removes the volume. See tier.Provisioner.
func (b *Backend) Delete(ctx context.Context, id volume.ID) error {
	s, err := b.find(id)
	if errors.Is(err, volume.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer s.bucket.Close()
	err = b.remove(ctx, s, id)
	if errors.Is(err, s3.ErrNoBucket) {
		return nil
	}
	return s.classify(ctx, err)
}

func (b *Backend) remove(ctx context.Context, s site, id volume.ID) error {
	m, etag, err := marker.Read(ctx, s.bucket, s.prefix())
	if errors.Is(err, s3.ErrNotFound) {
		return s.removeBucket(ctx, false)
	}
	if err != nil {
		return err
	}
	if m.Identity != volumecontext.IdentityShared && b.options.Keeper == nil {
		return errNoKeeper(fmt.Sprintf("removing %s, which has credentials of its own,", id))
	}
	state := marker.Deleting
	if m.OnDelete == marker.Retain {
		state = marker.Retained
	}
	if m.State != state {
		m.State = state
		if _, err := marker.Write(ctx, s.bucket, s.prefix(), m, s3.Condition{IfMatch: etag}); err != nil {
			return err
		}
	}
	if err := b.takeBack(ctx, id, m); err != nil {
		return err
	}
	if state == marker.Retained {
		return nil
	}
	failpoint.Hit("cold/delete/after-mark")
	// A node that has the volume mounted still may write while it is removed: what came meanwhile is found by the next round.
	for {
		removed, err := s.sweep(ctx)
		if err != nil {
			return err
		}
		if removed == 0 {
			break
		}
	}
	failpoint.Hit("cold/delete/before-marker")
	if err := s.bucket.Delete(ctx, s.prefix()+marker.Key); err != nil {
		return err
	}
	return s.removeBucket(ctx, true)
}

// removeBucket removes the bucket of a volume that has one of its own. Where there was no marker, it goes only if it is empty: a call was interrupted just before, or it isn't a volume at all.
func (s site) removeBucket(ctx context.Context, ours bool) error {
	if len(s.parts) > 0 {
		return nil
	}
	failpoint.Hit("cold/delete/before-bucket")
	err := s.bucket.Remove(ctx)
	if errors.Is(err, s3.ErrConflict) && !ours {
		return nil
	}
	return err
}

// sweep removes all uploads and objects of the volume that it finds, but for the marker, and counts them.
func (s site) sweep(ctx context.Context) (int64, error) {
	var removed atomic.Int64
	work, working := errgroup.WithContext(ctx)
	work.SetLimit(removers)
	uploads, err := s.bucket.Uploads(ctx, s.prefix())
	if err != nil {
		return 0, err
	}
	for _, u := range uploads {
		if !s.has(u.Key) {
			return 0, s.outside(u.Key)
		}
		work.Go(func() error {
			removed.Add(1)
			return s.bucket.Abort(working, u.Key, u.ID)
		})
	}
	r := s3.ListRequest{Prefix: s.prefix()}
	for err == nil {
		var page s3.Page
		if page, err = s.bucket.List(working, r); err != nil {
			break
		}
		var keys []string
		for _, o := range page.Objects {
			if !s.has(o.Key) {
				err = s.outside(o.Key)
				break
			}
			if o.Key != s.prefix()+marker.Key {
				keys = append(keys, o.Key)
			}
		}
		if err == nil && len(keys) > 0 {
			work.Go(func() error {
				if err := s.bucket.DeleteMany(working, keys); err != nil {
					return err
				}
				removed.Add(int64(len(keys)))
				failpoint.Hit("cold/delete/after-some")
				return nil
			})
		}
		if page.Next == "" {
			break
		}
		r.Token = page.Next
	}
	failed := work.Wait()
	if failed == nil { // the list's error is its own, not that of a removal that failed
		failed = err
	}
	if failed != nil {
		return 0, fmt.Errorf("%w (removed %d objects and uploads; the next call goes on)", failed, removed.Load())
	}
	return removed.Load(), nil
}

// has tells whether a key is the volume's.
func (s site) has(key string) bool { return strings.HasPrefix(key, s.prefix()) }

// outside is the error of a store that answers with what it wasn't asked for.
func (s site) outside(key string) error {
	return fmt.Errorf("%w: the store lists %q, which isn't below %s; nothing of it is removed", volume.ErrPrecondition, key, s.place)
}
