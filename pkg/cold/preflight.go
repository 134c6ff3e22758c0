package cold

// What must be so before a volume is made, and what of a store must be so for the tier.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

// vacant refuses a place that has objects already: DeleteVolume would remove what isn't the volume's. It refuses a place inside another volume for the same reason.
func (s site) vacant(ctx context.Context) error {
	page, err := s.bucket.List(ctx, s3.ListRequest{Prefix: s.prefix(), Max: 20})
	if err != nil {
		return err
	}
	for _, o := range page.Objects {
		if !strings.HasPrefix(o.Key, s.prefix()+marker.Directory) {
			return fmt.Errorf("%w: %s has objects already (%q), and no marker of a volume: use another prefix, or a PersistentVolume made by hand", volume.ErrExists, s.place, o.Key)
		}
	}
	above := s.above()
	errs := make([]error, len(above))
	var wait sync.WaitGroup
	for i, prefix := range above {
		wait.Go(func() {
			_, err := s.bucket.Head(ctx, prefix+marker.Key)
			switch {
			case err == nil:
				errs[i] = fmt.Errorf("%w: %s lies inside another volume, that of %s%s, and would be deleted with it: correct parameter prefix", volume.ErrPrecondition, s.place, prefix, marker.Key)
			case !errors.Is(err, s3.ErrNotFound) && !errors.Is(err, s3.ErrDenied): // a credential may be for the prefix alone
				errs[i] = err
			}
		})
	}
	wait.Wait()
	return errors.Join(errs...)
}

// probe tries whether the store keeps conditions: writes that must be refused, and one that must not, of an object below the volume's own directory. Where it doesn't, two writers of a file overwrite
// each other unseen, and two requests make one volume.
func (b *Backend) probe(ctx context.Context, s site) error {
	store := s.endpoint + " " + s.place.bucket
	if b.checked.has(store) {
		return nil
	}
	key := s.prefix() + marker.Directory + "probe-" + rand.Text()
	write := func(c s3.Condition) (string, error) {
		o, err := s.bucket.Put(ctx, key, strings.NewReader("x"), 1, s3.WriteOptions{Condition: c})
		return o.ETag, err
	}
	etag, err := write(s3.Condition{IfAbsent: true})
	if errors.Is(err, s3.ErrInvalid) {
		return s.without("If-None-Match", err)
	}
	if err != nil {
		return err
	}
	for _, c := range []struct {
		header    string
		condition s3.Condition
		met       bool
	}{
		{"If-None-Match", s3.Condition{IfAbsent: true}, false},
		{"If-Match", s3.Condition{IfMatch: strings.Repeat("0", 32)}, false},
		{"If-Match", s3.Condition{IfMatch: etag}, true},
	} {
		_, err = write(c.condition)
		refused := errors.Is(err, s3.ErrConflict)
		if refused && !c.met || err == nil && c.met {
			err = nil
			continue
		}
		if err == nil || refused || errors.Is(err, s3.ErrInvalid) {
			err = s.without(c.header, err)
		}
		break
	}
	if err := errors.Join(err, s.bucket.Delete(ctx, key)); err != nil {
		return err
	}
	b.checked.add(store)
	return nil
}

func (s site) without(header string, answer error) error {
	why := "it writes all the same"
	if answer != nil {
		why = answer.Error()
	}
	return fmt.Errorf("%w: the store %s doesn't keep the condition %s of PutObject (%s), without which concurrent writers overwrite each other unseen; "+
		"tier cold needs a store that does, as Amazon S3, Ceph, MinIO and versitygw do", volume.ErrPrecondition, s.endpoint, header, why)
}

// classify turns the store's errors into those of package volume, with what to do.
func (s site) classify(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, s3.ErrNoBucket):
		return fmt.Errorf("%w: there is no bucket %s at %s; make it with `aws --endpoint-url %s s3api create-bucket --bucket %s`, or correct parameter bucket", volume.ErrPrecondition,
			s.place.bucket, s.endpoint, s.endpoint, s.place.bucket)
	case errors.Is(err, s3.ErrDenied):
		return fmt.Errorf("%w: %w; the access key of the secret must be valid at %s and may list, read, write and delete below %s", volume.ErrDenied, err, s.endpoint, s.place)
	case errors.Is(err, s3.ErrFull):
		return fmt.Errorf("%w: %w", volume.ErrExhausted, err)
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil:
		return fmt.Errorf("%w: %w", volume.ErrDeadline, err)
	case errors.Is(err, s3.ErrUntrusted): // it says itself what to do, and of which endpoint
		return fmt.Errorf("%w: %w", volume.ErrPrecondition, err)
	case errors.Is(err, s3.ErrUnavailable):
		return fmt.Errorf("%w: %w; is %s the right endpoint, and can the controller reach it?", volume.ErrUnavailable, err, s.endpoint)
	case errors.Is(err, s3.ErrConflict):
		return fmt.Errorf("%w: %w", volume.ErrPending, err)
	case errors.Is(err, s3.ErrInvalid):
		return fmt.Errorf("%w: %w", volume.ErrPrecondition, err)
	}
	return err
}
