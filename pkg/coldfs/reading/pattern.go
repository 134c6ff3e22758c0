package reading

// How a file is read, and what that foresees. The kernel sends the reads of a program in pieces, and some of them out of order: what is near is in sequence.

// near is how far a read may be from the end of the last one, in bytes, to be in sequence with it.
const near = 1 << 20

type pattern struct {
	begun  bool
	next   int64 // behind the furthest byte of the sequence
	streak int64 // bytes of the sequence
	reads  int   // of the sequence
	head   bool  // the sequence began with the file
	asked  int64 // blocks before this were asked for ahead

	last   int64 // offset of the last read
	length int64 // of it
	stride int64 // from the one before
	same   int   // how often in a row
	small  bool  // such reads fetch chunks
}

// note takes a read into account and tells whether a chunk is enough for it, rather than a block.
func (p *pattern) note(off, n, block, size int64) (small bool) {
	inSequence := p.begun && off >= p.next-near && off <= p.next+near
	if stride := off - p.last; p.begun && stride == p.stride && n == p.length && !inSequence {
		p.same++
	} else {
		p.stride, p.same = stride, 0
	}
	p.last, p.length = off, n
	switch {
	case inSequence:
		p.reads++
		p.streak += n
		p.next = max(p.next, off+n)
	default:
		p.next, p.streak, p.reads, p.asked = off+n, n, 1, 0
		p.head = off == 0
	}
	p.begun = true
	// Files are mostly read from the beginning to the end. Elsewhere a sequence has to show itself.
	p.small = !p.head && p.streak <= chunkSize && n < block/8 && size > chunkSize
	return p.small
}

// sequential: the handle takes part in what there is for fetching ahead.
func (p *pattern) sequential() bool { return p.reads > 1 && p.streak > chunkSize }

// window are the blocks to be fetched ahead. It grows with what was read: at most about four times as much is fetched as a program wants that stops.
func (p *pattern) window(block, size, most int64) (from, to int64) {
	if !p.sequential() {
		return 0, 0
	}
	here := (p.next - 1) / block
	blocks := min(1+p.streak/max(block/4, 1), most)
	return max(p.asked, here+1), min(here+1+blocks, (size+block-1)/block)
}

// strides are the places that are read next when the last ones were equally far from each other.
func (p *pattern) strides(size int64) (next []int64) {
	if p.same < 2 {
		return nil
	}
	for k := range int64(min(p.same, 8)) {
		at := p.last + (k+1)*p.stride
		if at < 0 || at >= size {
			break
		}
		next = append(next, at)
	}
	return next
}
