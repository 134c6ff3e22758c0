package blockcache

// A pinned file stands for its object: the kernel reads it without asking (FUSE passthrough). The pin is a shared flock(2) of the file's open description: it holds as
// long as anybody has the description, the kernel included, and ends with the last, so that neither the death of this process takes it away too early nor leaves it behind.
//
// The kernel opens the file once more for each open file that it stands for, and a mapping holds that one alone: it outlives the pin, and whoever mapped the file would find a hole in it. So a
// file that was pinned once is marked, and who takes bytes from it asks the kernel first whether anybody else has it open, which is what a write lease tells (fcntl(2), F_SETLEASE).

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Pin returns the file of a complete object, open for reading, all of whose bytes this process has checked, and keeps every process from taking bytes from it. release closes the file; a
// copy of its descriptor elsewhere keeps the pin. The error wraps ErrIncomplete when a block isn't there or wasn't checked (Check does that), and errors.ErrUnsupported when the file system
// has no leases.
func (o *Object) Pin() (f *os.File, release func(), err error) {
	c, x := o.c, o.c.x
	defer func() {
		if f == nil && err == nil { // a fault of the index
			err = ErrFailing
		}
	}()
	defer c.caught(faults())
	err = c.change(func() error {
		if o.blocks == 0 {
			return fmt.Errorf("%w: it is empty", ErrIncomplete)
		}
		for block := range uint32(o.blocks) {
			n, word := x.find(o.id, block)
			if n == 0 || word&stateMask != statePresent || x.checked(n, word)&o.allChunks(block) != o.allChunks(block) {
				return fmt.Errorf("%w: block %d", ErrIncomplete, block)
			}
		}
		file, err := openData(c.data, o.id.String(), unix.O_RDONLY)
		if err != nil {
			return err
		}
		// The file that the record is of, not one that somebody put in its place.
		var st unix.Stat_t
		if err = unix.Fstat(int(file.Fd()), &st); err == nil {
			if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size != o.size {
				err = fmt.Errorf("%w: its file is another", ErrIncomplete)
			} else {
				err = errors.Join(leases(int(file.Fd())), unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB))
			}
		}
		if err != nil {
			return errors.Join(err, file.Close())
		}
		rec, _ := x.find(o.id, recordBlock)
		if rec == 0 {
			return errors.Join(fmt.Errorf("%w: it has no record", ErrIncomplete), file.Close())
		}
		x.slots[rec].proc = wasPinned
		f = file
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	c.objects.Lock()
	o.users++
	c.objects.Unlock()
	return f, sync.OnceFunc(func() { _ = f.Close(); o.touch(); o.Close() }), nil
}

// wasPinned marks a record, in a field that only blocks use: others than engines may have its file open.
const wasPinned = 1

// leases tells whether there are any: errors.ErrUnsupported. One to read isn't given for a file that somebody has open to write, which is an answer too.
func leases(fd int) error {
	switch _, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK); err {
	case nil:
		_, err = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
		return err
	case unix.EAGAIN:
		return nil
	default:
		return fmt.Errorf("%w: the cache's file system has no leases: %w", errors.ErrUnsupported, err)
	}
}

// alone is nil if nobody else has a file open, mappings included, and unix.EAGAIN if somebody has. Whoever opens it before fd is closed, which is open to write, waits until then.
func alone(fd int) error {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_WRLCK)
	return err
}

// Idle gives up the open file of an object that isn't read at present, unless a block of it is being put. It is opened again when it is needed; as long as it is open, a file that was pinned once can't be given up.
// A read of the same moment may miss what is there.
func (o *Object) Idle() {
	if !o.puts.TryLock() {
		return
	}
	defer o.puts.Unlock()
	if f := o.file.Swap(nil); f != nil {
		_ = f.Close()
	}
}

func (o *Object) allChunks(block uint32) uint32 {
	chunk := o.c.o.BlockSize / chunksPerBlock
	return uint32(1<<((o.length(block)+chunk-1)/chunk) - 1)
}

// touch makes every block one that was used last: the kernel's reads of a pinned file aren't seen here.
func (o *Object) touch() {
	defer o.c.caught(faults())
	if o.c.off.Load() {
		return
	}
	now := o.c.x.head.tick.Load() + 1
	for block := range uint32(o.blocks) {
		if n, word := o.c.x.find(o.id, block); n != 0 && word&stateMask == statePresent {
			o.c.x.slots[n].used.Store(now)
		}
	}
}
