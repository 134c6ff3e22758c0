package draft

// Many small writes at random places would make endlessly many spans. A chunk that has too many of them is filled: what lies between is read from the base and staged as well.

import (
	"context"
)

const (
	maxSpans   = 256
	fillBuffer = 1 << 20
)

// crowded tells whether a chunk of the range has too many spans.
func (d *Draft) crowded(from, to int64) bool {
	found := false
	each(from, to, func(i int64, _, _ int32) {
		c := d.chunks[i]
		found = found || c != nil && len(c.spans) > maxSpans
	})
	return found
}

// fill stages all of the crowded chunks of a range. It is no error when that can't be done now: the next write tries again. d.mu is held before and after.
func (d *Draft) fill(ctx context.Context, from, to int64) {
	each(from, to, func(i int64, _, _ int32) {
		c := d.chunks[i]
		if c == nil || len(c.spans) <= maxSpans {
			return
		}
		begin := i * chunkSize
		if err := d.fillRange(ctx, begin, min(begin+chunkSize, d.size)); err != nil {
			d.store.o.Logger.V(2).Info("A file of many small writes keeps its many pieces for now", "key", d.key, "cause", err)
		}
	})
}

func (d *Draft) fillRange(ctx context.Context, from, to int64) error {
	granted := d.missing(from, to)
	d.mu.Unlock()
	err := d.store.take(ctx, d, granted)
	d.mu.Lock()
	if err != nil {
		return err
	}
	defer func() { d.store.give(granted) }()
	buffer := make([]byte, fillBuffer)
	for from < to {
		next := min(from+fillBuffer, to)
		p := buffer[:next-from]
		src := d.base
		if src != nil && from < d.baseLimit {
			p = p[:min(next, d.baseLimit)-from]
			src.use()
			d.mu.Unlock()
			err := src.read(ctx, p, from)
			src.release()
			d.mu.Lock()
			if err != nil {
				return err
			}
		}
		// What was written, cut or committed meanwhile goes before.
		if d.closed || d.base != src || d.committing || d.size < next {
			return ErrClosed
		}
		for _, x := range d.pieces(from, next) {
			switch {
			case x.in == staged:
				continue
			case d.missing(x.from, x.to) > granted:
				return ErrNoRoom
			case x.in == zero:
				// A place that isn't staged has no bytes in the staged file and reads as zeros, as far as the file goes.
				if err := d.file.Truncate(max(d.staged(), x.to)); err != nil {
					return err
				}
			default:
				if _, err := d.file.WriteAt(p[x.from-from:x.to-from], x.from); err != nil {
					return err
				}
			}
			granted -= d.stage(x.from, x.to)
		}
		from = next
	}
	return nil
}
