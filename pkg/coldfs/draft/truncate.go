package draft

// Bytes that go: by a truncation, or because they are elsewhere too and the room is needed.

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/s3"
)

// Truncate makes the file shorter, or longer with zeros. It waits like WriteAt, besides for room.
func (d *Draft) Truncate(ctx context.Context, size int64) error {
	if size < 0 || size > s3.MaxObjectSize {
		return fmt.Errorf("truncate %q to %d bytes: %w: at most %d", d.key, size, ErrTooLarge, int64(s3.MaxObjectSize))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		old := d.size
		from, to := min(size, old), max(size, old)
		if size < old {
			// Parts behind the new end go; one that it is within must be staged.
			_, to = partRange(partAt(size))
			if err := d.changeable(ctx, size, max(to, old), true); err != nil {
				return err
			}
		} else if err := d.changeable(ctx, from, to, false); err != nil {
			return err
		}
		if d.size != old {
			continue
		}
		if size < old {
			return d.shrink(size)
		}
		if size > old {
			d.unsend(old, size)
			d.size = size
			d.changed()
			d.sendPassed(old, size)
		}
		return nil
	}
}

func (d *Draft) shrink(size int64) error {
	if err := d.file.Truncate(min(size, d.staged())); err != nil {
		return fmt.Errorf("stage %q: %w", d.key, err)
	}
	d.unsend(size, d.size)
	var gone int64
	for i, c := range d.chunks {
		begin := i * chunkSize
		if begin+chunkSize <= size {
			continue
		}
		cut := c.spans.cut(int32(max(0, size-begin)))
		d.unstaged(partAt(begin), cut)
		gone += cut
		if begin >= size {
			delete(d.chunks, i)
		}
	}
	d.store.give(gone)
	d.size, d.baseLimit, d.lastEnd = size, min(d.baseLimit, size), min(d.lastEnd, size)
	d.changed()
	return nil
}

// staged is the length of the staged file.
func (d *Draft) staged() int64 {
	info, err := d.file.Stat()
	if err != nil {
		return 0
	}
	return info.Size()
}

// unstaged counts n bytes of a part out.
func (d *Draft) unstaged(number int, n int64) {
	if p := d.parts[number]; p != nil {
		p.staged -= n
		p.fresh = min(p.fresh, p.staged)
		if p.staged == 0 {
			delete(d.parts, number)
		}
	}
}

// drop gives up the staged copy of bytes that are elsewhere; it says how many they were.
func (d *Draft) drop(from, to int64) int64 {
	if err := unix.Fallocate(int(d.file.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, from, to-from); err != nil {
		d.store.o.Logger.Error(err, "Staged bytes can't be given up", "key", d.key)
		return 0
	}
	var gone int64
	each(from, to, func(i int64, _, _ int32) { // whole chunks
		if c := d.chunks[i]; c != nil {
			n := c.spans.bytes()
			d.unstaged(partAt(i*chunkSize), n)
			gone += n
			c.spans = nil
			if !c.dirty {
				delete(d.chunks, i)
			}
		}
	})
	d.store.give(gone)
	return gone
}

// dropClean gives up the staged copy of what the base has as well, about n bytes.
func (d *Draft) dropClean(n int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var freed int64
	for i, c := range d.chunks {
		begin := i * chunkSize
		end := min(begin+chunkSize, d.size)
		if freed >= n || d.closed {
			break
		}
		if c.dirty || len(c.spans) == 0 || end > d.baseLimit || d.isRead(begin, end) || d.isSending(begin, end) {
			continue
		}
		freed += d.drop(begin, begin+chunkSize)
	}
	return freed
}
