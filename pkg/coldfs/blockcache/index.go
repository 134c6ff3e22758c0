package blockcache

// The index: a file of fixed layout that every process maps. A slot describes one block, or one object version that has blocks ("record"). What a slot says of itself is all that
// counts; chains, lists and sums are made of it again when a process died while it changed them (repair.go).
//
//	header | owners | buckets | slots | checksums
//
// Slots are found without a lock: a chain that changes meanwhile leads to nothing or to a wrong slot, which its id tells. A slot's word changes whenever its block does, so that who read a block
// and finds the same word afterwards has read that block. The checksums aren't mapped: they are needed once per block and process.

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	indexName = "index"
	lockName  = "lock"
	dataName  = "data-" // and the index's name in hex
	magic     = "strata blocks 1\n"

	headerSize     = 4096
	ownerSize      = 32
	owners         = 512 // volumes of a node that are told apart; more share entry 0
	slotSize       = 64
	chunksPerBlock = 32 // a checksum is of one chunk, so that a small read needn't check a whole block
	sumsSize       = 4 * chunksPerBlock
	minSlots       = 1 << 10
	maxSlots       = 1 << 22
	// roomPerSlot decides how many slots an index has: enough for files of 128 KiB, which take two.
	roomPerSlot = 64 << 10
	// recordBlock is the block number of a record.
	recordBlock = ^uint32(0)
)

// What a slot is, in the low bits of its word; the bits above count its changes.
const (
	stateFree    = 0
	stateWriting = 1 // bytes are being written by process proc
	statePresent = 2
	stateLeaving = 3 // bytes are being removed
	stateRecord  = 4
	stateBits    = 3
	stateMask    = 1<<stateBits - 1
)

// header is at the beginning of the file. Fields that aren't atomic are used under the lock of the index alone.
type header struct {
	magic [16]byte
	name  [16]byte // of this index, at random; of its data directory
	boot  [16]byte // the boot of the machine that the index was last looked through in
	slots uint64
	unit  uint64        // bytes in which the file system allocates
	dirty atomic.Uint32 // the index is being changed: whoever finds it so holding the lock repairs first
	clean uint32        // 1: nobody uses the index, and the last who did has closed it
	tick  atomic.Uint64 // counts puts; the time of the LRU
	used  atomic.Uint64 // bytes: the room of all slots and of the index itself
	// writing is the room of the slots that are being written; some of it is missing from what the file system says is used.
	writing uint64
	grown   uint64 // slots that have their room on the disk; touching others could end the process
	fresh   uint64 // slots behind were never used
	free    uint32 // first of the list of slots that were
}

// owner is a volume whose blocks are counted by themselves; its list has them from the one that came last to the one that came first.
type owner struct {
	hash       uint64
	bytes      uint64
	head, tail uint32
	_          uint64
}

// slot is a block or a record. Fields that aren't atomic are used under the lock of the index alone.
type slot struct {
	word   atomic.Uint64
	a, b   atomic.Uint64 // the id of the object version
	used   atomic.Uint64 // the tick of the last use; of a record: how many of its blocks are present
	listed uint64        // the tick at which it came to the head of its list; of a record: bytes of the object
	block  atomic.Uint32
	length atomic.Uint32 // bytes; of a record: how many slots its blocks have
	next   atomic.Uint32 // in the chain of its bucket, or in the list of free slots
	older  uint32        // in its owner's list; of a record: bytes of a block
	newer  uint32        // in its owner's list; of a record, in a repair: what its blocks take of the disk, in header.unit
	owner  uint16
	proc   uint16 // who writes it; of a record: wasPinned or 0
}

// The layout is shared by processes: these don't compile when it changes by accident.
var (
	_ = [1]struct{}{}[unsafe.Sizeof(slot{})-slotSize]
	_ = [1]struct{}{}[unsafe.Sizeof(owner{})-ownerSize]
	_ = [unsafe.Sizeof([headerSize]byte{}) - unsafe.Sizeof(header{})]struct{}{}
)

// id names an object version and a block size.
type id struct{ a, b uint64 }

func (i id) String() string { return fmt.Sprintf("%016x%016x", i.a, i.b) }

