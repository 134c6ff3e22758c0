// Package blockcache keeps blocks of object versions on a disk of the node. All engines of a node share one directory: what one has read, another finds. The directory
// holds an index, which every process maps into its memory, and one sparse data file per object version with the object's bytes at the object's own offsets, so that a complete file can stand
// for the object (FUSE passthrough).
//
// A cache never makes a read fail: a block that isn't there, can't be read or doesn't have its checksum is a miss. It never holds more bytes than its limit, over all processes, and
// leaves the reserve of the disk free. docs/decisions/0025 says how processes stay out of each other's way.
package blockcache

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

var (
	// ErrInvalid: an option makes no sense.
	ErrInvalid = errors.New("invalid cache option")
	// ErrUnusable: the directory can't hold a cache.
	ErrUnusable = errors.New("unusable cache directory")
	// ErrFull: the disk has no room for a block beside its reserve, or the cache can't give any up.
	ErrFull = errors.New("cache disk is full")
	// ErrFailing: the disk or the index fails; reads go on without what they can't have of the cache.
	ErrFailing = errors.New("cache disk is failing")
	// ErrIncomplete: not every block of the object is in the cache and checked.
	ErrIncomplete = errors.New("object is not complete in the cache")
)

// The sizes that a block may have, in bytes.
const (
	DefaultBlockSize = 8 << 20
	MinBlockSize     = 128 << 10
	MaxBlockSize     = 64 << 20
)

// Options say where a cache is and what it may take. All sizes are in bytes.
type Options struct {
	// Dir is made (mode 0700) when it isn't there. It must be on a local file system with sparse files: ext4, xfs, btrfs or tmpfs. All processes that use it run as one user.
	Dir string
	// Limit is the most that the directory takes of the disk, whichever process fills it.
	Limit int64
	// Reserve is what stays free of the disk, as an unprivileged user sees it: rather than use it the cache shrinks.
	Reserve int64
	// Volume names whose blocks this process puts; Share is the most that blocks of this volume may take, 0: as much as Limit, less than 0: nothing.
	Volume string
	Share  int64
	// BlockSize is a power of two from MinBlockSize to MaxBlockSize; 0: DefaultBlockSize. Processes with other sizes share the limit, but not the blocks.
	BlockSize int64
	// TrimEvery is how often the cache looks whether others have used up the reserve of the disk; 0: 10 s.
	TrimEvery time.Duration
}

func (o *Options) validate() error {
	if o.BlockSize == 0 {
		o.BlockSize = DefaultBlockSize
	}
	if o.TrimEvery == 0 {
		o.TrimEvery = 10 * time.Second
	}
	switch {
	case o.Dir == "":
		return fmt.Errorf("%w: no directory", ErrInvalid)
	case o.Limit <= 0 || o.Reserve < 0:
		return fmt.Errorf("%w: limit %d, reserve %d; the limit must be above 0, the reserve not below", ErrInvalid, o.Limit, o.Reserve)
	case o.Share > 0 && o.Volume == "":
		return fmt.Errorf("%w: a share of %d bytes, but no volume", ErrInvalid, o.Share)
	case o.BlockSize < MinBlockSize || o.BlockSize > MaxBlockSize || o.BlockSize&(o.BlockSize-1) != 0:
		return fmt.Errorf("%w: block size %d; it must be a power of two from %d to %d", ErrInvalid, o.BlockSize, MinBlockSize, MaxBlockSize)
	case o.TrimEvery < 0:
		return fmt.Errorf("%w: trim every %v", ErrInvalid, o.TrimEvery)
	}
	return nil
}

// Stats are counted from Open on, by this process alone; Used is of the directory.
type Stats struct {
	Hits, Misses  uint64 // blocks that ReadAt found, and didn't
	BytesServed   uint64 // by ReadAt
	BytesKept     uint64 // by Put
	Puts, Refused uint64 // blocks kept, and not kept for want of room or because of an error
	Evictions     uint64 // blocks given up for others
	Corrupt       uint64 // blocks that didn't have their checksum
	Errors        uint64 // of the disk or the index
	Used          int64  // bytes, of all processes
	Limit         int64
}

type counters struct {
	hits, misses, served, kept, puts, refused, evictions, corrupt, errors atomic.Uint64
}

