package blockcache

// Who may change the index, and which processes live. Both are locks of open file descriptions on bytes of one file: the kernel ends them with the process, however it ends. See fcntl(2),
// "Open file description locks".

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	lockedByte = 0 // byte 0 is locked to change the index, byte n by process n
	maxProc    = 1<<16 - 1
)

// errDetached: the files of the cache were taken away or put in another's place, so that its locks hold nobody off.
var errDetached = errors.New("the cache was removed")

// errBusy: somebody else changes the index.
var errBusy = errors.New("the index is being changed")

var errOff = errors.New("the cache is off")

func (c *Cache) fcntl(command int, kind int16, at, n int64) (unix.Flock_t, error) {
	l := unix.Flock_t{Type: kind, Whence: 0, Start: at, Len: n}
	for {
		err := unix.FcntlFlock(c.lock.Fd(), command, &l)
		if err != unix.EINTR {
			return l, err
		}
	}
}

// alive: process n is, or isn't known to be dead.
func (c *Cache) alive(n uint16) bool {
	if n == c.proc {
		return true
	}
	l, err := c.fcntl(unix.F_OFD_GETLK, unix.F_WRLCK, int64(n), 1)
	return err != nil || l.Type != unix.F_UNLCK
}

// change runs f while nobody else changes the index, after repairing what a process left that died doing so. When f doesn't end by itself the index stays marked as dirty.
func (c *Cache) change(f func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exclusive(unix.F_OFD_SETLKW, func() error { return c.marked(f) })
}

// tryChange is change, but errBusy when somebody else changes the index.
func (c *Cache) tryChange(f func() error) error {
	if !c.mu.TryLock() {
		return errBusy
	}
	defer c.mu.Unlock()
	return c.exclusive(unix.F_OFD_SETLK, func() error { return c.marked(f) })
}

func (c *Cache) marked(f func() error) error {
	h := c.x.head
	if h.dirty.Load() != 0 {
		if err := c.repair(false); err != nil {
			return fmt.Errorf("repair the index: %w", err)
		}
	}
	h.dirty.Store(1)
	err := f()
	h.dirty.Store(0)
	return err
}

// exclusive runs f under the lock of the index, which command takes; c.mu is held.
func (c *Cache) exclusive(command int, f func() error) error {
	if c.off.Load() {
		return errOff
	}
	if _, err := c.fcntl(command, unix.F_WRLCK, lockedByte, 1); err == unix.EAGAIN || err == unix.EACCES {
		return errBusy
	} else if err != nil {
		return fmt.Errorf("lock the index: %w", err)
	}
	defer func() { _, _ = c.fcntl(unix.F_OFD_SETLK, unix.F_UNLCK, lockedByte, 1) }()
	for _, file := range c.files() {
		var st unix.Stat_t
		if err := unix.Fstat(int(file.Fd()), &st); err != nil {
			return err
		}
		if st.Nlink == 0 {
			return errDetached
		}
	}
	return f()
}

func (c *Cache) files() []*os.File {
	if c.x == nil {
		return []*os.File{c.lock}
	}
	return []*os.File{c.lock, c.x.file, c.data}
}

// enter makes this process one of those that use the directory.
func (c *Cache) enter() error {
	for n := int64(1); ; n++ {
		if n > maxProc {
			return fmt.Errorf("%d processes use it already", maxProc)
		}
		if _, err := c.fcntl(unix.F_OFD_SETLK, unix.F_WRLCK, n, 1); err == nil {
			c.proc = uint16(n)
			break
		} else if err != unix.EAGAIN && err != unix.EACCES {
			return fmt.Errorf("lock: %w", err)
		}
	}
	defer c.caught(faults())
	if err := c.exclusive(unix.F_OFD_SETLKW, c.attach); err != nil { // nobody else has c yet
		return err
	}
	return c.change(func() error {
		c.sweep()
		c.owner = c.x.ownerOf(c.o.Volume)
		return nil
	})
}

