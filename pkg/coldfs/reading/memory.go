package reading

// The memory of blocks. A fetch takes all it needs before its first byte and holds it until nobody uses it and its room is needed: what was just read is likely to be read again, and where the
// cache takes nothing this is all there is of one. Everything here is under Reader.mu.

import (
	"container/list"
	"os"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

type memory struct {
	limit, used int64
	block       int64
	spare       [][]byte   // of block bytes; counted as used by nobody, but with used they are within limit
	idle        *list.List // of *fetch that are done and that nobody uses, the last used first; behind them those that were read to their end and are in the cache
	waiting     []*fetch   // for room, in order
	quiet       bool       // nothing was taken since the last tidy
}

func newMemory(limit, block int64) memory {
	return memory{limit: limit, block: block, idle: list.New()}
}

// take gives a fetch its memory if that needs nobody's who waits for it. One that nobody asked for leaves room for those that somebody will, and what was fetched ahead of others alone.
func (r *Reader) take(f *fetch) bool {
	m := &r.memory
	limit := m.limit
	if !f.demand {
		limit -= max(m.limit/8, m.block)
		if len(m.waiting) > 0 {
			return false
		}
	}
	for e := m.idle.Back(); m.used+f.size > limit && e != nil; {
		old := e.Value.(*fetch)
		e = e.Prev()
		if f.demand || old.kept || old.passed {
			r.detach(old)
		}
	}
	if m.used+f.size > limit {
		return false
	}
	m.quiet = false
	m.used += f.size
	if n := len(m.spare); f.size == m.block && n > 0 {
		f.buf, m.spare = m.spare[n-1], m.spare[:n-1]
		return true
	}
	for over := m.used + int64(len(m.spare))*m.block - m.limit; over > 0 && len(m.spare) > 0; over -= m.block {
		last := len(m.spare) - 1
		dropBuffer(m.spare[last])
		m.spare[last], m.spare = nil, m.spare[:last]
	}
	f.buf = newBuffer(f.size)
	return true
}

// largePage is from which size on, in bytes, memory has a large page in it wherever it begins: those of amd64 have 2 MiB.
const largePage = 4 << 20

// newBuffer is memory of size bytes. The kernel is asked for large pages: a block is then a few page faults instead of thousands, and less to go through, which is done several times.
func newBuffer(size int64) []byte {
	b := make([]byte, size)
	advise(b, unix.MADV_HUGEPAGE)
	return b
}

// dropBuffer gives memory back to the garbage collector, as it was: what it makes of it needn't be resident as a whole.
func dropBuffer(b []byte) { advise(b, unix.MADV_NOHUGEPAGE) }

func advise(b []byte, advice int) {
	if len(b) < largePage {
		return
	}
	page := os.Getpagesize()
	from := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (page - 1)
	_ = unix.Madvise(b[from:from+(len(b)-from)&^(page-1)], advice) // a kernel without large pages does without
}

// wait queues a fetch for memory; f.granted is closed when it has it.
func (r *Reader) wait(f *fetch) {
	f.granted = make(chan struct{})
	r.memory.waiting = append(r.memory.waiting, f)
	r.grant()
}

// unwait takes a fetch out of the queue; false: it has its memory.
func (r *Reader) unwait(f *fetch) bool {
	m := &r.memory
	i := slices.Index(m.waiting, f)
	if i < 0 {
		return false
	}
	m.waiting = slices.Delete(m.waiting, i, i+1)
	r.grant()
	return true
}

// grant gives memory to those that wait, in their order. It follows whatever may have made room.
func (r *Reader) grant() {
	m := &r.memory
	for len(m.waiting) > 0 && r.take(m.waiting[0]) {
		close(m.waiting[0].granted)
		m.waiting = slices.Delete(m.waiting, 0, 1)
	}
}

// use keeps a fetch's memory until disuse.
func (r *Reader) use(f *fetch) {
	f.users++
	if f.idle != nil {
		r.memory.idle.Remove(f.idle)
		f.idle = nil
	}
}

func (r *Reader) disuse(f *fetch) {
	f.users--
	r.settle(f)
	r.grant()
}

// settle decides what becomes of a fetch's memory.
func (r *Reader) settle(f *fetch) {
	if f.users > 0 || !f.done || f.idle != nil {
		return
	}
	if f.detached {
		r.free(f)
		return
	}
	if f.kept && f.passed { // what comes next is needed sooner
		f.used = time.Time{}
		f.idle = r.memory.idle.PushBack(f)
		return
	}
	f.used = time.Now()
	f.idle = r.memory.idle.PushFront(f)
}

// hide lets no new reader find a fetch.
func (f *fetch) hide() {
	f.detached = true
	delete(f.m, f.at)
	f.v.fetches.Add(-1)
}

// detach lets no new reader find a fetch; its memory goes when nobody uses it.
func (r *Reader) detach(f *fetch) {
	if !f.detached {
		f.hide()
	}
	if f.idle != nil {
		r.memory.idle.Remove(f.idle)
		f.idle = nil
	}
	if f.users == 0 && f.done {
		r.free(f)
	}
}

func (r *Reader) free(f *fetch) {
	if f.buf == nil {
		return
	}
	m := &r.memory
	m.used -= f.size
	if f.size == m.block {
		m.spare = append(m.spare, f.buf)
	} else {
		dropBuffer(f.buf)
	}
	f.buf = nil
}

// tidy frees what wasn't used since a time.
func (r *Reader) tidy(since time.Time) {
	m := &r.memory
	for e := m.idle.Back(); e != nil && e.Value.(*fetch).used.Before(since); e = m.idle.Back() {
		r.detach(e.Value.(*fetch))
	}
	if m.quiet {
		for _, b := range m.spare {
			dropBuffer(b)
		}
		m.spare = nil
	}
	m.quiet = true
}
