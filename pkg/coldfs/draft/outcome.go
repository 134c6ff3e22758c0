package draft

// What a write of the object has come to. A write whose answer was lost may have been done, or may still be done: it is remembered with its cut, and each object of
// a draft has a token in its metadata, by which the draft knows it again.

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/strata-csi/strata/pkg/s3"
)

// maxDoubts bounds how many cuts are remembered whose outcome is open.
const maxDoubts = 32

// conclude notes that a cut is the object o. d.mu is held.
func (d *Draft) conclude(c *cut, o s3.Object) {
	o.Metadata = withoutToken(o.Metadata)
	if d.base != nil {
		d.base.release()
	}
	d.base, d.known = d.store.source(o), c.token
	d.stored = c.change
	d.store.counters.commits.Add(1)
	if c.metadata {
		d.cuts = slices.DeleteFunc(d.cuts, func(x *cut) bool { return x == c })
		return
	}
	d.baseLimit = min(c.size, c.lowest)
	for i, x := range d.chunks {
		if x.epoch <= c.epoch {
			x.dirty = false
		}
		if !x.dirty && len(x.spans) == 0 {
			delete(d.chunks, i)
		}
	}
	for _, p := range d.parts {
		p.fresh, p.tried, p.err = 0, false, nil
	}
	d.dirty = c.changed
	switch {
	case d.upload == nil:
	case c.upload == d.upload:
		d.store.removeRecord(d.upload)
		d.upload = nil
	case !d.dirty:
		d.forget()
	}
	d.cuts = nil
}

// ask looks whether a write was done whose outcome is open.
func (d *Draft) ask(ctx context.Context) error {
	d.mu.RLock()
	open := len(d.cuts)
	d.mu.RUnlock()
	if open == 0 {
		return nil
	}
	o, err := d.store.o.Bucket.Head(ctx, d.key)
	if errors.Is(err, s3.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.recognize(o)
	return nil
}

// recognize concludes the cut that an object was made of; false: it was made of none. Of several cuts of one upload it is taken for the oldest, which is right for the others too: what was
// written since the oldest is committed again.
func (d *Draft) recognize(o s3.Object) bool {
	for _, c := range d.cuts {
		if c.token == o.Metadata[tokenName] && c.size == o.Size && o.ETag != "" {
			d.conclude(c, o)
			return true
		}
	}
	return false
}

// check is for stores that don't obey conditions: it compares right before the write.
func (d *Draft) check(ctx context.Context, c *cut) error {
	if !d.store.o.NoConditions {
		return nil
	}
	o, err := d.store.o.Bucket.Head(ctx, d.key)
	switch {
	case errors.Is(err, s3.ErrNotFound) && c.condition.IfAbsent:
		return nil
	case errors.Is(err, s3.ErrNotFound):
		return fmt.Errorf("%w: it was removed", s3.ErrConflict)
	case err != nil:
		return err
	case c.condition.IfAbsent:
		return fmt.Errorf("%w: there is one of %d bytes", s3.ErrConflict, o.Size)
	case o.ETag != c.condition.IfMatch:
		return fmt.Errorf("%w: its ETag is %s, expected was %s", s3.ErrConflict, o.ETag, c.condition.IfMatch)
	}
	return nil
}

// isDefinite tells whether the store has refused a request, and will not obey it later.
func isDefinite(err error) bool {
	return errors.Is(err, s3.ErrConflict) || errors.Is(err, s3.ErrInvalid) || errors.Is(err, s3.ErrNotFound)
}

// resolve finds out what a failed try has come to. A nil error: the object is the draft's own. again: another try may succeed.
func (d *Draft) resolve(ctx context.Context, failure error) (again bool, err error) {
	definite := isDefinite(failure)
	if !definite && !errors.Is(failure, s3.ErrUnavailable) && !errors.Is(failure, ErrUnverified) {
		return false, failure
	}
	now, err := d.store.o.Bucket.Head(ctx, d.key)
	absent := errors.Is(err, s3.ErrNotFound)
	if err != nil && !absent {
		// Its cut stays until somebody can look. Even a conflict isn't one until then: it may be with an earlier write of ours.
		return false, fmt.Errorf("%w; before that: %s", err, failure)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if !absent && d.recognize(now) {
		return true, nil
	}
	d.cuts = slices.DeleteFunc(d.cuts, func(c *cut) bool { return c.refused })
	d.cuts = d.cuts[max(0, len(d.cuts)-maxDoubts):]
	switch {
	case !absent && d.base != nil && d.known != "" && now.Metadata[tokenName] == d.known && now.Size == d.base.object.Size && now.ETag != d.base.object.ETag:
		// The base itself, whose ETag was told wrong.
		now.Metadata = withoutToken(now.Metadata)
		d.base.release()
		d.base = d.store.source(now)
		return true, failure
	case absent && d.base != nil:
		return false, fmt.Errorf("%w: it was removed (%w)", s3.ErrConflict, failure)
	case !absent && d.base == nil:
		return false, fmt.Errorf("%w: there is one of %d bytes by now (%w)", s3.ErrConflict, now.Size, failure)
	case !absent && now.ETag != d.base.object.ETag:
		return false, fmt.Errorf("%w: its ETag is %s, and this file stands on %s (%w)", s3.ErrConflict, now.ETag, d.base.object.ETag, failure)
	case errors.Is(failure, s3.ErrConflict): // another write that was refused too, or a base that was read from elsewhere
		return true, failure
	case definite && d.upload != nil:
		return d.restart(failure)
	}
	return false, failure
}

// restart sends all parts again that can be: the upload is gone, or the store doesn't want its parts.
func (d *Draft) restart(failure error) (bool, error) {
	switch {
	case d.upload.punched == 0:
		d.forget()
		return true, failure
	case d.upload.restarted || errors.Is(failure, s3.ErrNotFound):
		return false, fmt.Errorf("%w: bytes that aren't staged any more were in an upload that somebody has ended (%w)", ErrLost, failure)
	}
	for n, s := range d.upload.sent {
		if !s.punched {
			d.upload.unsend(n, d)
		}
	}
	d.upload.copies, d.upload.restarted = nil, true
	return true, failure
}
