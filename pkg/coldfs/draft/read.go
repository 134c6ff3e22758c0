package draft

// Reading a draft: what was written so far over what the base has.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/strata-csi/strata/pkg/s3"
)

// source is a base with its content. It is closed when the draft has another base and nobody reads it any more.
type source struct {
	object s3.Object
	open   func(s3.Object) Content

	mu      sync.Mutex
	users   int
	content Content // nil: not read yet
}

func (s *Store) source(o s3.Object) *source {
	return &source{object: o, open: s.o.Content, users: 1}
}

func (x *source) use() {
	x.mu.Lock()
	x.users++
	x.mu.Unlock()
}

func (x *source) release() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.users--; x.users == 0 && x.content != nil {
		x.content.Close()
	}
}

// read fills p from off, all of it.
func (x *source) read(ctx context.Context, p []byte, off int64) error {
	x.mu.Lock()
	if x.content == nil {
		x.content = x.open(x.object)
	}
	c := x.content
	x.mu.Unlock()
	for len(p) > 0 {
		n, err := c.ReadAt(ctx, p, off)
		p, off = p[n:], off+int64(n)
		if len(p) == 0 {
			return nil
		}
		if err == nil && n == 0 || errors.Is(err, io.EOF) {
			return fmt.Errorf("read %q: %w: it ends at byte %d", x.object.Key, io.ErrUnexpectedEOF, off)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// direct reads an object with a request for each call.
type direct struct {
	bucket *s3.Bucket
	object s3.Object
}

// ReadAt implements Content.
func (r *direct) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	n := min(int64(len(p)), r.object.Size-off)
	if n <= 0 {
		return 0, io.EOF
	}
	body, err := r.bucket.Get(ctx, r.object.Key, r.object.ETag, off, n)
	if err != nil {
		return 0, err
	}
	defer func() { _ = body.Close() }()
	got, err := io.ReadFull(body, p[:n])
	if err == nil && n < int64(len(p)) {
		err = io.EOF
	}
	return got, err
}

// Close implements Content.
func (*direct) Close() {}

// piece is a range of bytes that are all in one place.
type piece struct {
	from, to int64
	in       place
}

type place int

const (
	zero place = iota
	staged
	base
)

// pieces tells where the bytes of a range are, in order. d.mu is held.
func (d *Draft) pieces(from, to int64) []piece {
	var all []piece
	add := func(a, b int64, in place) {
		if a >= b {
			return
		}
		if n := len(all); n > 0 && all[n-1].in == in {
			all[n-1].to = b
			return
		}
		all = append(all, piece{a, b, in})
	}
	gap := func(a, b int64) {
		m := min(max(a, d.baseLimit), b)
		add(a, m, base)
		add(m, b, zero)
	}
	each(from, to, func(i int64, a, b int32) {
		begin := i * chunkSize
		at := begin + int64(a)
		if c := d.chunks[i]; c != nil {
			for _, x := range c.spans.overlapping(a, b) {
				x.from, x.to = max(x.from, a), min(x.to, b)
				gap(at, begin+int64(x.from))
				add(begin+int64(x.from), begin+int64(x.to), staged)
				at = begin + int64(x.to)
			}
		}
		gap(at, begin+int64(b))
	})
	return all
}

// ReadAt reads as io.ReaderAt does. A read beside a write of the same bytes has the old ones or the new ones. The error may be ErrSent or ErrClosed, or what the base's content says.
func (d *Draft) ReadAt(ctx context.Context, p []byte, off int64) (int, error) {
	for {
		n, again, err := d.readOnce(ctx, p, off)
		if !again {
			return n, err
		}
	}
}

// readOnce reads. again: the base was replaced by a commit meanwhile, and its content can't be had any more.
func (d *Draft) readOnce(ctx context.Context, p []byte, off int64) (n int, again bool, err error) {
	d.mu.RLock()
	if d.closed {
		d.mu.RUnlock()
		return 0, false, ErrClosed
	}
	if off < 0 || off >= d.size {
		d.mu.RUnlock()
		return 0, false, io.EOF
	}
	length := min(int64(len(p)), d.size-off)
	if d.isSent(off, off+length, false) != 0 {
		committing, wake := d.committing, d.wake
		d.mu.RUnlock()
		if !committing {
			return 0, false, fmt.Errorf("read bytes %d to %d of %q: %w, and can be read again after fsync", off, off+length, d.key, ErrSent)
		}
		select {
		case <-wake:
			return 0, true, nil
		case <-ctx.Done():
			return 0, false, ctx.Err()
		}
	}
	pieces := d.pieces(off, off+length)
	for _, x := range pieces {
		q := p[x.from-off : x.to-off]
		switch x.in {
		case zero:
			clear(q)
		case staged:
			if _, err := d.file.ReadAt(q, x.from); err != nil {
				d.mu.RUnlock()
				return 0, false, fmt.Errorf("read staged bytes of %q: %w", d.key, err)
			}
		}
	}
	src := d.base
	if src != nil {
		src.use()
		defer src.release()
	}
	d.mu.RUnlock()

	for _, x := range pieces {
		if x.in != base {
			continue
		}
		if err := src.read(ctx, p[x.from-off:x.to-off], x.from); err != nil {
			d.mu.RLock()
			replaced := d.base != src && !d.closed
			d.mu.RUnlock()
			if !replaced && errors.Is(err, s3.ErrConflict) {
				var unsure error
				if replaced, unsure = d.ownReplaced(ctx, src); unsure != nil {
					err = fmt.Errorf("%w; before that: %s", unsure, err)
				}
			}
			return 0, replaced && ctx.Err() == nil, err
		}
	}
	if length < int64(len(p)) {
		return int(length), false, io.EOF
	}
	return int(length), false, nil
}

// ownReplaced tells whether it was the draft itself that replaced its base: a commit may have done so that doesn't know it yet, as it runs, or as its answer was lost. The error says that nobody can tell now.
func (d *Draft) ownReplaced(ctx context.Context, src *source) (bool, error) {
	select {
	case d.turn <- struct{}{}:
		defer func() { <-d.turn }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if err := d.ask(ctx); err != nil {
		return false, err
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.base != src && !d.closed, nil
}