// Cache is an open cache. Its methods may be called from many goroutines.
type Cache struct {
	o     Options
	x     *index
	lock  *os.File // bytes of it are locked: the first to change the index, one more by each process as long as it lives
	proc  uint16   // this process's byte
	owner uint16   // this volume's entry in the index
	data  *os.File // the directory of the data files

	mu      sync.Mutex // before the lock of the index, which knows processes only
	off     atomic.Bool
	count   counters
	chunks  sync.Pool // *[]byte of o.BlockSize/chunksPerBlock
	trouble atomic.Pointer[trouble]

	objects struct {
		sync.Mutex
		open   map[id]*Object
		closed bool
	}
	stop    chan struct{}
	stopped chan struct{}
}

// trouble is why blocks aren't kept.
type trouble struct {
	err   error
	until time.Time // nothing is put before; the zero time: at once
}

// Open opens the cache of a directory, or makes it. What can't be read there, or was left by another version of this package, is removed. The first Open after the machine
// started, or after all processes died, looks at each file. An error wraps ErrInvalid or ErrUnusable.
func Open(o Options) (_ *Cache, err error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	c := &Cache{o: o, stop: make(chan struct{}), stopped: make(chan struct{})}
	c.objects.open = map[id]*Object{}
	chunk := o.BlockSize / chunksPerBlock
	c.chunks.New = func() any { b := make([]byte, chunk); return &b }
	defer func() {
		if err != nil {
			c.release()
			err = fmt.Errorf("%w %s: %w", ErrUnusable, o.Dir, err)
		}
	}()
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	if c.lock, err = os.OpenFile(filepath.Join(o.Dir, lockName), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600); err != nil {
		return nil, err
	}
	if err := c.enter(); err != nil {
		return nil, err
	}
	if c.off.Load() { // a fault in between
		return nil, c.Health()
	}
	go c.trimming()
	return c, nil
}

// Close gives the cache up. Objects that are still open remain usable until they are closed.
func (c *Cache) Close() {
	c.objects.Lock()
	if c.objects.closed {
		c.objects.Unlock()
		return
	}
	c.objects.closed = true
	last := len(c.objects.open) == 0
	c.objects.Unlock()
	close(c.stop)
	<-c.stopped
	if last {
		c.leave()
		c.release()
	}
}

// release ends the use of everything; nobody may use the cache any more.
func (c *Cache) release() {
	c.off.Store(true)
	if c.x != nil {
		c.x.close()
	}
	for _, f := range []*os.File{c.data, c.lock} {
		if f != nil {
			_ = f.Close()
		}
	}
}

// BlockSize is in bytes.
func (c *Cache) BlockSize() int64 { return c.o.BlockSize }

// Stats tells what the cache did since Open.
func (c *Cache) Stats() Stats {
	n := &c.count
	s := Stats{
		Hits: n.hits.Load(), Misses: n.misses.Load(), BytesServed: n.served.Load(), BytesKept: n.kept.Load(), Puts: n.puts.Load(), Refused: n.refused.Load(),
		Evictions: n.evictions.Load(), Corrupt: n.corrupt.Load(), Errors: n.errors.Load(), Limit: c.o.Limit,
	}
	s.Used = c.used()
	return s
}

func (c *Cache) used() (n int64) {
	if c.off.Load() {
		return 0
	}
	defer c.caught(faults())
	return int64(c.x.head.used.Load())
}

// Health is nil, or why blocks aren't kept at present: it wraps ErrFull or ErrFailing. Reads aren't touched by it.
func (c *Cache) Health() error {
	if t := c.trouble.Load(); t != nil {
		return t.err
	}
	return nil
}

// note remembers an error of the disk, after which no block is put for a while: a disk that fails is slow at it.
func (c *Cache) note(err error) {
	if err == nil {
		return
	}
	t := &trouble{err: err}
	switch {
	case errors.Is(err, errDetached):
		c.off.Store(true)
		t.err = fmt.Errorf("%w: %s: %w", ErrFailing, c.o.Dir, err)
	case errors.Is(err, ErrFull):
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EDQUOT):
		t.err, t.until = fmt.Errorf("%w: %w", ErrFull, err), time.Now().Add(time.Second)
	default:
		c.count.errors.Add(1)
		t.err, t.until = fmt.Errorf("%w: %w", ErrFailing, err), time.Now().Add(10*time.Second)
	}
	c.trouble.Store(t)
}

// well forgets the last error.
func (c *Cache) well() {
	if c.trouble.Load() != nil && !c.off.Load() {
		c.trouble.Store(nil)
	}
}

// resting: no block is put at present.
func (c *Cache) resting() bool {
	t := c.trouble.Load()
	return c.off.Load() || t != nil && time.Now().Before(t.until)
}
