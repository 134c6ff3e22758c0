package draft

// Writing: what may be changed when, and the books of what is staged.

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/s3"
)

// WriteAt writes p at off and makes the file longer if need be. It waits while there is no room to stage it, and while a Commit reads the bytes that it changes. The error may be ErrNoRoom, ErrSent (with ErrNoRoom), ErrTooLarge, ErrClosed,
// or the disk's.
func (d *Draft) WriteAt(ctx context.Context, p []byte, off int64) (int, error) {
	end := off + int64(len(p))
	switch {
	case off < 0:
		return 0, fmt.Errorf("write to %q: offset %d", d.key, off)
	case end > s3.MaxObjectSize || end < off:
		return 0, fmt.Errorf("write to %q: %w: at most %d bytes", d.key, ErrTooLarge, int64(s3.MaxObjectSize))
	case len(p) == 0:
		return 0, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var granted int64
	defer func() { d.store.give(granted) }()
	for {
		if err := d.changeable(ctx, off, end, true); err != nil {
			return 0, err
		}
		need := d.missing(off, end)
		if need <= granted {
			break
		}
		d.mu.Unlock()
		err := d.store.take(ctx, d, need-granted)
		d.mu.Lock()
		if err != nil {
			return 0, err
		}
		granted = need
	}
	n, err := d.file.WriteAt(p, off)
	if n > 0 {
		granted -= d.wrote(off, off+int64(n))
		d.store.counters.staged.Add(int64(n))
	}
	if err != nil {
		if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			err = fmt.Errorf("%w: %w", ErrNoRoom, err)
		}
		return n, fmt.Errorf("stage %q: %w", d.key, err)
	}
	if d.crowded(off, end) {
		d.fill(ctx, off, end)
	}
	return n, nil
}

// changeable waits until bytes may be changed, or says why they can't be. whole: all of them become known, so that a sent part that is all within them may be changed.
func (d *Draft) changeable(ctx context.Context, from, to int64, whole bool) error {
	for {
		if d.closed {
			return ErrClosed
		}
		read := d.isRead(from, to)
		sent := d.isSent(from, to, whole)
		switch {
		case !read && sent == 0:
			return nil
		case !read && !d.committing:
			begin, end := partRange(sent)
			err := fmt.Errorf("change bytes %d to %d of %q: %w: %w: bytes %d to %d can be changed again after fsync; larger room for staged files avoids this", from, to, d.key, ErrNoRoom, ErrSent, begin, end)
			d.store.o.Logger.Error(err, "A write is refused")
			return err
		}
		if err := d.wait(ctx); err != nil {
			return err
		}
	}
}

// isRead tells whether the running commit has yet to read some of the bytes.
func (d *Draft) isRead(from, to int64) bool {
	for _, s := range d.reading {
		if s.off < to && from < s.end {
			return true
		}
	}
	return false
}

// isSent is the number of a part that has some of the bytes, was sent, and isn't staged any more; 0: none.
func (d *Draft) isSent(from, to int64, whole bool) int {
	if d.upload == nil || d.upload.punched == 0 || from >= to {
		return 0
	}
	for n := partAt(from); ; n++ {
		begin, end := partRange(n)
		if begin >= to {
			return 0
		}
		if s := d.upload.sent[n]; s != nil && s.punched && !(whole && from <= s.off && s.end <= to) {
			return n
		}
		if end >= to {
			return 0
		}
	}
}

// missing is how many of the bytes aren't staged.
func (d *Draft) missing(from, to int64) int64 {
	n := to - from
	each(from, to, func(i int64, a, b int32) {
		if c := d.chunks[i]; c != nil {
			n -= c.spans.within(a, b)
		}
	})
	return n
}

// each calls f for each chunk of a range, with the bytes in it.
func each(from, to int64, f func(i int64, a, b int32)) {
	for from < to {
		i := from / chunkSize
		next := min(to, (i+1)*chunkSize)
		f(i, int32(from-i*chunkSize), int32(next-i*chunkSize))
		from = next
	}
}

// wrote notes that the bytes are in the staged file and not the base's; it says how many weren't staged before.
func (d *Draft) wrote(from, to int64) int64 {
	fresh := d.stage(from, to)
	each(from, to, func(i int64, a, b int32) {
		c := d.chunks[i]
		if !c.dirty {
			c.dirty, c.from, c.to = true, a, b
		}
		c.from, c.to, c.epoch = min(c.from, a), max(c.to, b), d.epoch
	})
	d.unsend(from, to)
	d.size = max(d.size, to)
	d.changed()
	d.lastEnd = to
	d.sendPassed(from, to)
	return fresh
}

// changed notes that the content isn't that of any cut any more.
func (d *Draft) changed() {
	d.dirty = true
	for _, c := range d.cuts {
		c.changed = true
		c.lowest = min(c.lowest, d.size)
	}
}

// stage notes that the bytes are in the staged file.
func (d *Draft) stage(from, to int64) int64 {
	var all int64
	each(from, to, func(i int64, a, b int32) {
		c := d.chunks[i]
		if c == nil {
			c = &chunk{}
			d.chunks[i] = c
		}
		fresh := c.spans.add(a, b)
		n := partAt(i * chunkSize)
		p := d.parts[n]
		if p == nil {
			p = &part{}
			d.parts[n] = p
		}
		p.staged += fresh
		p.fresh += fresh
		all += fresh
	})
	return all
}