// parseID is the reverse of String.
func parseID(name string) (i id, ok bool) {
	var b [16]byte
	if n, err := hex.Decode(b[:], []byte(name)); err != nil || n != len(b) {
		return id{}, false
	}
	i = id{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
	return i, i.String() == name
}

type index struct {
	file     *os.File
	memory   []byte
	head     *header
	owners   []owner
	buckets  []atomic.Uint32
	slots    []slot
	sums     int64 // offset of the checksums
	verified []atomic.Uint64
	anon     []byte // holds verified: by slot, the changes of its word (32 bits) and the chunks that this process has checked
}

func indexLayout(slots uint64) (bucketsAt, slotsAt, sumsAt, size int64) {
	bucketsAt = headerSize + owners*ownerSize
	slotsAt = bucketsAt + int64(slots)*4
	sumsAt = slotsAt + int64(slots)*slotSize
	return bucketsAt, slotsAt, sumsAt, sumsAt + int64(slots)*sumsSize
}

// slotsFor is how many slots an index for limit bytes has: a power of two.
func slotsFor(limit int64) uint64 {
	n := uint64(minSlots)
	for n < maxSlots && int64(n)*roomPerSlot < limit {
		n *= 2
	}
	return n
}

// step is how many slots get room on the disk at once.
func step(slots uint64) uint64 { return max(256, slots/64) }

// indexRoom is what an index with that many grown slots takes of the disk, the directories around it included.
func indexRoom(slots, grown uint64) uint64 {
	_, slotsAt, _, _ := indexLayout(slots)
	return uint64(slotsAt) + grown*(slotSize+sumsSize) + 32<<10
}

// createIndex writes an empty index beside the place of the one in dir and puts it there.
func createIndex(dir string, slots, unit uint64) error {
	_, _, _, size := indexLayout(slots)
	temp := filepath.Join(dir, indexName+".new")
	if err := os.RemoveAll(temp); err != nil {
		return err
	}
	f, err := os.OpenFile(temp, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close(); _ = os.Remove(temp) }()
	if err := f.Truncate(size); err != nil {
		return err
	}
	h := header{slots: slots, unit: unit, grown: step(slots), fresh: 1}
	copy(h.magic[:], magic)
	if _, err := rand.Read(h.name[:]); err != nil {
		return err
	}
	if err := allocate(f, slots, h.grown); err != nil {
		return err
	}
	h.used.Store(indexRoom(slots, h.grown))
	if _, err := f.WriteAt((*[unsafe.Sizeof(h)]byte)(unsafe.Pointer(&h))[:], 0); err != nil {
		return err
	}
	if err := os.Mkdir(filepath.Join(dir, dataName+hex.EncodeToString(h.name[:])), 0o700); err != nil {
		return err
	}
	return os.Rename(temp, filepath.Join(dir, indexName))
}

// allocate gives the index's first grown slots their room on the disk, so that using them can't fail for want of it.
func allocate(f *os.File, slots, grown uint64) error {
	_, slotsAt, sumsAt, _ := indexLayout(slots)
	fd := int(f.Fd())
	if err := fallocate(fd, 0, 0, slotsAt+int64(grown)*slotSize); err != nil {
		return fmt.Errorf("allocate the index: %w", err)
	}
	if err := fallocate(fd, unix.FALLOC_FL_KEEP_SIZE, sumsAt, int64(grown)*sumsSize); err != nil {
		return fmt.Errorf("allocate the index: %w", err)
	}
	return nil
}

var errForeignIndex = errors.New("not an index of this version")

// openIndex maps the index of dir; errForeignIndex: what is there is none.
func openIndex(dir string) (_ *index, err error) {
	f, err := os.OpenFile(filepath.Join(dir, indexName), os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	x := &index{file: f}
	defer func() {
		if err != nil {
			x.close()
		}
	}()
	var h header
	n, err := f.ReadAt((*[unsafe.Sizeof(h)]byte)(unsafe.Pointer(&h))[:], 0)
	if err != nil && n == 0 {
		return nil, fmt.Errorf("%w: %w", errForeignIndex, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	bucketsAt, slotsAt, sumsAt, size := indexLayout(h.slots)
	if string(h.magic[:]) != magic || h.slots < minSlots || h.slots > maxSlots || h.slots&(h.slots-1) != 0 || info.Size() != size || !info.Mode().IsRegular() ||
		h.grown < 1 || h.grown > h.slots || h.unit < 512 || h.unit > 1<<20 {
		return nil, errForeignIndex
	}
	if x.memory, err = unix.Mmap(int(f.Fd()), 0, int(sumsAt), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, fmt.Errorf("map the index: %w", err)
	}
	if x.anon, err = unix.Mmap(-1, 0, int(h.slots)*8, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
		return nil, fmt.Errorf("allocate memory for the index: %w", err)
	}
	x.sums = sumsAt
	x.head = (*header)(unsafe.Pointer(&x.memory[0]))
	x.owners = unsafe.Slice((*owner)(unsafe.Pointer(&x.memory[headerSize])), owners)
	x.buckets = unsafe.Slice((*atomic.Uint32)(unsafe.Pointer(&x.memory[bucketsAt])), h.slots)
	x.slots = unsafe.Slice((*slot)(unsafe.Pointer(&x.memory[slotsAt])), h.slots)
	x.verified = unsafe.Slice((*atomic.Uint64)(unsafe.Pointer(&x.anon[0])), h.slots)
	return x, nil
}

func (x *index) close() {
	if x.memory != nil {
		_ = unix.Munmap(x.memory)
		x.memory = nil
	}
	if x.anon != nil {
		_ = unix.Munmap(x.anon)
		x.anon = nil
	}
	_ = x.file.Close()
}

// faults makes touching a page of the index that can't be read a panic of this goroutine instead of the end of the process; it goes with caught.
func faults() bool { return debug.SetPanicOnFault(true) }

// caught is deferred by all that touches the index from outside: when the index can't be read the cache is off.
func (c *Cache) caught(before bool) {
	r := recover()
	debug.SetPanicOnFault(before)
	if r == nil {
		return
	}
	// runtime.Error of a fault has the address; https://pkg.go.dev/runtime/debug#SetPanicOnFault.
	f, ok := r.(interface{ Addr() uintptr })
	if !ok || c.x == nil || len(c.x.memory) == 0 {
		panic(r)
	}
	if start := uintptr(unsafe.Pointer(&c.x.memory[0])); f.Addr() < start || f.Addr() >= start+uintptr(len(c.x.memory)) {
		panic(r)
	}
	c.note(fmt.Errorf("%w: the index can't be read", errDetached))
}

func fallocate(fd int, mode uint32, off, n int64) error {
	for {
		if err := unix.Fallocate(fd, mode, off, n); err != unix.EINTR {
			return err
		}
	}
}

// bucketOf spreads the blocks of an id, which is a hash already.
func (x *index) bucketOf(i id, block uint32) *atomic.Uint32 {
	h := (i.a ^ uint64(block)*0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
	return &x.buckets[(h>>32)&uint64(len(x.buckets)-1)]
}

// maxChain ends a search in a chain that another process is changing, or that is broken.
const maxChain = 4096

// find returns the slot of a block and its word, or 0. Without the lock of the index it may miss one that is there.
func (x *index) find(i id, block uint32) (n uint32, word uint64) {
	n = x.bucketOf(i, block).Load()
	for range maxChain {
		if n == 0 || int(n) >= len(x.slots) {
			return 0, 0
		}
		s := &x.slots[n]
		word = s.word.Load()
		if s.block.Load() == block && s.a.Load() == i.a && s.b.Load() == i.b && word&stateMask != stateFree && s.word.Load() == word {
			return n, word
		}
		n = s.next.Load()
	}
	return 0, 0
}

func (x *index) link(n uint32) {
	s := &x.slots[n]
	b := x.bucketOf(s.id(), s.block.Load())
	s.next.Store(b.Load())
	b.Store(n)
}

func (x *index) unlink(n uint32) {
	s := &x.slots[n]
	p := x.bucketOf(s.id(), s.block.Load())
	for range maxChain {
		switch p.Load() {
		case n:
			p.Store(s.next.Load())
			return
		case 0:
			return
		}
		p = &x.slots[p.Load()].next
	}
}

// push puts a slot at the head of its owner's list.
func (x *index) push(n uint32, tick uint64) {
	s := &x.slots[n]
	o := &x.owners[s.owner]
	s.listed, s.older, s.newer = tick, o.head, 0
	if o.head != 0 {
		x.slots[o.head].newer = n
	} else {
		o.tail = n
	}
	o.head = n
}

func (x *index) pull(n uint32) {
	s := &x.slots[n]
	o := &x.owners[s.owner]
	if s.newer != 0 {
		x.slots[s.newer].older = s.older
	} else {
		o.head = s.older
	}
	if s.older != 0 {
		x.slots[s.older].newer = s.newer
	} else {
		o.tail = s.newer
	}
	s.older, s.newer = 0, 0
}

// take returns a free slot, or 0.
func (x *index) take() uint32 {
	if n := x.head.free; n != 0 {
		x.head.free = x.slots[n].next.Load()
		return n
	}
	if n := x.head.fresh; n < x.head.grown {
		x.head.fresh++
		return uint32(n)
	}
	return 0
}

// give makes a slot free.
func (x *index) give(n uint32) {
	s := &x.slots[n]
	s.become(stateFree)
	s.next.Store(x.head.free)
	x.head.free = n
}

func (s *slot) id() id { return id{s.a.Load(), s.b.Load()} }

func (s *slot) state() uint64 { return s.word.Load() & stateMask }

// become changes the state and returns the new word.
func (s *slot) become(state uint64) uint64 {
	w := (s.word.Load()>>stateBits+1)<<stateBits | state
	s.word.Store(w)
	return w
}

// room is what n bytes of a block take of the disk at most. The file system's own records of them, extents and the name, are one unit.
func (x *index) room(n uint32) uint64 {
	u := x.head.unit
	return (uint64(n)+u-1)/u*u + u
}
