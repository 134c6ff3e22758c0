package draft

// Commit makes the object.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/strata-csi/strata/pkg/s3"
)

const (
	// maxTries is how often one Commit writes the object: again after an upload was lost, a conflict that was none, or an earlier write that turned out to be done.
	maxTries = 5
	pause    = 50 * time.Millisecond // before it does so, times the number of tries
)

// Commit returns nil when the store has the whole content of the moment of the call, and the metadata. Writes may go on meanwhile; they are for the next Commit. After an error the draft is as dirty as
// it was, and Commit can be called again. s3.ErrConflict: the object isn't the base any more, and wasn't replaced. Commits of one draft run one after the other; one that has nothing to do returns at once, so that
// many callers share one upload.
func (d *Draft) Commit(ctx context.Context) (s3.Object, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return s3.Object{}, fmt.Errorf("commit %q: %w", d.key, ctx.Err())
	}
	d.mu.RLock()
	change := d.changes
	d.mu.RUnlock()
	for try := 1; ; try++ {
		o, done, err := d.try(ctx, change)
		again := false
		if err != nil && ctx.Err() == nil {
			again, err = d.resolve(ctx, err)
		}
		switch {
		case err == nil && done:
			return o, nil
		case err == nil:
			continue // resolve has found that all is well, or try has only done the half
		case !again || try == maxTries:
			if errors.Is(err, s3.ErrConflict) {
				d.store.counters.conflicts.Add(1)
			} else {
				d.store.counters.failures.Add(1)
			}
			return s3.Object{}, fmt.Errorf("commit %q: %w", d.key, err)
		}
		select {
		case <-time.After(time.Duration(try) * pause):
		case <-ctx.Done():
		}
	}
}

// try does the next thing that is to be done; done: nothing is left of it, the metadata as of change included.
func (d *Draft) try(ctx context.Context, change int64) (o s3.Object, done bool, err error) {
	if err := d.ask(ctx); err != nil {
		return s3.Object{}, false, err
	}
	c, err := d.cut(ctx)
	if err != nil {
		return s3.Object{}, false, err
	}
	if c == nil {
		d.mu.RLock()
		defer d.mu.RUnlock()
		if d.closed {
			return s3.Object{}, false, ErrClosed
		}
		return d.base.object, true, nil
	}
	o, err = d.write(ctx, c)
	if err == nil {
		err = verify(o, c.size)
	}
	d.mu.Lock()
	defer func() {
		d.committing, d.reading = false, nil
		d.woken()
		d.mu.Unlock()
		d.store.progress()
	}()
	c.segments = nil
	if err != nil {
		c.refused = isDefinite(err)
		if !c.written {
			d.cuts = slices.DeleteFunc(d.cuts, func(x *cut) bool { return x == c })
		}
		return s3.Object{}, false, err
	}
	d.conclude(c, o)
	return d.base.object, d.stored >= change, nil
}

func verify(o s3.Object, size int64) error {
	if o.ETag == "" || o.Size != size {
		return fmt.Errorf("%w: an object of %d bytes, ETag %q; sent were %d bytes", ErrUnverified, o.Size, o.ETag, size)
	}
	return nil
}

// cut takes a cut if there is something to commit; nil: there isn't. It waits for what is sent in the background, which will be of use.
func (d *Draft) cut(ctx context.Context) (*cut, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, ErrClosed
	}
	if !d.dirty && d.stored == d.changes {
		return nil, nil
	}
	d.committing = true // nothing more is sent in the background
	for len(d.sends) > 0 {
		if err := d.wait(ctx); err != nil {
			d.committing = false
			d.woken()
			return nil, err
		}
	}
	d.attempts++
	c := &cut{
		token: fmt.Sprintf("%s-%d", d.token, d.attempts), size: d.size, lowest: d.size, change: d.changes,
		metadata: !d.dirty && d.size <= s3.MaxCopySize,
	}
	c.epoch = d.epoch
	if !c.metadata {
		d.epoch++
	}
	c.condition = s3.Condition{IfAbsent: true}
	if d.base != nil {
		c.condition = s3.Condition{IfMatch: d.base.object.ETag}
	}
	c.options = d.writeOptions(c.token, c.condition)
	if d.store.o.NoConditions {
		c.options.Condition = s3.Condition{}
	}
	d.cuts = append(d.cuts, c)
	switch {
	case c.metadata:
	case d.size <= firstPart && !d.isPunched(1):
		c.segments = []*segment{{off: 0, end: d.size, how: send1}}
		d.reading = slices.Clone(c.segments)
	default:
		c.segments = d.segments()
		for _, s := range c.segments {
			if s.how == send1 {
				d.reading = append(d.reading, s)
			}
		}
		if c.upload = d.upload; c.upload != nil {
			c.token, c.change = c.upload.token, c.upload.change
		}
	}
	return c, nil
}

func (d *Draft) isPunched(n int) bool {
	return d.upload != nil && d.upload.sent[n] != nil && d.upload.sent[n].punched
}

