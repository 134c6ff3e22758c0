package reading

// Fetching one block or chunk. Its bytes can be read from the moment they arrive; who stops waiting stops nobody else's fetch.

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/strata-csi/strata/pkg/s3"
)

const (
	// attempts is how often in a row the rest of an answer is asked for without getting a byte.
	attempts = 5
	// pause is the longest pause before the second of them; it doubles with each further one. The source pauses by itself between its own.
	pause = 100 * time.Millisecond
)

type fetch struct {
	r      *Reader
	v      *version
	ctx    context.Context
	m      map[int64]*fetch // where it is found, at at
	at     int64
	off    int64 // of the object
	size   int64
	first  int64 // where the first reader reads
	small  bool
	demand bool

	// Under Reader.mu.
	buf      []byte
	granted  chan struct{}
	users    int
	done     bool // no request of it runs
	kept     bool // it can be read from the cache
	passed   bool // it was read to its end
	late     bool // it came when the cache was too far behind
	detached bool // it isn't found any more
	idle     *list.Element
	used     time.Time

	mu      sync.Mutex
	got     []int64       // bytes that have arrived, by request
	changed chan struct{} // closed when more has
	waiters int
	err     error
}

// run fetches, from its memory to its place in the cache.
func (f *fetch) run() {
	err := f.fill()
	r := f.r
	r.mu.Lock()
	defer r.mu.Unlock()
	f.done = true
	if err != nil {
		if f.ctx.Err() == nil {
			r.count.failed.Add(1)
		}
		f.fail(err)
		r.detach(f)
	} else {
		r.keep(f)
		r.settle(f)
	}
	r.grant()
}

func (f *fetch) fill() error {
	if err := f.room(); err != nil {
		return err
	}
	if len(f.got) == 1 {
		return f.get(f.ctx, 0)
	}
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	var all sync.WaitGroup
	for k := range f.got {
		// The part that somebody waits for goes first.
		n := (k + int(f.first/requestSize)) % len(f.got)
		all.Go(func() {
			if err := f.get(ctx, n); err != nil {
				f.fail(err) // at once: the others may take long
				cancel()
			}
		})
	}
	all.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// room gets the memory.
func (f *fetch) room() error {
	r := f.r
	r.mu.Lock()
	if f.buf != nil {
		r.mu.Unlock()
		return nil
	}
	r.wait(f)
	r.mu.Unlock()
	select {
	case <-f.granted:
		return nil
	case <-f.ctx.Done():
		r.mu.Lock()
		defer r.mu.Unlock()
		r.unwait(f)
		return context.Cause(f.ctx)
	}
}

// get fetches what request n is for. An answer that breaks off is asked for again from there on; that the version is still the same is part of each request.
func (f *fetch) get(ctx context.Context, n int) error {
	start := int64(n) * requestSize
	size := min(requestSize, f.size-start)
	buf := f.buf[start : start+size]
	got := int64(0)
	for failures := 0; ; {
		before := got
		begun, err := f.request(ctx, start, buf, &got, n)
		if err == nil {
			return nil
		}
		// What the source refuses it has tried often enough itself.
		if !begun || !errors.Is(err, s3.ErrUnavailable) {
			return err
		}
		if got > before {
			failures = 0
		}
		if failures++; failures >= attempts {
			return err
		}
		select {
		case <-time.After(rand.N(pause << (failures - 1))):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		f.r.count.resumed.Add(1)
	}
}

// request asks for what is missing of request n. begun: an answer came, which broke off.
func (f *fetch) request(ctx context.Context, start int64, buf []byte, got *int64, n int) (begun bool, err error) {
	r := f.r
	select {
	case r.gets <- struct{}{}:
		defer func() { <-r.gets }()
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	r.count.requests.Add(1)
	size := int64(len(buf))
	body, err := r.o.Source.Get(ctx, f.v.key, f.v.etag, f.off+start+*got, size-*got)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return false, err
	}
	defer func() { _ = body.Close() }()
	for *got < size {
		k, err := body.Read(buf[*got:])
		if k > 0 {
			*got += int64(k)
			r.count.fetched.Add(uint64(k))
			f.arrived(n, *got)
		}
		if *got == size {
			return true, nil
		}
		if err != nil {
			if ctx.Err() != nil {
				return true, context.Cause(ctx)
			}
			if !errors.Is(err, s3.ErrUnavailable) {
				err = fmt.Errorf("read object %s: %w: the answer ended early: %w", f.v.key, s3.ErrUnavailable, err)
			}
			return true, err
		}
	}
	return true, nil
}

func (f *fetch) arrived(n int, got int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.got[n] = got
	f.wake()
}

func (f *fetch) fail(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil {
		f.err = err
	}
	f.wake()
}

func (f *fetch) wake() {
	if f.waiters > 0 {
		close(f.changed)
		f.changed = make(chan struct{})
		f.waiters = 0
	}
}

// read copies bytes from off of the object as soon as all that p takes of this fetch are there. The caller uses f.
func (f *fetch) read(ctx context.Context, p []byte, off int64) (int, error) {
	from := off - f.off
	to := min(from+int64(len(p)), f.size)
	for {
		f.mu.Lock()
		there, err := f.has(from, to), f.err
		changed := f.changed
		if !there && err == nil {
			f.waiters++
		}
		f.mu.Unlock()
		if there {
			return copy(p, f.buf[from:to]), nil
		}
		if err != nil {
			return 0, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

func (f *fetch) has(from, to int64) bool {
	for n := from / requestSize; n*requestSize < to; n++ {
		if n*requestSize+f.got[n] < min(to, (n+1)*requestSize) {
			return false
		}
	}
	return true
}
