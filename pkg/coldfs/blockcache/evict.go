package blockcache

// Giving blocks up: which, when, and how it is done so that no reader takes a hole for bytes. Everything here runs under the lock of the index.

import (
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/failpoint"
)

// errNeverFits: the limits are too small for a block, which is no trouble but the wish of who set them.
var errNeverFits = errors.New("the block is larger than the cache may be")

// errPinned: the block's file stands for its object somewhere and may not lose a byte.
var errPinned = errors.New("the file is pinned")

// maxLooks is how many blocks are looked at before a search for one to give up ends. The search goes on from there the next time.
const maxLooks = 64

// makeRoom gives blocks up until need bytes and slots fit; ErrFull when they can't.
func (c *Cache) makeRoom(need uint64, slots int) error {
	x, h := c.x, c.x.head
	if c.o.Share < 0 || c.o.Share > 0 && need > uint64(c.o.Share) || x.indexRoom()+need > uint64(c.o.Limit) {
		return errNeverFits
	}
	for {
		mine := c.o.Share > 0 && c.owner != 0 && x.owners[c.owner].bytes+need > uint64(c.o.Share)
		short, err := c.diskShort(need)
		if err != nil {
			return err
		}
		slotsShort := !x.haveSlots(slots)
		if slotsShort && !mine && !short && c.grow(need) {
			continue
		}
		if !mine && !short && !slotsShort && h.used.Load()+need <= uint64(c.o.Limit) {
			return nil
		}
		if err := c.evictOne(mine); err != nil {
			if short {
				return fmt.Errorf("%w (the disk is down to its reserve of %d bytes)", err, c.o.Reserve)
			}
			return err
		}
	}
}

// diskShort: need bytes more would touch the reserve. What is being written may be counted twice, which errs on the safe side.
func (c *Cache) diskShort(need uint64) (bool, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(c.data.Fd()), &st); err != nil {
		return false, err
	}
	return st.Bavail*uint64(st.Bsize) < uint64(c.o.Reserve)+c.x.head.writing+need, nil
}

func (x *index) indexRoom() uint64 { return indexRoom(x.head.slots, x.head.grown) }

func (x *index) haveSlots(n int) bool {
	at := x.head.free
	for ; n > 0 && at != 0; n-- {
		at = x.slots[at].next.Load()
	}
	return uint64(n) <= x.head.grown-x.head.fresh
}

// grow gives more slots their room on the disk, if that and need fit.
func (c *Cache) grow(need uint64) bool {
	x, h := c.x, c.x.head
	grown := min(h.grown+step(h.slots), h.slots)
	more := (grown - h.grown) * (slotSize + sumsSize)
	if more == 0 || h.used.Load()+more+need > uint64(c.o.Limit) {
		return false
	}
	if short, err := c.diskShort(more + need); err != nil || short {
		return false
	}
	if err := allocate(x.file, h.slots, grown); err != nil {
		c.note(err)
		return false
	}
	h.used.Add(more)
	h.grown = grown
	return true
}

// evictOne gives up the block that was used longest ago, of this volume alone if mine.
func (c *Cache) evictOne(mine bool) error {
	x, h := c.x, c.x.head
	for looks := maxLooks; looks > 0; {
		n := uint32(0)
		if mine {
			n = x.oldest(c.owner, &looks)
		} else {
			age := uint64(math.MaxUint64)
			for o := range x.owners {
				if at := x.oldest(uint16(o), &looks); at != 0 && x.slots[at].listed < age {
					n, age = at, x.slots[at].listed
				}
			}
		}
		if n == 0 {
			break
		}
		looks--
		s := &x.slots[n]
		if s.state() == stateWriting && c.alive(s.proc) {
			x.pull(n)
			x.push(n, h.tick.Load())
			continue
		}
		switch err := c.evict(n); {
		case err == nil:
			c.count.evictions.Add(1)
			return nil
		case errors.Is(err, errPinned):
			x.pull(n)
			x.push(n, h.tick.Load())
		default:
			return err
		}
	}
	return fmt.Errorf("%w: nothing can be given up", ErrFull)
}

// oldest is the last block of an owner's list, after those that were used since they came to the head have come there again.
func (x *index) oldest(owner uint16, looks *int) uint32 {
	for {
		n := x.owners[owner].tail
		if n == 0 {
			return 0
		}
		s := &x.slots[n]
		used := s.used.Load()
		if used <= s.listed || *looks <= 0 {
			return n
		}
		*looks--
		x.pull(n)
		x.push(n, used)
	}
}

