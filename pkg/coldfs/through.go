package coldfs

// Files that the kernel reads from the cache by itself (FUSE passthrough): those that are whole there, on volumes that nobody writes or changes.
//
// The kernel has a file open either way, through its own pages of the node or through the backing file, and answers EIO to who mixes them on one node. So a node that has a backing file has it for whoever
// opens it to read, until the last has closed it; who needs the engine, to write for one, gets another node for the same object. The same goes for a node whose file became whole while it was open. See docs/decisions/0031.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
	"github.com/strata-csi/strata/pkg/coldfs/reading"
	"github.com/strata-csi/strata/pkg/s3"
)

// through is what the file system knows of passthrough. The zero value is off.
type through struct {
	link *link
	min  int64 // bytes; 0: none is passed through
	off  atomic.Bool
	told sync.Once
	// opens counts files that were opened so.
	opens atomic.Int64

	ctx    context.Context // of the checks
	checks chan struct{}   // a token per running one
}

// checksAtOnce is how many files that another engine, or an earlier one, has put into the cache are read through to be sure of them.
const checksAtOnce = 1

// backing is a file of the cache that stands for a node.
type backing struct {
	etag    string // of the version
	id      int32
	users   int // handles, by the inode's mutex
	release func()
}

// wantsThrough tells whether a volume's files may be passed through. Who has a file open so doesn't see what is written to it afterwards, on the same node neither.
func (f *FS) wantsThrough() bool {
	return f.config.Passthrough > 0 && (f.config.ReadOnly || f.config.Immutable)
}

// beginThrough is called once, before files are opened. agreed: the kernel can do it.
func (f *FS) beginThrough(ctx context.Context, l *link, agreed bool) {
	f.through.ctx, f.through.checks = ctx, make(chan struct{}, checksAtOnce)
	switch {
	case !f.config.ReadOnly && !f.config.Immutable:
	case f.config.Passthrough <= 0 || l.conn == nil:
		f.endThrough(errors.New("strata-mountd opens no backing files: there is none, or an earlier version"))
	case !agreed:
		f.endThrough(errors.New("this kernel has no FUSE passthrough, which came with Linux 6.9"))
	default:
		f.through.link, f.through.min = l, f.config.Passthrough
	}
}

// endThrough does without from now on, and says so once.
func (f *FS) endThrough(why error) {
	f.through.off.Store(true)
	f.through.told.Do(func() {
		f.log.Info("Files that are whole in the cache are read through the engine, not by the kernel alone", "reason", why.Error())
	})
}

// back gets a backing file for a node that is about to be opened to read; nil: it is opened as others are. The error is unix.ESTALE when the path has another node from now on, which is to be opened.
func (f *FS) back(ctx context.Context, n *node) (*backing, error) {
	i := n.Value
	i.mu.Lock()
	o := i.object
	suits := f.through.min > 0 && !f.through.off.Load() && i.backing == nil && i.draft == nil && i.writers == 0 && !i.unlinked && !i.dir &&
		o.ETag != "" && o.Size >= f.through.min && (i.handles == 0 || !i.parted)
	open := i.handles > 0
	i.mu.Unlock()
	if !suits {
		return nil, nil
	}
	r := f.reader.Open(o)
	file, unpin, err := f.pin(r, o)
	if err != nil {
		r.Close()
		if errors.Is(err, errors.ErrUnsupported) {
			f.endThrough(err)
		}
		return nil, nil
	}
	release := func() { unpin(); r.Close() }
	if open {
		release()
		f.part(n)
		return nil, fmt.Errorf("%q is whole in the cache by now: %w", o.Key, unix.ESTALE)
	}
	id, err := f.through.link.back(ctx, file)
	if err != nil {
		release()
		if !errors.Is(err, errBackingsFull) && ctx.Err() == nil {
			f.endThrough(err)
		}
		return nil, nil
	}
	return &backing{etag: o.ETag, id: id, release: release}, nil
}

// pin returns the file of an object that is whole in the cache and was checked. One that wasn't is checked beside, for who opens it later.
func (f *FS) pin(r *reading.Handle, o s3.Object) (*os.File, func(), error) {
	if !r.Complete() {
		return nil, nil, blockcache.ErrIncomplete
	}
	file, unpin, err := r.Pin()
	if errors.Is(err, blockcache.ErrIncomplete) {
		f.through.check(f.reader, o)
	}
	return file, unpin, err
}

// check has an object of the cache read through, unless too many are.
func (t *through) check(reader *reading.Reader, o s3.Object) {
	select {
	case t.checks <- struct{}{}:
	default:
		return
	}
	go func() {
		defer func() { <-t.checks }()
		r := reader.Open(o)
		defer r.Close()
		_ = r.Check(t.ctx) // what isn't right any more is fetched again by who reads it
	}()
}

// part gives the path of a node another node for the same object; who has the old one open goes on with it. The kernel finds it when it looks the path up again, until when the old one keeps it.
func (f *FS) part(n *node) {
	i := n.Value
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handles > 0 && i.successor == nil {
		i.successor = f.table.Replace(n, &inode{attr: i.attr, known: i.known, object: i.object, asked: i.asked, target: i.target, parted: true})
	}
}

// drop gives a backing file back, after its last handle or if it wasn't needed.
func (f *FS) drop(b *backing) {
	if b == nil {
		return
	}
	b.release() // the kernel has it still
	go func() { // a holder that hears nothing isn't waited for
		if err := f.through.link.unback(b.id); err != nil {
			f.log.V(2).Info("A backing file isn't given back", "cause", err.Error())
		}
	}()
}

// join makes a handle one of a node's backing file, which b becomes if it has none. spare is what of it isn't needed. i.mu is held.
func (i *inode) join(h *handle, b *backing, out *fuse.OpenOut) (spare *backing) {
	switch {
	case i.backing != nil:
		spare = b
	case b != nil && i.handles == 0 && i.draft == nil && i.writers == 0 && !i.unlinked && i.object.ETag == b.etag:
		i.backing = b
	default:
		return b
	}
	i.backing.users++
	h.backing = i.backing
	out.OpenFlags |= fuse.FOPEN_PASSTHROUGH
	out.BackingID = i.backing.id
	return spare
}

// leave ends a handle's use of a backing file; the answer is to be given back. i.mu is held.
func (i *inode) leave(h *handle) *backing {
	b := h.backing
	if b == nil {
		return nil
	}
	h.backing = nil
	if b.users--; b.users > 0 {
		return nil
	}
	i.backing = nil
	return b
}