// attach opens the index, or makes one, under the lock.
func (c *Cache) attach() error {
	var st unix.Statfs_t
	if err := unix.Statfs(c.o.Dir, &st); err != nil {
		return err
	}
	unit := max(4096, uint64(st.Frsize))
	slots := slotsFor(c.o.Limit)
	x, err := openIndex(c.o.Dir)
	switch {
	case err == nil && x.head.unit == unit && (x.head.slots*4 > slots || !c.alone()):
		c.x = x
	case err == nil || errors.Is(err, errForeignIndex) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.EISDIR):
		if x != nil {
			x.close()
		}
		if errors.Is(err, unix.EISDIR) {
			if err := os.RemoveAll(filepath.Join(c.o.Dir, indexName)); err != nil {
				return err
			}
		}
		if err := probe(c.o.Dir); err != nil {
			return err
		}
		if err := createIndex(c.o.Dir, slots, unit); err != nil {
			return err
		}
		if c.x, err = openIndex(c.o.Dir); err != nil {
			return err
		}
	default:
		return err
	}
	name := dataName + hex.EncodeToString(c.x.head.name[:])
	if err := removeOthers(c.o.Dir, name); err != nil {
		return err
	}
	dir := filepath.Join(c.o.Dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if c.data, err = os.Open(dir); err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	// When all processes have died, the file system may have, too, and been mounted again.
	lost := boot != c.x.head.boot || c.x.head.clean == 0 && c.alone()
	c.x.head.clean = 0
	if !lost {
		return nil
	}
	c.x.head.dirty.Store(1)
	if err := allocate(c.x.file, c.x.head.slots, c.x.head.grown); err != nil {
		return err
	}
	if err := c.repair(true); err != nil {
		return err
	}
	c.x.head.boot = boot
	c.x.head.dirty.Store(0)
	return nil
}

// leave tells the next who opens the index that all is as it should be.
func (c *Cache) leave() {
	defer c.caught(faults())
	_ = c.change(func() error {
		if c.alone() {
			c.x.head.clean = 1
		}
		return nil
	})
}

// alone: no other process uses the directory.
func (c *Cache) alone() bool {
	for _, r := range [][2]int64{{1, int64(c.proc) - 1}, {int64(c.proc) + 1, maxProc - int64(c.proc)}} {
		if r[1] == 0 {
			continue
		}
		if l, err := c.fcntl(unix.F_OFD_GETLK, unix.F_WRLCK, r[0], r[1]); err != nil || l.Type != unix.F_UNLCK {
			return false
		}
	}
	return true
}

// probe finds out whether the file system has sparse files.
func probe(dir string) error {
	f, err := os.CreateTemp(dir, "probe-")
	if err != nil {
		return err
	}
	defer func() { _ = f.Close(); _ = os.Remove(f.Name()) }()
	if _, err := f.Write(bytes.Repeat([]byte{1}, 8192)); err != nil {
		return err
	}
	if err := fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096); err != nil {
		return fmt.Errorf("its file system can't punch holes into files, use ext4, xfs, btrfs or tmpfs: %w", err)
	}
	return nil
}

// removeOthers removes what former indexes left. What doesn't look like this package's is left alone.
func removeOthers(dir, name string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		n := e.Name()
		if n != name && strings.HasPrefix(n, dataName) || n == indexName+".new" || strings.HasPrefix(n, "probe-") {
			if err := os.RemoveAll(filepath.Join(dir, n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// bootID names the boot of the machine: random(4), boot_id.
func bootID() (name [16]byte, err error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return name, err
	}
	sum := sha256.Sum256(b)
	copy(name[:], sum[:])
	return name, nil
}

// ownerOf finds or makes the entry of a volume; 0 when all are taken.
func (x *index) ownerOf(volume string) uint16 {
	if volume == "" {
		return 0
	}
	sum := sha256.Sum256([]byte(volume))
	hash := binary.BigEndian.Uint64(sum[:]) | 1 // 0 is an entry that nobody has
	byHash := func(h uint64) int {
		return slices.IndexFunc(x.owners[1:], func(o owner) bool { return o.hash == h }) + 1
	}
	n := byHash(hash)
	if n == 0 {
		n = byHash(0)
	}
	if n == 0 {
		// An entry without blocks may be of a volume that is in use, whose next blocks are then counted with this one's: its share is less exact, nothing else.
		n = slices.IndexFunc(x.owners[1:], func(o owner) bool { return o.head == 0 }) + 1
	}
	if n != 0 {
		x.owners[n].hash = hash
	}
	return uint16(n)
}
