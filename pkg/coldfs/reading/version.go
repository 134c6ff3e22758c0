package reading

// One version of one object, which all its handles share: what is on the way for one is on the way for all. Everything here is under Reader.mu.

import (
	"container/list"
	"context"
	"sync/atomic"

	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
	"github.com/strata-csi/strata/pkg/s3"
)

type versionKey struct {
	key, etag string
	size      int64
}

type version struct {
	versionKey
	cached  *blockcache.Object // nil: no cache
	handles int
	idle    *list.Element // in Reader.idle when there are none
	ctx     context.Context
	cancel  context.CancelFunc
	blocks  map[int64]*fetch // whole blocks by number, in memory or on the way
	chunks  map[int64]*fetch
	random  map[int64]int // chunks asked for at random, by block
	// fetches counts those of blocks and chunks, for who doesn't hold Reader.mu.
	fetches atomic.Int64
}

// promoteAfter is how many chunks of a block are fetched before it is fetched as a whole.
const promoteAfter = 3

// version finds or makes the version of an object, for one more handle.
func (r *Reader) version(o s3.Object) *version {
	k := versionKey{o.Key, o.ETag, o.Size}
	v := r.versions[k]
	if v == nil {
		v = &version{versionKey: k, blocks: map[int64]*fetch{}, chunks: map[int64]*fetch{}, random: map[int64]int{}}
		v.cached = r.cachedObject(v)
		r.versions[k] = v
	}
	if v.idle != nil {
		r.idle.Remove(v.idle)
		v.idle = nil
	}
	if v.handles == 0 {
		v.ctx, v.cancel = context.WithCancel(r.ctx)
	}
	return v
}

// cachedObject opens the version in the cache once more; nil when there is no cache for it.
func (r *Reader) cachedObject(v *version) *blockcache.Object {
	if r.o.Cache == nil {
		return nil
	}
	o, err := r.o.Cache.Object(blockcache.ID{Endpoint: r.o.Endpoint, Bucket: r.o.Bucket, Key: v.key, ETag: v.etag}, v.size)
	if err != nil { // one that can't be kept, which is no reason not to read it
		return nil
	}
	return o
}

// leave is for the end of a handle. With the last, what is still on the way is called off; what is known is kept for a while, as many programs
// open a file for each read.
func (r *Reader) leave(v *version) {
	r.handles--
	if v.handles--; v.handles > 0 || r.closed {
		return
	}
	v.cancel()
	for _, m := range []map[int64]*fetch{v.blocks, v.chunks} {
		for _, f := range m {
			if !f.done {
				f.hide()
			}
		}
	}
	if v.cached != nil {
		v.cached.Idle()
	}
	v.idle = r.idle.PushFront(v)
	if r.idle.Len() > maxClosed {
		r.forget(r.idle.Back().Value.(*version))
		r.grant()
	}
}

// forget ends a version without handles.
func (r *Reader) forget(v *version) {
	r.idle.Remove(v.idle)
	delete(r.versions, v.versionKey)
	for _, m := range []map[int64]*fetch{v.blocks, v.chunks} {
		for _, f := range m {
			r.detach(f)
		}
	}
	if v.cached != nil {
		v.cached.Close()
	}
}

// find is the fetch that has or will have the byte at off, or nil. A chunk comes first: it was asked for because of such a read.
func (r *Reader) find(v *version, off int64) *fetch {
	if f := v.chunks[off/r.chunk]; f != nil {
		return f
	}
	return v.blocks[off/r.block]
}

// begin starts to fetch the block at off, or if small the chunk. Without demand it does so only if there is memory to spare, and returns nil otherwise.
func (r *Reader) begin(v *version, off int64, small, demand bool) *fetch {
	size, m := r.block, v.blocks
	if small {
		size, m = r.chunk, v.chunks
	}
	at := off / size
	f := &fetch{r: r, v: v, m: m, at: at, off: at * size, ctx: v.ctx, demand: demand, first: off - at*size, changed: make(chan struct{})}
	f.size = min(size, v.size-f.off)
	f.small = small
	f.got = make([]int64, (f.size+requestSize-1)/requestSize)
	if !demand {
		if !r.take(f) {
			return nil
		}
		r.count.ahead.Add(1)
	}
	m[at] = f
	v.fetches.Add(1)
	r.work.Go(f.run)
	if small {
		b := off / r.block
		if v.random[b]++; v.random[b] >= promoteAfter && v.blocks[b] == nil && r.begin(v, off, false, false) != nil {
			r.count.promoted.Add(1)
			delete(v.random, b)
		}
	}
	return f
}
