package blockcache

// Reading: an object version and its blocks that are here. No lock is taken for it; see index.go for what makes that safe.

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// ID names one version of an object's content. Bytes of an ID are never served for another.
type ID struct{ Endpoint, Bucket, Key, ETag string }

// hash is a SHA-256, shortened: that two versions meet by chance or by effort is out of the question. The lengths keep ("ab","c") from being ("a","bc").
func (v ID) hash(size, blockSize int64) id {
	h := sha256.New()
	for _, s := range []string{v.Endpoint, v.Bucket, v.Key, v.ETag} {
		_ = binary.Write(h, binary.BigEndian, uint64(len(s)))
		h.Write([]byte(s))
	}
	_ = binary.Write(h, binary.BigEndian, [2]int64{size, blockSize})
	sum := h.Sum(nil)
	return id{binary.BigEndian.Uint64(sum), binary.BigEndian.Uint64(sum[8:])}
}

// Object is one version of an object as the cache knows it. Its methods may be called from many goroutines, until Close.
type Object struct {
	c      *Cache
	id     id
	size   int64
	blocks int64
	users  int // under c.objects
	file   atomic.Pointer[dataFile]
	puts   sync.RWMutex // read by each that uses the file to write
}

// dataFile is an open data file; it is the object's as long as the record's word is the same.
type dataFile struct {
	*os.File
	rec  uint32
	word uint64
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Object opens a version of size bytes; it needs no block of it to be there. The same version is the same *Object, which the last Close ends. The error is
// ErrInvalid when size can't be.
func (c *Cache) Object(v ID, size int64) (*Object, error) {
	blocks := (size + c.o.BlockSize - 1) / c.o.BlockSize
	if size < 0 || v.ETag == "" || blocks >= int64(recordBlock) {
		return nil, fmt.Errorf("%w: an object of %d bytes with the ETag %q", ErrInvalid, size, v.ETag)
	}
	i := v.hash(size, c.o.BlockSize)
	c.objects.Lock()
	defer c.objects.Unlock()
	if c.objects.closed {
		return nil, errOff
	}
	o := c.objects.open[i]
	if o == nil {
		o = &Object{c: c, id: i, size: size, blocks: blocks}
		c.objects.open[i] = o
	}
	o.users++
	return o, nil
}

// Close ends one use of the object.
func (o *Object) Close() {
	c := o.c
	c.objects.Lock()
	o.users--
	last := o.users == 0
	if last {
		delete(c.objects.open, o.id)
	}
	release := last && c.objects.closed && len(c.objects.open) == 0
	c.objects.Unlock()
	if last {
		if f := o.file.Swap(nil); f != nil {
			_ = f.Close()
		}
	}
	if release {
		c.leave()
		c.release()
	}
}

// Size is in bytes.
func (o *Object) Size() int64 { return o.size }

// ReadAt reads from off what is there without a gap and returns how many bytes that is. Fewer than len(p) mean that the block of the next byte isn't in the cache, or that the
// object ends.
func (o *Object) ReadAt(p []byte, off int64) (n int) {
	c := o.c
	if c.off.Load() || off < 0 {
		return 0
	}
	defer c.caught(faults())
	for n < len(p) && off+int64(n) < o.size {
		pos := off + int64(n)
		block := pos / c.o.BlockSize
		end := min((block+1)*c.o.BlockSize, o.size)
		want := int(min(int64(len(p)-n), end-pos))
		got := o.readBlock(p[n:n+want], uint32(block), pos-block*c.o.BlockSize)
		n += got
		if got < want {
			c.count.misses.Add(1)
			break
		}
		c.count.hits.Add(1)
	}
	c.count.served.Add(uint64(n))
	return n
}

// Has tells whether a block is in the cache, and no more: it may be gone, or not have its checksum, when it is read.
func (o *Object) Has(block int64) (there bool) {
	if o.c.off.Load() || block < 0 || block >= o.blocks {
		return false
	}
	defer o.c.caught(faults())
	n, w := o.c.x.find(o.id, uint32(block))
	return n != 0 && w&stateMask == statePresent
}

// readBlock reads from within a block, which p doesn't leave. It returns len(p), or less where a checksum is wrong or the block goes away.
func (o *Object) readBlock(p []byte, block uint32, from int64) int {
	c, x := o.c, o.c.x
	n, word := x.find(o.id, block)
	if n == 0 || word&stateMask != statePresent {
		return 0
	}
	s := &x.slots[n]
	if int64(s.length.Load()) != o.length(block) {
		return 0
	}
	f, err := o.open()
	if err != nil {
		c.lost(o, n, word, err)
		return 0
	}
	if f == nil {
		return 0
	}
	if now := x.head.tick.Load() + 1; s.used.Load() != now {
		s.used.Store(now) // should the slot be another's by now, that one is kept a little longer
	}
	start := int64(block) * c.o.BlockSize
	chunk := c.o.BlockSize / chunksPerBlock
	checked := x.checked(n, word)
	done := 0
	for done < len(p) {
		at := from + int64(done)
		k := at / chunk
		stop := min((k+1)*chunk, from+int64(len(p)))
		if checked&(1<<k) == 0 {
			if err := o.readUnchecked(p[done:done+int(stop-at)], f, n, word, block, at); err != nil {
				c.lost(o, n, word, err)
				return done
			}
			done += int(stop - at)
			continue
		}
		for stop < from+int64(len(p)) && checked&(1<<(stop/chunk)) != 0 {
			stop = min(stop+chunk, from+int64(len(p)))
		}
		part := p[done : done+int(stop-at)]
		if _, err := f.ReadAt(part, start+at); err != nil {
			c.lost(o, n, word, err)
			return done
		}
		if s.word.Load() != word {
			return done
		}
		done += len(part)
	}
	return done
}

var errChecksum = errors.New("a block doesn't have its checksum")

// readUnchecked reads from one chunk, after reading it all and comparing it with its checksum.
func (o *Object) readUnchecked(p []byte, f *dataFile, n uint32, word uint64, block uint32, at int64) error {
	c, x := o.c, o.c.x
	chunk := c.o.BlockSize / chunksPerBlock
	k := at / chunk
	size := min(chunk, o.length(block)-k*chunk)
	whole := p
	if int64(len(p)) < size {
		b := c.chunks.Get().(*[]byte)
		defer c.chunks.Put(b)
		whole = (*b)[:size]
	}
	if _, err := f.ReadAt(whole, int64(block)*c.o.BlockSize+k*chunk); err != nil {
		return err
	}
	var sum [4]byte
	if _, err := x.file.ReadAt(sum[:], x.sums+int64(n)*sumsSize+k*4); err != nil {
		return err
	}
	right := binary.LittleEndian.Uint32(sum[:]) == o.sum(block, whole)
	if x.slots[n].word.Load() != word {
		return errGone
	}
	if !right {
		return errChecksum
	}
	if len(whole) != len(p) {
		copy(p, whole[at-k*chunk:])
	}
	x.check(n, word, 1<<k)
	return nil
}

// errGone: the block was given up while it was read.
var errGone = errors.New("the block was given up")

// lost is told of a block that couldn't be read. One that is there no more is nothing; of another the cache is rid.
func (c *Cache) lost(o *Object, n uint32, word uint64, err error) {
	if errors.Is(err, errGone) || errors.Is(err, os.ErrClosed) || c.x.slots[n].word.Load() != word {
		return
	}
	if errors.Is(err, errChecksum) {
		c.count.corrupt.Add(1)
	} else {
		c.count.errors.Add(1)
	}
	c.drop(n, word)
}

// drop gives a block up that is of no use, unless that meant waiting: this is part of a read.
func (c *Cache) drop(n uint32, word uint64) {
	err := c.tryChange(func() error {
		if c.x.slots[n].word.Load() != word {
			return nil
		}
		return c.evict(n)
	})
	if err != nil && !errors.Is(err, errPinned) && !errors.Is(err, errOff) && !errors.Is(err, errBusy) {
		c.note(err)
	}
}

// length is how many bytes a block has.
func (o *Object) length(block uint32) int64 {
	return min(o.c.o.BlockSize, o.size-int64(block)*o.c.o.BlockSize)
}

// sum is the checksum of a chunk. It begins with the object and the block, so that bytes are never right at another's place.
func (o *Object) sum(block uint32, chunk []byte) uint32 {
	return crc32.Update(uint32(o.id.b)^block*0x9e3779b1, castagnoli, chunk)
}

// checked are the chunks of a block that this process has checked.
func (x *index) checked(n uint32, word uint64) uint32 {
	v := x.verified[n].Load()
	if uint32(v>>32) != uint32(word>>stateBits) {
		return 0
	}
	return uint32(v)
}

func (x *index) check(n uint32, word uint64, chunks uint32) {
	for {
		v := x.verified[n].Load()
		now := word >> stateBits << 32
		if v>>32 == now>>32 {
			now = v
		}
		if x.verified[n].CompareAndSwap(v, now|uint64(chunks)) {
			return
		}
	}
}

// open returns the data file, or nil when there is none.
func (o *Object) open() (*dataFile, error) {
	x := o.c.x
	for {
		old := o.file.Load()
		if old != nil && x.slots[old.rec].word.Load() == old.word {
			return old, nil
		}
		rec, word := x.find(o.id, recordBlock)
		if rec == 0 || word&stateMask != stateRecord {
			return nil, nil
		}
		fd, err := openData(o.c.data, o.id.String(), unix.O_RDWR)
		if err != nil {
			return nil, err
		}
		f := &dataFile{fd, rec, word}
		if x.slots[rec].word.Load() != word {
			_ = f.Close()
			return nil, nil
		}
		if o.file.CompareAndSwap(old, f) {
			if old != nil {
				_ = old.Close()
			}
			return f, nil
		}
		_ = f.Close()
	}
}

func openData(dir *os.File, name string, flags int) (*os.File, error) {
	for {
		fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("open a data file: %w", err)
		}
		return os.NewFile(uintptr(fd), name), nil
	}
}