// evict removes a block's bytes and frees its slot. The word changes before a byte goes: who read the block and finds its word unchanged has read its bytes.
func (c *Cache) evict(n uint32) error {
	x := c.x
	s := &x.slots[n]
	i := s.id()
	rec, _ := x.find(i, recordBlock)
	fd, err := unix.Openat(int(c.data.Fd()), i.String(), unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	switch {
	case err == unix.ENOENT || err == unix.ELOOP || err == unix.EISDIR: // somebody removed it, or put something else there
		fd = -1
	case err != nil:
		return fmt.Errorf("open a data file: %w", err)
	default:
		defer func() { _ = unix.Close(fd) }()
		if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err == unix.EWOULDBLOCK {
			return errPinned
		} else if err != nil {
			return fmt.Errorf("lock a data file: %w", err)
		}
		if rec != 0 && x.slots[rec].proc == wasPinned {
			c.objects.Lock()
			o := c.objects.open[i]
			c.objects.Unlock()
			if o != nil {
				o.Idle()
			}
			if alone(fd) != nil {
				return errPinned
			}
		}
	}
	was := s.state()
	s.become(stateLeaving)
	if was == stateWriting {
		x.head.writing -= x.room(s.length.Load())
	}
	if was == statePresent && rec != 0 {
		x.slots[rec].used.Add(^uint64(0))
	}
	failpoint.Hit("blockcache/evict/after-mark")
	last := rec == 0 || x.slots[rec].length.Load() <= 1
	if fd >= 0 {
		if last {
			// Not only unlinked: a process that has it open would keep its bytes on the disk.
			err = unix.Ftruncate(fd, 0)
		} else {
			size := int64(x.slots[rec].older)
			err = fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(s.block.Load())*size, size)
		}
		if err != nil {
			return fmt.Errorf("free a block: %w", err)
		}
	}
	failpoint.Hit("blockcache/evict/after-punch")
	if last && fd >= 0 {
		if err := unix.Unlinkat(int(c.data.Fd()), i.String(), 0); err != nil && err != unix.ENOENT {
			return fmt.Errorf("remove a data file: %w", err)
		}
	}
	failpoint.Hit("blockcache/evict/after-unlink")
	c.forget(n, rec)
	failpoint.Hit("blockcache/evict/after-forget")
	return nil
}

// forget frees the slot of a block whose bytes are gone, and the record of an object whose last it was.
func (c *Cache) forget(n, rec uint32) {
	x, h := c.x, c.x.head
	s := &x.slots[n]
	room := x.room(s.length.Load())
	x.unlink(n)
	x.pull(n)
	h.used.Add(-room)
	x.owners[s.owner].bytes -= room
	x.give(n)
	if rec == 0 {
		return
	}
	if r := &x.slots[rec]; r.length.Add(^uint32(0)) == 0 {
		x.unlink(rec)
		x.give(rec)
	}
}

// sweep frees what processes were writing that are dead. The byte that this process has locked may have been one of theirs.
func (c *Cache) sweep() {
	x := c.x
	dead := map[uint16]bool{c.proc: true}
	for n := uint32(1); uint64(n) < x.head.fresh; n++ {
		s := &x.slots[n]
		if s.state() != stateWriting {
			continue
		}
		if _, known := dead[s.proc]; !known {
			dead[s.proc] = !c.alive(s.proc)
		}
		if dead[s.proc] {
			c.note(c.evict(n))
		}
	}
}

// Trim makes the cache no larger than its limit and the reserve of the disk allow. It runs by itself every Options.TrimEvery; who needs room on the disk at once calls Free.
func (c *Cache) Trim() {
	if err := c.shrink(0); err != nil {
		// Nothing that could go has been left: the disk is used by others.
		if !errors.Is(err, errOff) {
			c.note(err)
		}
		return
	}
	if !c.resting() {
		c.well()
	}
}

// Free gives blocks up until n bytes beside its reserve are free on the disk, for files of others; false: they aren't, and nothing is left that could go.
func (c *Cache) Free(n int64) bool { return c.shrink(uint64(max(0, n))) == nil }

// shrink gives blocks up until the cache is within its limit, and need bytes beside its reserve are free on the disk.
func (c *Cache) shrink(need uint64) error {
	defer c.caught(faults())
	for more := true; more; {
		err := c.change(func() error {
			// A few at a time, so that others aren't kept waiting.
			for range 16 {
				short, err := c.diskShort(need)
				if err != nil {
					return err
				}
				if more = short || c.x.head.used.Load() > uint64(c.o.Limit); !more {
					return nil
				}
				if err := c.evictOne(false); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Cache) trimming() {
	defer close(c.stopped)
	t := time.NewTicker(c.o.TrimEvery)
	defer t.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-t.C:
			c.Trim()
		}
	}
}
