package draft

// A cut is the content of a draft at the moment of a Commit, and how an object is made of it.

import (
	"maps"
	"slices"

	"github.com/strata-csi/strata/pkg/s3"
)

// cut is what a Commit makes an object of. It lives until the outcome is known, which may be long after its Commit has failed for want of an answer.
type cut struct {
	token    string
	size     int64
	epoch    int64   // chunks that were written in it or before are in it
	change   int64   // of the metadata that the object gets
	upload   *upload // nil: it is a single write
	metadata bool    // only the metadata are new

	written bool  // the store was asked for the object
	refused bool  // and has said no
	changed bool  // there was a change since
	lowest  int64 // the smallest size since

	condition s3.Condition
	options   s3.WriteOptions
	segments  []*segment
}

// segment is a part of the next object.
type segment struct {
	number   int
	off, end int64
	how      how
	part     s3.Part // if it is there already
}

type how int

const (
	there how = iota // the store has it
	send1            // it is sent
	copy1            // the store copies it from the base
)

// segments divides the file in parts: those that the store has, runs of the base that it can copy, and what must be sent. Numbers are those of the plan, so that what was sent can be used; they may have gaps.
// d.mu is held.
func (d *Draft) segments() []*segment {
	var all []*segment
	dirty := d.dirtyChunks()
	run := int64(-1) // where the bytes begin that can be copied
	flush := func(end int64) {
		if run >= 0 {
			all = append(all, d.copies(run, end)...)
		}
		run = -1
	}
	for n, off := 1, int64(0); off < d.size; n++ {
		_, end := partRange(n)
		end = min(end, d.size)
		for len(dirty) > 0 && (dirty[0]+1)*chunkSize <= off {
			dirty = dirty[1:]
		}
		if _, ok := d.have(n, off, end); ok {
			flush(off)
			all = append(all, d.sent(n, off, end))
		} else if end <= d.baseLimit && (len(dirty) == 0 || dirty[0]*chunkSize >= end) {
			if run < 0 {
				run = off
			}
		} else if x := d.firstChange(off, end, dirty); end == d.size && splits(run, n, off, x) {
			if run < 0 {
				run = off
			}
			flush(x)
			all = append(all, d.sent(max(n, all[len(all)-1].number+1), x, end))
		} else {
			flush(off)
			all = append(all, d.sent(n, off, end))
		}
		off = end
	}
	flush(d.size)
	return all
}

// splits tells whether the last part of the file, from off on, can be copied as far as x: something was appended, and only that is sent. What is too little for a part of its own goes
// with the run of copies before it.
func splits(run int64, n int, off, x int64) bool {
	return x > off && n < s3.MaxParts && (run >= 0 || x-off >= s3.MinPartSize)
}

// copies divides a range that can be copied. A piece begins with a part of the plan, so that its number is its own.
func (d *Draft) copies(from, to int64) []*segment {
	var all []*segment
	size := copySize(to - from)
	for from < to {
		number := partAt(from)
		_, end := partRange(number)
		for n := number + 1; end < to; n++ {
			_, next := partRange(n)
			next = min(next, to)
			// What is too small for a part of its own goes with the one before, which leaves room for it.
			if small := next == to && next-end < s3.MinPartSize; !small && (end-from >= size || next-from > s3.MaxCopySize-s3.MinPartSize) {
				break
			}
			end = next
		}
		end = min(end, to)
		all = append(all, d.copied(number, from, end))
		from = end
	}
	return all
}

// copied is a segment that is copied, if that wasn't done by a Commit that failed later.
func (d *Draft) copied(number int, off, end int64) *segment {
	s := &segment{number: number, off: off, end: end, how: copy1}
	if d.upload != nil {
		for _, c := range d.upload.copies {
			if c.off == off && c.end == end && c.part.Number == number && c.etag == d.base.object.ETag {
				s.how, s.part = there, c.part
			}
		}
	}
	return s
}

// sent is a segment that is sent, if it wasn't yet.
func (d *Draft) sent(number int, off, end int64) *segment {
	s := &segment{number: number, off: off, end: end, how: send1}
	if p, ok := d.have(number, off, end); ok {
		s.how, s.part = there, p
	}
	return s
}

// dirtyChunks are the chunks with changes, in order.
func (d *Draft) dirtyChunks() []int64 {
	return slices.Sorted(func(yield func(int64) bool) {
		for i := range maps.Keys(d.chunks) {
			if d.chunks[i].dirty && !yield(i) {
				return
			}
		}
	})
}

// firstChange is the first byte of the range that isn't the base's, or to. dirty are the changed chunks from that of the range on.
func (d *Draft) firstChange(from, to int64, dirty []int64) int64 {
	first := min(d.baseLimit, to)
	for _, i := range dirty {
		if c := d.chunks[i]; i*chunkSize+int64(c.to) > from {
			first = min(first, i*chunkSize+int64(c.from))
			break
		}
	}
	return max(from, first)
}
