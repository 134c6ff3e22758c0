package blockcache

// What is made again from the slots: chains, lists and sums, after a process died while it changed them, and after the machine or all processes went down, when neither the index nor the files
// need be as they were last seen: pages of either may not have reached the disk. Blocks are not read here; their checksums tell later.

import (
	"cmp"
	"errors"
	"io"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// repair runs under the lock, with the index marked as dirty. lost: what was written last may be lost.
func (c *Cache) repair(lost bool) error {
	x, h := c.x, c.x.head
	for i := range x.buckets {
		x.buckets[i].Store(0)
	}
	for i := range x.owners {
		o := &x.owners[i]
		o.bytes, o.head, o.tail = 0, 0, 0
	}
	h.fresh, h.free, h.writing = h.grown, 0, 0
	h.used.Store(x.indexRoom())

	var blocks, gone []uint32
	for n := uint32(1); uint64(n) < h.grown; n++ {
		s := &x.slots[n]
		switch s.state() {
		case stateFree:
		case stateRecord:
			size := s.older
			if at, _ := x.find(s.id(), recordBlock); at != 0 || s.block.Load() != recordBlock || size < MinBlockSize || size > MaxBlockSize || size&(size-1) != 0 {
				s.become(stateFree)
				continue
			}
			s.used.Store(0)
			s.length.Store(0)
			s.newer = 0
			x.link(n)
		case stateWriting, statePresent, stateLeaving:
			blocks = append(blocks, n)
		default:
			s.become(stateFree)
		}
	}
	kept := blocks[:0]
	for _, n := range blocks {
		s := &x.slots[n]
		rec, _ := x.find(s.id(), recordBlock)
		at, _ := x.find(s.id(), s.block.Load())
		if rec == 0 || at != 0 || !s.plausible(&x.slots[rec]) {
			// Its file has no record, or its place is another's: what is on the disk for it goes with the file.
			if rec != 0 {
				x.slots[rec].listed = 0
			}
			s.become(stateFree)
			continue
		}
		x.link(n)
		x.slots[rec].length.Add(1)
		x.slots[rec].newer += uint32(x.room(s.length.Load()) / h.unit)
		kept = append(kept, n)
	}
	bad, err := c.badFiles(lost)
	if err != nil {
		return err
	}
	slices.SortFunc(kept, func(a, b uint32) int {
		return cmp.Compare(max(x.slots[a].listed, x.slots[a].used.Load()), max(x.slots[b].listed, x.slots[b].used.Load()))
	})
	for _, n := range kept {
		s := &x.slots[n]
		rec, _ := x.find(s.id(), recordBlock)
		if bad[rec] {
			x.unlink(n)
			s.become(stateFree)
			continue
		}
		r := x.room(s.length.Load())
		h.used.Add(r)
		x.owners[s.owner].bytes += r
		age := max(s.listed, s.used.Load())
		x.push(n, age)
		h.tick.Store(max(h.tick.Load(), age))
		switch s.state() {
		case statePresent:
			x.slots[rec].used.Add(1)
		case stateLeaving:
			gone = append(gone, n)
		case stateWriting:
			h.writing += r
			if lost || !c.alive(s.proc) {
				gone = append(gone, n)
			}
		}
	}
	for n := uint32(1); uint64(n) < h.grown; n++ {
		s := &x.slots[n]
		if s.state() == stateRecord && (bad[n] || s.length.Load() == 0) {
			name := s.id().String()
			if err := c.removeFile(name); err != nil {
				return err
			}
			x.unlink(n)
			s.become(stateFree)
		}
		if s.state() == stateFree {
			s.next.Store(h.free)
			h.free = n
		}
	}
	for _, n := range gone {
		if err := c.evict(n); err != nil && !errors.Is(err, errPinned) {
			return err
		}
	}
	if lost {
		return c.removeUnknown()
	}
	return nil
}

// plausible: a block can be what its slot says, in an object of that record.
func (s *slot) plausible(rec *slot) bool {
	size, block := uint64(rec.older), uint64(s.block.Load())
	if s.owner >= owners || block*size >= rec.listed {
		return false
	}
	return uint64(s.length.Load()) == min(size, rec.listed-block*size)
}

// badFiles are the records whose files aren't what they should be: missing, of another size, or with more bytes on the disk than their blocks account for, which would not be counted.
func (c *Cache) badFiles(lost bool) (map[uint32]bool, error) {
	x := c.x
	bad := map[uint32]bool{}
	for n := uint32(1); uint64(n) < x.head.grown; n++ {
		s := &x.slots[n]
		if s.state() != stateRecord {
			continue
		}
		if s.listed == 0 {
			bad[n] = true
			continue
		}
		if !lost {
			continue
		}
		var st unix.Stat_t
		switch err := unix.Fstatat(int(c.data.Fd()), s.id().String(), &st, unix.AT_SYMLINK_NOFOLLOW); {
		case err == unix.ENOENT:
			bad[n] = true
		case err != nil:
			return nil, err
		default:
			bad[n] = st.Mode&unix.S_IFMT != unix.S_IFREG || uint64(st.Size) != s.listed || uint64(st.Blocks)*512 > uint64(s.newer)*x.head.unit
		}
	}
	return bad, nil
}

// removeFile frees what a file has on the disk and removes it. One that may stand for its object somewhere, or that another process has open, is only removed: its room is free when the last has closed it.
func (c *Cache) removeFile(name string) error {
	dir := int(c.data.Fd())
	if fd, err := unix.Openat(dir, name, unix.O_RDWR|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0); err == nil {
		if unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) == nil && alone(fd) != unix.EAGAIN {
			err = unix.Ftruncate(fd, 0)
		}
		_ = unix.Close(fd)
		if err != nil {
			return err
		}
	}
	switch err := unix.Unlinkat(dir, name, 0); err {
	case nil, unix.ENOENT:
		return nil
	case unix.EISDIR:
		return os.RemoveAll(c.data.Name() + "/" + name)
	default:
		return err
	}
}

// removeUnknown removes the files that no record is of.
func (c *Cache) removeUnknown() error {
	x := c.x
	if _, err := c.data.Seek(0, io.SeekStart); err != nil {
		return err
	}
	for {
		names, err := c.data.Readdirnames(1024)
		for _, name := range names {
			i, ok := parseID(name)
			if rec, _ := x.find(i, recordBlock); !ok || rec == 0 {
				if err := c.removeFile(name); err != nil {
					return err
				}
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}