// Complete tells whether every block is in the cache. An empty object never is: there is nothing to have.
func (o *Object) Complete() (complete bool) {
	if o.c.off.Load() {
		return false
	}
	defer o.c.caught(faults())
	rec, word := o.c.x.find(o.id, recordBlock)
	if rec == 0 || word&stateMask != stateRecord {
		return false
	}
	s := &o.c.x.slots[rec]
	complete = int64(s.used.Load()) == o.blocks
	return complete && s.word.Load() == word
}

// Check reads all that this process hasn't checked yet, so that Pin may follow. The error is ErrIncomplete, or the context's.
func (o *Object) Check(ctx context.Context) (err error) {
	defer o.c.caught(faults())
	chunk := o.c.o.BlockSize / chunksPerBlock
	b := make([]byte, 1)
	err = ErrIncomplete
	if !o.Complete() {
		return err
	}
	for block := range o.blocks {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n, word := o.c.x.find(o.id, uint32(block))
		if n == 0 || word&stateMask != statePresent {
			return err
		}
		done := o.c.x.checked(n, word)
		for k := int64(0); k*chunk < o.length(uint32(block)); k++ {
			if done&(1<<k) == 0 && o.readBlock(b, uint32(block), k*chunk) != 1 {
				return err
			}
		}
	}
	return nil
}