// write makes the object of a cut.
func (d *Draft) write(ctx context.Context, c *cut) (s3.Object, error) {
	b := d.store.o.Bucket
	if c.metadata {
		if err := d.check(ctx, c); err != nil {
			return s3.Object{}, err
		}
		release, err := d.store.slot(ctx)
		if err != nil {
			return s3.Object{}, err
		}
		defer release()
		// The source's condition is the destination's: it is the same object. Not all stores know conditions of a copy's destination.
		o := c.options
		o.Condition = s3.Condition{}
		c.written = true
		got, err := b.Copy(ctx, d.key, c.condition.IfMatch, d.key, o)
		got.Size = c.size // of the base, which has the ETag that was copied
		return got, err
	}
	if len(c.segments) == 1 && c.segments[0].number == 0 {
		release, err := d.store.slot(ctx)
		if err != nil {
			return s3.Object{}, err
		}
		defer release()
		if err := d.check(ctx, c); err != nil {
			return s3.Object{}, err
		}
		d.mu.RLock()
		body := d.body(ctx, 0, c.size)
		d.mu.RUnlock()
		defer body.close()
		c.written = true
		o, err := b.Put(ctx, d.key, body.reader(0, c.size), c.size, c.options)
		if err == nil {
			d.store.counters.uploaded.Add(c.size)
		}
		return o, body.failure(err)
	}
	u, err := d.begun(ctx)
	if err != nil {
		return s3.Object{}, err
	}
	d.mu.Lock()
	c.upload, c.token, c.change = u, u.token, u.change
	d.mu.Unlock()
	if err := d.sendAll(ctx, c); err != nil {
		return s3.Object{}, err
	}
	if err := d.check(ctx, c); err != nil {
		return s3.Object{}, err
	}
	parts := make([]s3.Part, len(c.segments))
	for i, s := range c.segments {
		parts[i] = s.part
	}
	c.written = true
	return b.Complete(ctx, d.key, u.id, parts, c.options.Condition)
}

// sendAll sends and copies the segments of a cut that aren't there yet: first what is staged, so that writers need not wait.
func (d *Draft) sendAll(ctx context.Context, c *cut) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(d.store.o.Uploads)
	for _, how := range []how{send1, copy1} {
		for _, s := range c.segments {
			if s.how != how {
				continue
			}
			g.Go(func() error {
				release, err := d.store.slot(ctx)
				if err != nil {
					return err
				}
				defer release()
				if how == copy1 {
					return d.copySegment(ctx, c, s)
				}
				return d.sendSegment(ctx, c, s)
			})
		}
	}
	return g.Wait()
}

func (d *Draft) sendSegment(ctx context.Context, c *cut, s *segment) error {
	d.mu.RLock()
	b := d.body(ctx, s.off, s.end)
	d.mu.RUnlock()
	defer b.close()
	part, err := d.store.o.Bucket.UploadPart(ctx, d.key, c.upload.id, s.number, b.reader(s.off, s.end), s.end-s.off)
	if err != nil {
		return b.failure(err)
	}
	d.store.counters.uploaded.Add(s.end - s.off)
	s.part = part
	d.mu.Lock()
	c.upload.sent[s.number] = &sentPart{off: s.off, end: s.end, part: part}
	d.reading = slices.DeleteFunc(d.reading, func(x *segment) bool { return x == s })
	d.woken()
	d.mu.Unlock()
	return nil
}

// copyPart has the store copy a segment of the base, or, where it doesn't let this credential (radosgw 16 and sessions), reads it and sends it.
func (d *Draft) copyPart(ctx context.Context, c *cut, s *segment) (s3.Part, error) {
	if !d.store.noCopies.Load() {
		part, err := d.store.o.Bucket.CopyPart(ctx, d.key, c.upload.id, s.number, d.key, c.condition.IfMatch, s.off, s.end-s.off)
		if err == nil {
			d.store.counters.copied.Add(s.end - s.off)
		}
		if !errors.Is(err, s3.ErrDenied) {
			return part, err
		}
	}
	d.mu.RLock()
	b := d.baseBody(ctx, s.off, s.end)
	d.mu.RUnlock()
	defer b.close()
	part, err := d.store.o.Bucket.UploadPart(ctx, d.key, c.upload.id, s.number, b.reader(s.off, s.end), s.end-s.off)
	if err != nil {
		return part, b.failure(err)
	}
	d.store.noCopies.Store(true)
	d.store.counters.uploaded.Add(s.end - s.off)
	return part, nil
}

func (d *Draft) copySegment(ctx context.Context, c *cut, s *segment) error {
	part, err := d.copyPart(ctx, c, s)
	if err != nil {
		return err
	}
	s.part = part
	d.mu.Lock()
	defer d.mu.Unlock()
	// It is of use for a later try if nothing was written there since the cut.
	if !d.isDirty(s.off, s.end) {
		c.upload.copies = append(c.upload.copies, copied{off: s.off, end: s.end, part: part, etag: c.condition.IfMatch})
	}
	return nil
}
