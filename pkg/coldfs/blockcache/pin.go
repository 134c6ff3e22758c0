package blockcache

// A pinned file stands for its object: the kernel reads it without asking (FUSE passthrough). The pin is a shared flock(2) of the file's open description: it holds as
// long as anybody has the description, the kernel included, and ends with the last, so that neither the death of this process takes it away too early nor leaves it behind.

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Pin returns the file of a complete object, open for reading, all of whose bytes this process has checked, and keeps every process from taking bytes from it. release closes the file; a
// copy of its descriptor elsewhere keeps the pin. The error wraps ErrIncomplete when a block isn't there or wasn't checked (Check does that).
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
				err = unix.Flock(int(file.Fd()), unix.LOCK_SH|unix.LOCK_NB)
			}
		}
		if err != nil {
			return errors.Join(err, file.Close())
		}
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
