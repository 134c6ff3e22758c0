package reading

// Which blocks stay in memory, and who is served from it.

import (
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
)

// keptAll waits until so many blocks are in the cache and nobody uses their memory.
func keptAll(t *testing.T, r *Reader, blocks uint64) {
	t.Helper()
	waitFor(t, "the blocks in the cache", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.pending == 0 && r.o.Cache.Stats().Puts == blocks
	})
}

func TestWhatIsInMemoryIsNotReadFromTheCache(t *testing.T) {
	s := newStore(t)
	const block = blockcache.MinBlockSize
	data := content(1, 2*block)
	r := s.reader(t, Options{Cache: newCache(t, blockcache.Options{BlockSize: block})})
	h := open(t, r, s.put(t, "a", data))
	check(t, sequence(t.Context(), h, data, block))
	keptAll(t, r, 2)
	check(t, sequence(t.Context(), h, data, block))
	if n := r.Stats().Cache.BytesServed; n != 0 {
		t.Errorf("%d bytes were read from the cache that are in memory", n)
	}
	forgetMemory(r)
	check(t, sequence(t.Context(), h, data, block))
	if n := r.Stats().Cache.BytesServed; n != 2*block {
		t.Errorf("%d bytes were read from the cache, want all %d, as none are in memory", n, 2*block)
	}
}

func TestBlocksThatWereReadToTheirEndGoFirst(t *testing.T) {
	s := newStore(t)
	const block = blockcache.MinBlockSize
	data := content(1, 5*block)
	r := s.reader(t, Options{Cache: newCache(t, blockcache.Options{BlockSize: block}), Memory: 4 * block})
	o := s.put(t, "a", data)
	// Each with a handle of its own, so that none is ahead of another.
	for _, b := range []int64{1, 2, 3} {
		check(t, read(t.Context(), open(t, r, o), data, b*block, block/2))
	}
	check(t, read(t.Context(), open(t, r, o), data, 0, block))
	keptAll(t, r, 4)
	check(t, read(t.Context(), open(t, r, o), data, 4*block, block/2))
	h := open(t, r, o)
	r.mu.Lock()
	defer r.mu.Unlock()
	for b := range int64(5) {
		if there := h.v.blocks[b] != nil; there != (b != 0) {
			t.Errorf("block %d is in memory: %v; the one that was read last, but to its end, goes first", b, there)
		}
	}
}

// forgetMemory takes all memory away that nobody uses.
func forgetMemory(r *Reader) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for e := r.memory.idle.Back(); e != nil; e = r.memory.idle.Back() {
		r.detach(e.Value.(*fetch))
	}
}
