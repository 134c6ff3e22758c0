package blockcache

// Putting a block: its room is taken under the lock of the index, its bytes are written without, and it is there from the moment its word says so.

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
)

// errThere: the block is in the cache, or another process is putting it there.
var errThere = errors.New("the block is there")

// Put keeps a block, whose data must be all of it, and tells whether the cache has it now. It may wait for the disk; nobody who reads needs to wait for it.
// A block that isn't kept is counted, and the reason is in Health when it is one to know.
func (o *Object) Put(block int64, data []byte) (kept bool) {
	c := o.c
	if block < 0 || block >= o.blocks || int64(len(data)) != o.length(uint32(block)) {
		panic(fmt.Sprintf("blockcache: Put of %d bytes as block %d of an object of %d", len(data), block, o.size))
	}
	if o.Has(block) {
		return true
	}
	if c.resting() {
		c.count.refused.Add(1)
		return false
	}
	defer c.caught(faults())
	err := o.put(uint32(block), data)
	switch {
	case err == nil:
		c.count.puts.Add(1)
		c.count.kept.Add(uint64(len(data)))
		c.well()
		return true
	case errors.Is(err, errThere):
		return o.Has(block)
	case errors.Is(err, errNeverFits), errors.Is(err, errOff), errors.Is(err, errGone):
	default:
		c.note(err)
	}
	c.count.refused.Add(1)
	return false
}

func (o *Object) put(block uint32, data []byte) error {
	c, x := o.c, o.c.x
	o.puts.RLock()
	defer o.puts.RUnlock()
	var n uint32
	var word uint64
	var f *dataFile
	err := c.change(func() (err error) {
		n, word, f, err = o.reserve(block, uint32(len(data)))
		return err
	})
	if err != nil {
		return err
	}
	failpoint.Hit("blockcache/put/after-reserve")
	err = o.write(f, n, block, data)
	failpoint.Hit("blockcache/put/after-write")
	return errors.Join(err, c.change(func() error {
		s := &x.slots[n]
		if s.word.Load() != word {
			return fmt.Errorf("%w while it was written", errGone)
		}
		if err != nil {
			return c.evict(n)
		}
		rec, _ := x.find(o.id, recordBlock)
		x.slots[rec].used.Add(1)
		x.head.writing -= x.room(s.length.Load())
		failpoint.Hit("blockcache/put/before-present")
		x.check(n, s.become(statePresent), ^uint32(0))
		failpoint.Hit("blockcache/put/after-present")
		return nil
	}))
}

// write writes the bytes and then their checksums.
func (o *Object) write(f *dataFile, n, block uint32, data []byte) error {
	if _, err := f.WriteAt(data, int64(block)*o.c.o.BlockSize); err != nil {
		return err
	}
	failpoint.Hit("blockcache/put/between-writes")
	var sums [sumsSize]byte
	chunk := int(o.c.o.BlockSize / chunksPerBlock)
	for k := 0; k*chunk < len(data); k++ {
		binary.LittleEndian.PutUint32(sums[4*k:], o.sum(block, data[k*chunk:min((k+1)*chunk, len(data))]))
	}
	_, err := o.c.x.file.WriteAt(sums[:], o.c.x.sums+int64(n)*sumsSize)
	return err
}

// reserve takes a slot and the room of a block, and opens its file. It runs under the lock of the index.
func (o *Object) reserve(block, length uint32) (n uint32, word uint64, f *dataFile, err error) {
	c, x := o.c, o.c.x
	h := x.head
	if at, w := x.find(o.id, block); at != 0 {
		if s := &x.slots[at]; w&stateMask == statePresent || w&stateMask == stateWriting && c.alive(s.proc) {
			return 0, 0, nil, errThere
		}
		if err := c.evict(at); err != nil {
			return 0, 0, nil, err
		}
	}
	if err := c.makeRoom(x.room(length), 2); err != nil {
		return 0, 0, nil, err
	}
	// From here on nothing is given up: the record that is found stays.
	rec, _ := x.find(o.id, recordBlock)
	if rec == 0 {
		if rec, err = o.newRecord(); err != nil {
			return 0, 0, nil, err
		}
	}
	failpoint.Hit("blockcache/put/after-record")
	if f, err = o.open(); err != nil || f == nil {
		c.dropRecord(rec)
		return 0, 0, nil, fmt.Errorf("a data file can't be opened: %w", err)
	}
	// A file that somebody has cut short would be made long again by this block, with a hole where others were.
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return 0, 0, nil, err
	}
	if st.Size != o.size {
		if err := o.discard(); err != nil {
			return 0, 0, nil, err
		}
		return o.reserve(block, length)
	}
	room := x.room(length)
	n = x.take()
	s := &x.slots[n]
	s.a.Store(o.id.a)
	s.b.Store(o.id.b)
	s.block.Store(block)
	s.length.Store(length)
	s.owner, s.proc = c.owner, c.proc
	tick := h.tick.Add(1)
	s.used.Store(tick)
	word = s.become(stateWriting)
	failpoint.Hit("blockcache/put/after-slot")
	h.used.Add(room)
	h.writing += room
	x.owners[s.owner].bytes += room
	x.slots[rec].length.Add(1)
	x.link(n)
	x.push(n, tick)
	return n, word, f, nil
}

// discard gives up every block of the object. It runs under the lock of the index.
func (o *Object) discard() error {
	for block := range uint32(o.blocks) {
		if n, _ := o.c.x.find(o.id, block); n != 0 {
			if err := o.c.evict(n); err != nil {
				return err
			}
		}
	}
	if rec, _ := o.c.x.find(o.id, recordBlock); rec != 0 {
		o.c.dropRecord(rec)
	}
	return nil
}

// newRecord makes the record of an object and then its data file, so that no file is left without a record.
func (o *Object) newRecord() (uint32, error) {
	c, x := o.c, o.c.x
	n := x.take()
	s := &x.slots[n]
	s.a.Store(o.id.a)
	s.b.Store(o.id.b)
	s.block.Store(recordBlock)
	s.length.Store(0)
	s.used.Store(0)
	s.listed, s.older, s.newer = uint64(o.size), uint32(c.o.BlockSize), 0
	s.proc = 0
	s.become(stateRecord)
	x.link(n)
	failpoint.Hit("blockcache/put/before-file")
	if err := o.newFile(); err != nil {
		c.dropRecord(n)
		return 0, err
	}
	return n, nil
}

// newFile makes the data file, in the place of anything that has its name.
func (o *Object) newFile() error {
	name := o.id.String()
	const flags = unix.O_RDWR | unix.O_CREAT | unix.O_EXCL
	f, err := openData(o.c.data, name, flags)
	if errors.Is(err, unix.EEXIST) {
		if err := o.c.removeFile(name); err != nil {
			return err
		}
		f, err = openData(o.c.data, name, flags)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("blockcache/put/after-file")
	return errors.Join(f.Truncate(o.size), f.Close())
}

// dropRecord removes a record that has no block.
func (c *Cache) dropRecord(rec uint32) {
	s := &c.x.slots[rec]
	if s.length.Load() != 0 {
		return
	}
	c.note(c.removeFile(s.id().String()))
	c.x.unlink(rec)
	c.x.give(rec)
}
