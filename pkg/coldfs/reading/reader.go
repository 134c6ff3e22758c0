// Package reading reads objects of an S3 store as files are read: any bytes at any time, in the order of the program that asks. It fetches blocks with parallel ranged requests, ahead of a
// program that reads in sequence or in strides and hardly more than asked of one that reads at random, and keeps them in the node's cache.
//
// Every request names the version (If-Match), so that all bytes of a Handle are of one version; when the store has another by now the error is s3.ErrConflict. What all handles of a Reader
// take together is bounded: memory, requests at once, goroutines.
package reading

import (
	"container/list"
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
	"github.com/strata-csi/strata/pkg/s3"
)

// ErrClosed says that the Reader or the Handle was closed.
var ErrClosed = errors.New("reading has ended")

// Source is where objects come from; *s3.Bucket is one. Get reads n bytes from off of the version etag; the body has exactly n bytes, or ends with an error that wraps
// s3.ErrUnavailable.
type Source interface {
	Get(ctx context.Context, key, etag string, off, n int64) (io.ReadCloser, error)
}

// The defaults of Options.
const (
	DefaultMemory   = 96 << 20
	DefaultParallel = 32
)

const (
	// requestSize is how much of a block one request asks for: two requests for a block of the default size, so that few blocks in memory are many in flight.
	requestSize = 4 << 20
	// chunkSize is what a read at random fetches: as long on its way as the first byte of it, on usual networks.
	chunkSize = 256 << 10
	// maxAhead is how many blocks are fetched ahead of one handle at most.
	maxAhead = 24
	// putters is how many blocks are written to the cache at once.
	putters = 4
	// maxPuts is how many blocks wait for it.
	maxPuts = 1024
	// maxLate is how many blocks in memory are looked at for one that wasn't kept.
	maxLate = 64
	// maxClosed is how many versions are remembered after their last handle was closed.
	maxClosed = 64
	// linger is how long memory is kept that nobody uses.
	linger = 10 * time.Second
)

// Options say what a Reader reads and what it may use.
type Options struct {
	Source Source
	// Endpoint and Bucket name the source in the cache.
	Endpoint, Bucket string
	// Cache keeps blocks; nil: memory alone.
	Cache *blockcache.Cache
	// BlockSize in bytes where there is no cache to say it; 0: blockcache.DefaultBlockSize.
	BlockSize int64
	// Memory is the most bytes that blocks have in memory, over all handles; 0: DefaultMemory. Less than four blocks is taken as four.
	Memory int64
	// Parallel is how many requests run at once; 0: DefaultParallel.
	Parallel int
}

// Stats are counted from New on. Hits, Joined and Misses are of pieces of reads, a piece being what one block has of a read.
type Stats struct {
	Hits         uint64 // in the cache
	Joined       uint64 // in memory, or on the way
	Misses       uint64 // had to be asked for
	BytesServed  uint64 // to the callers of ReadAt
	BytesFetched uint64 // from the source
	Requests     uint64 // to the source
	Resumed      uint64 // requests for the rest of an answer that broke off
	Failed       uint64 // fetches that gave up
	Ahead        uint64 // fetches begun before anybody asked
	Promoted     uint64 // whole blocks fetched because of repeated reads at random in them
	NotKept      uint64 // blocks that the cache didn't get, because it can't keep up
	Memory       int64  // bytes of blocks in memory now
	Handles      int
	Cache        blockcache.Stats
}

type counters struct {
	hits, joined, misses, served, fetched, requests, resumed, failed, ahead, promoted, notKept atomic.Uint64
}

// Reader reads objects of one source. Its methods may be called from many goroutines.
type Reader struct {
	o     Options
	block int64 // bytes
	chunk int64 // bytes; that of a block: no read fetches less
	ctx   context.Context
	end   context.CancelCauseFunc
	gets  chan struct{} // a token per running request
	puts  chan put
	work  sync.WaitGroup
	count counters

	// sequential is how many handles are read in sequence: they share the memory.
	sequential atomic.Int64

	mu       sync.Mutex
	closed   bool
	handles  int
	versions map[versionKey]*version
	idle     *list.List // of *version without handles, the last closed first
	memory   memory
	pending  int64 // bytes on their way into the cache
}

// New makes a Reader.
func New(o Options) *Reader {
	r := &Reader{o: o, block: o.BlockSize, versions: map[versionKey]*version{}, idle: list.New()}
	if o.Cache != nil {
		r.block = o.Cache.BlockSize()
	}
	if r.block <= 0 {
		r.block = blockcache.DefaultBlockSize
	}
	r.chunk = min(chunkSize, r.block)
	if o.Parallel <= 0 {
		o.Parallel = DefaultParallel
	}
	if o.Memory <= 0 {
		o.Memory = DefaultMemory
	}
	r.memory = newMemory(max(o.Memory, 4*r.block), r.block)
	r.ctx, r.end = context.WithCancelCause(context.Background())
	r.gets = make(chan struct{}, o.Parallel)
	r.puts = make(chan put, maxPuts)
	for range putters {
		r.work.Go(r.putting)
	}
	r.work.Go(r.tidying)
	return r
}

// Close ends all requests and waits for them, and for blocks on their way into the cache. Reads that wait get ErrClosed.
func (r *Reader) Close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	r.mu.Unlock()
	r.end(ErrClosed)
	r.work.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range r.versions {
		if v.cached != nil {
			v.cached.Close()
		}
	}
	clear(r.versions)
}

// Stats tells what the Reader did since New.
func (r *Reader) Stats() Stats {
	n := &r.count
	s := Stats{
		Hits: n.hits.Load(), Joined: n.joined.Load(), Misses: n.misses.Load(), BytesServed: n.served.Load(), BytesFetched: n.fetched.Load(), Requests: n.requests.Load(),
		Resumed: n.resumed.Load(), Failed: n.failed.Load(), Ahead: n.ahead.Load(), Promoted: n.promoted.Load(), NotKept: n.notKept.Load(),
	}
	r.mu.Lock()
	s.Memory, s.Handles = r.memory.used, r.handles
	r.mu.Unlock()
	if r.o.Cache != nil {
		s.Cache = r.o.Cache.Stats()
	}
	return s
}

// Open begins reading a version of an object. Nothing is asked of the source yet: who may read the object is for the caller to know.
func (r *Reader) Open(o s3.Object) *Handle {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.handles++
	h := &Handle{r: r, v: r.version(o)}
	h.v.handles++
	return h
}

// tidying gives memory back that nobody uses.
func (r *Reader) tidying() {
	t := time.NewTicker(linger / 2)
	defer t.Stop()
	for {
		select {
		case <-r.ctx.Done():
			return
		case now := <-t.C:
			r.mu.Lock()
			r.tidy(now.Add(-linger))
			r.mu.Unlock()
		}
	}
}
