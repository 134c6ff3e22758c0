package reading

// A handle is one open file: it has an order of reading of its own.

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
)

// Handle reads one version of one object. Its methods may be called from many goroutines.
type Handle struct {
	r *Reader
	v *version

	mu      sync.Mutex
	pattern pattern
	closed  bool
}

// Size is that of the object, in bytes.
func (h *Handle) Size() int64 { return h.v.size }

// ReadAt reads len(p) bytes from off, or up to the end of the object with io.EOF. The error wraps s3.ErrConflict when the store has another version of the object by
// now, s3.ErrNotFound when it has none, s3.ErrDenied, s3.ErrUnavailable (after retries), ErrClosed, or is the cause of ctx, whose end doesn't disturb who reads the same bytes. Bytes
// that are there are served whatever the store says by now. With an error, n bytes before it are good.
func (h *Handle) ReadAt(ctx context.Context, p []byte, off int64) (n int, err error) {
	v := h.v
	if off < 0 {
		return 0, fmt.Errorf("read object %s at %d: %w", v.key, off, os.ErrInvalid)
	}
	if off >= v.size {
		return 0, io.EOF
	}
	whole := p
	p = p[:min(int64(len(p)), v.size-off)]
	small, err := h.note(off, int64(len(p)))
	if err != nil {
		return 0, err
	}
	defer func() { h.r.count.served.Add(uint64(n)) }()
	// What is asked for goes first, what will be before anything is waited for.
	ahead := sync.OnceFunc(h.ahead)
	defer ahead()
	for n < len(p) {
		f := h.r.inMemory(v, off+int64(n))
		if f == nil && v.cached != nil {
			if k := v.cached.ReadAt(p[n:], off+int64(n)); k > 0 {
				n += k
				h.r.count.hits.Add(1)
				continue
			}
		}
		if f == nil {
			if f, err = h.fetch(p[n:], off+int64(n), small); err != nil {
				return n, err
			}
		}
		ahead()
		k, err := f.read(ctx, p[n:], off+int64(n))
		n += k
		h.r.done(f, off+int64(n))
		if err != nil {
			return n, err
		}
	}
	if n < len(whole) {
		return n, io.EOF
	}
	return n, nil
}

// fetch finds what is in memory or on the way of the byte at off, or asks for it. The caller uses it until done.
func (h *Handle) fetch(p []byte, off int64, small bool) (*fetch, error) {
	r := h.r
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || h.v.handles == 0 {
		return nil, ErrClosed
	}
	f := r.find(h.v, off)
	if f != nil {
		r.count.joined.Add(1)
		r.use(f)
		return f, nil
	}
	r.count.misses.Add(1)
	f = r.begin(h.v, off, small, true)
	r.use(f)
	// The rest of the read is sent for at the same time.
	for at := f.off + f.size; at < off+int64(len(p)); {
		next := r.find(h.v, at)
		if next == nil && (h.v.cached == nil || !h.v.cached.Has(at/r.block)) {
			next = r.begin(h.v, at, small, small)
		}
		if next == nil {
			break
		}
		at = next.off + next.size
	}
	return f, nil
}

// inMemory finds what is in memory as a whole of the byte at off: copying it is less than reading the cache's file. The caller uses it until done.
func (r *Reader) inMemory(v *version, off int64) *fetch {
	if v.fetches.Load() == 0 { // reads of what is cached alone wait for no lock
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.find(v, off)
	if f == nil || !f.done {
		return nil
	}
	r.count.joined.Add(1)
	r.use(f)
	return f
}

// done ends the use of a fetch that was read up to end.
func (r *Reader) done(f *fetch, end int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f.passed = f.passed || end == f.off+f.size
	r.disuse(f)
}

// note takes a read into account. small: a chunk is enough for it.
func (h *Handle) note(off, n int64) (small bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false, ErrClosed
	}
	was := h.pattern.sequential()
	small = h.pattern.note(off, n, h.r.block, h.v.size) && h.r.chunk < h.r.block
	if now := h.pattern.sequential(); now != was {
		h.r.share(now)
	}
	return small, nil
}

// share counts the handles that are read in sequence.
func (r *Reader) share(more bool) {
	if more {
		r.sequential.Add(1)
	} else {
		r.sequential.Add(-1)
	}
}

// ahead has fetched what the pattern foresees.
func (h *Handle) ahead() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return
	}
	r, v, p := h.r, h.v, &h.pattern
	fair := r.memory.limit * 7 / 8 / r.block / max(1, r.sequential.Load())
	from, to := p.window(r.block, v.size, max(1, min(fair, maxAhead)))
	for b := from; b < to; b++ {
		if !h.fetchAhead(b*r.block, false) {
			return // no memory now: the next read tries again
		}
		p.asked = b + 1
	}
	for _, at := range p.strides(v.size) {
		for off := at; off < min(at+p.length, v.size); off += r.chunk {
			if !h.fetchAhead(off, p.small && r.chunk < r.block) {
				return
			}
		}
	}
}

// fetchAhead has a block or chunk fetched that isn't there; false: there is no memory to spare for it.
func (h *Handle) fetchAhead(off int64, small bool) bool {
	r, v := h.r, h.v
	if v.cached != nil && v.cached.Has(off/r.block) {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || v.handles == 0 || r.find(v, off) != nil && (small || v.blocks[off/r.block] != nil) {
		return true
	}
	return r.begin(v, off, small, false) != nil
}

// Complete tells whether every byte of the object is in the cache.
func (h *Handle) Complete() bool { return h.v.cached != nil && h.v.cached.Complete() }

// Check reads all of the cached object that wasn't checked yet, so that Pin may follow; see blockcache.Object.Check.
func (h *Handle) Check(ctx context.Context) error {
	if h.v.cached == nil {
		return blockcache.ErrIncomplete
	}
	return h.v.cached.Check(ctx)
}

// Pin returns the cache's file of a complete and checked object, and keeps it as it is until release; see blockcache.Object.Pin. It is released before the handle is closed.
func (h *Handle) Pin() (f *os.File, release func(), err error) {
	if h.v.cached == nil {
		return nil, nil, blockcache.ErrIncomplete
	}
	return h.v.cached.Pin()
}

// Close ends the handle. Fetches that only it was for are called off.
func (h *Handle) Close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	if h.pattern.sequential() {
		h.r.share(false)
	}
	h.mu.Unlock()
	h.r.mu.Lock()
	defer h.r.mu.Unlock()
	h.r.leave(h.v)
}
