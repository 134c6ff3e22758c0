package reading

// Blocks on their way into the cache. Readers don't wait for it, nor does what is fetched ahead: with a disk that is slower than the store some blocks are read without being
// kept. They are kept later if they are still in memory by then.

import "github.com/strata-csi/strata/pkg/coldfs/blockcache"

// put is a block to be kept. It holds the object by itself: the last handle may be closed before.
type put struct {
	f      *fetch
	object *blockcache.Object
}

// keep hands a complete block to the cache, under Reader.mu.
func (r *Reader) keep(f *fetch) {
	if f.off%r.block != 0 || f.size != min(r.block, f.v.size-f.off) || f.v.cached == nil {
		return
	}
	if f.late = !r.queue(f); f.late {
		r.count.notKept.Add(1)
	}
}

// queue has a block put; false: too many are under way.
func (r *Reader) queue(f *fetch) bool {
	if r.closed || r.pending+f.size > r.memory.limit/2 || len(r.puts) == cap(r.puts) { // only this sends, under the lock
		return false
	}
	if object := r.cachedObject(f.v); object != nil {
		r.pending += f.size
		r.use(f)
		r.puts <- put{f, object}
	}
	return true
}

// catchUp has blocks put that came too late, the last used first.
func (r *Reader) catchUp() {
	left := maxLate
	for e := r.memory.idle.Front(); e != nil && left > 0; left-- {
		f := e.Value.(*fetch)
		e = e.Next()
		if f.late && !f.detached {
			if !r.queue(f) {
				return
			}
			f.late = false
		}
	}
}

func (r *Reader) putting() {
	for {
		select {
		case p := <-r.puts:
			r.put(p)
		case <-r.ctx.Done():
			for { // what is complete is kept
				select {
				case p := <-r.puts:
					r.put(p)
				default:
					return
				}
			}
		}
	}
}

func (r *Reader) put(p put) {
	kept := p.object.Put(p.f.off/r.block, p.f.buf)
	p.object.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	p.f.kept = p.f.kept || kept
	r.pending -= p.f.size
	r.disuse(p.f)
	r.catchUp()
}
