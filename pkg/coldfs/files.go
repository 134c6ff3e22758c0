package coldfs

// Open files: reading and writing their content.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/draft"
	"github.com/strata-csi/strata/pkg/coldfs/reading"
	"github.com/strata-csi/strata/pkg/s3"
)

// handle is one open file or directory.
type handle struct {
	node   *node
	writes bool
	dir    *directory // of a directory
	// backing is the node's, by the inode's mutex; nil: the kernel reads by asking.
	backing *backing

	mu sync.Mutex
	// reader reads the version etag at key; nil: nothing was read yet.
	reader    *reading.Handle
	key, etag string
}

// handles are all that is open, by number.
type handles struct {
	limit int

	mu sync.Mutex
	// all has nil for what is being opened.
	all  map[uint64]*handle
	next uint64
}

// reserve gives a number to what is going to be opened, before anything is done for it: what is refused must not have made or emptied a file. It is for put or take.
func (h *handles) reserve() (uint64, error) { return h.add(nil) }

// put is what a number was reserved for.
func (h *handles) put(id uint64, x *handle) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[id] = x
}

func (h *handles) add(x *handle) (uint64, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) >= h.limit {
		return 0, fmt.Errorf("%d files are open, which is the most: %w", h.limit, unix.ENFILE)
	}
	if h.all == nil {
		h.all = map[uint64]*handle{}
	}
	h.next++
	h.all[h.next] = x
	return h.next, nil
}

func (h *handles) get(id uint64) (*handle, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.all[id]; x != nil {
		return x, nil
	}
	return nil, unix.EBADF
}

func (h *handles) take(id uint64) *handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.all[id]
	delete(h.all, id)
	return x
}

func (h *handles) len() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.all)
}

// Open opens a file as it is in the store now. When that is another version than the node's, the kernel is told to look the name up again, which it does by itself.
func (f *FS) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := f.table.Get(in.NodeId)
	if n == nil || !f.table.Pin(n) {
		return f.answer(unix.ESTALE)
	}
	defer f.table.Unpin(n)
	return f.answer(f.open(interrupted(cancel), n, in.Flags, out))
}

func (f *FS) open(ctx context.Context, n *node, flags uint32, out *fuse.OpenOut) error {
	if n.Value.dir {
		return unix.EISDIR
	}
	writes := flags&unix.O_ACCMODE != unix.O_RDONLY
	if (writes || flags&unix.O_TRUNC != 0) && f.config.ReadOnly {
		return unix.EROFS
	}
	if err := f.validate(ctx, n); err != nil {
		return err
	}
	id, err := f.handles.reserve()
	if err != nil {
		return err
	}
	if err := f.attach(ctx, n, id, flags, writes, out); err != nil {
		f.handles.take(id)
		return err
	}
	return nil
}

// validate asks the store whether the version of a node is the one at its path still, unless the node has what the store doesn't. The error is unix.ESTALE if it isn't.
func (f *FS) validate(ctx context.Context, n *node) error {
	i := n.Value
	i.mu.Lock()
	local := i.isLocal()
	i.mu.Unlock()
	if local {
		return nil
	}
	key, err := f.key(ctx, n)
	if err != nil {
		return err
	}
	f.stats.revalidations.Add(1)
	asked := time.Now()
	o, err := f.head(ctx, key)
	if errors.Is(err, s3.ErrNotFound) {
		f.changedNode(n)
		return fmt.Errorf("%q is gone: %w", key, unix.ESTALE)
	}
	if err != nil {
		return err
	}
	i.mu.Lock()
	same := i.isLocal() || i.object.ETag == o.ETag
	known, before := i.known, i.attr
	i.mu.Unlock()
	if !same || !i.renew(f, found{object: o, asked: asked}) {
		f.changedNode(n)
		return fmt.Errorf("%q is another version by now: %w", key, unix.ESTALE)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	// The kernel has decided who may do this by what a listing shows.
	if !known && !shown(before, i.attr) {
		return fmt.Errorf("%q has attributes of its own: %w", key, unix.ESTALE)
	}
	return nil
}

// attach makes a handle, whose number was reserved, of a file that is as it should be. The error is unix.ESTALE when the path has another node from now on, which is to be opened.
func (f *FS) attach(ctx context.Context, n *node, id uint64, flags uint32, writes bool, out *fuse.OpenOut) error {
	if !f.table.Pin(n) {
		return unix.ESTALE
	}
	i := n.Value
	h := &handle{node: n, writes: writes}
	truncate := flags&unix.O_TRUNC != 0
	asks := writes || truncate || flags&unix.O_DIRECT != 0
	var b *backing
	if !asks {
		var err error
		if b, err = f.back(ctx, n); err != nil {
			f.table.Unpin(n)
			return err
		}
	}
	i.mu.Lock()
	if asks && i.backing != nil {
		i.mu.Unlock()
		f.part(n)
		f.table.Unpin(n)
		return fmt.Errorf("the kernel reads this node without the engine: %w", unix.ESTALE)
	}
	if !asks {
		b = i.join(h, b, out)
	}
	i.handles++
	if writes {
		i.writers++
	}
	i.mu.Unlock()
	f.drop(b)
	if truncate {
		if err := f.truncate(ctx, n, 0); err != nil {
			f.detach(h)
			return err
		}
	}
	f.handles.put(id, h)
	i.mu.Lock()
	defer i.mu.Unlock()
	out.Fh = id
	if h.backing != nil {
		f.through.opens.Add(1)
		return nil
	}
	// The page cache is of the version that it was filled from. Writes go through it, so a commit doesn't change that.
	if i.cached == i.object.ETag {
		out.OpenFlags |= fuse.FOPEN_KEEP_CACHE
	}
	i.cached = i.object.ETag
	return nil
}

// detach ends a handle. The last that writes takes the draft along.
func (f *FS) detach(h *handle) {
	h.mu.Lock()
	if h.reader != nil {
		h.reader.Close()
		h.reader = nil
	}
	h.mu.Unlock()
	i := h.node.Value
	i.mu.Lock()
	spare := i.leave(h)
	var successor *node
	if i.handles--; i.handles == 0 {
		successor, i.successor, i.parted = i.successor, nil, false
	}
	if h.writes {
		i.writers--
	}
	i.mu.Unlock()
	f.drop(spare)
	if successor != nil {
		f.table.Unpin(successor)
	}
	f.settle(h.node)
	f.table.Unpin(h.node)
}

// Read reads from a draft if there is one, else from the version that the node stands for.
func (f *FS) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h, err := f.handles.get(in.Fh)
	if err != nil {
		return nil, f.answer(err)
	}
	n, err := f.read(interrupted(cancel), h, buf, int64(in.Offset))
	if err != nil {
		return nil, f.answer(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

func (f *FS) read(ctx context.Context, h *handle, p []byte, off int64) (int, error) {
	i := h.node.Value
	i.io.RLock()
	defer i.io.RUnlock()
	i.mu.Lock()
	d, o := i.draft, i.object
	i.mu.Unlock()
	var n int
	var err error
	if d != nil {
		n, err = d.ReadAt(ctx, p, off)
	} else {
		n, err = h.of(f, o).ReadAt(ctx, p, off)
	}
	switch {
	case errors.Is(err, io.EOF):
		return n, nil
	case errors.Is(err, s3.ErrNotFound):
		// It is open, so it was there: the version is gone.
		return n, fmt.Errorf("%w: %w", s3.ErrConflict, err)
	}
	return n, err
}

// of is the reader of a version. A file that was renamed is the same content at another key.
func (h *handle) of(f *FS, o s3.Object) *reading.Handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.reader == nil || h.key != o.Key || h.etag != o.ETag {
		if h.reader != nil {
			h.reader.Close()
		}
		h.reader, h.key, h.etag = f.reader.Open(o), o.Key, o.ETag
	}
	return h.reader
}

// Write writes to the draft, which all writers of a node have together.
func (f *FS) Write(cancel <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	h, err := f.handles.get(in.Fh)
	if err != nil {
		return 0, f.answer(err)
	}
	n, err := f.write(interrupted(cancel), h.node, data, int64(in.Offset))
	if err != nil && n == 0 {
		return 0, f.answer(err)
	}
	return uint32(n), fuse.OK
}

func (f *FS) write(ctx context.Context, n *node, data []byte, off int64) (int, error) {
	i := n.Value
	i.io.RLock()
	defer i.io.RUnlock()
	d, err := f.draftOf(n)
	if err != nil {
		return 0, err
	}
	if end := off + int64(len(data)); end > d.Size() {
		if err := f.usage.allow(end - i.stored()); err != nil {
			return 0, err
		}
	}
	written, err := d.WriteAt(ctx, data, off)
	if written > 0 {
		i.mu.Lock()
		i.changes++
		i.attr.Mtime, i.stamped = time.Now(), false
		// The kernel takes these bits at its end without a request (file_remove_privs).
		i.attr.Mode &^= unix.S_ISUID
		i.mu.Unlock()
	}
	return written, err
}

// stored is how much of a file the volume's usage has in it already: a draft is counted when it is committed.
func (i *inode) stored() int64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.object.Size
}

// draftOf is the draft of a node, which is begun if there is none. i.io is held.
func (f *FS) draftOf(n *node) (*draft.Draft, error) {
	i := n.Value
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case f.config.ReadOnly:
		return nil, unix.EROFS
	case i.failed != nil:
		return nil, i.failed
	case i.draft != nil:
		return i.draft, nil
	case i.unlinked || i.object.ETag == "":
		return nil, unix.ESTALE
	}
	base := i.object
	d, err := f.drafts.Open(base.Key, &base)
	if err != nil {
		return nil, err
	}
	d.SetMetadata(i.early())
	i.draft, i.committed = d, i.changes
	return d, nil
}

// early is the metadata that an upload begins with. S3 takes none later, other than by another copy of the object, so the time of the last write can't be in it. i.mu is held.
func (i *inode) early() map[string]string {
	a := i.attr
	if !i.stamped {
		a.Mtime = time.Time{}
	}
	return a.Metadata(i.object.Metadata)
}

// maxStamped is up to which size an object is one request, which has the time of the last write in it; a larger one has the time that the store gives it when it is complete.
const maxStamped = 8 << 20

// truncate changes the size of a file.
func (f *FS) truncate(ctx context.Context, n *node, size int64) error {
	i := n.Value
	i.io.RLock()
	defer i.io.RUnlock()
	d, err := f.draftOf(n)
	if err != nil {
		return err
	}
	if size > d.Size() {
		if err := f.usage.allow(size - i.stored()); err != nil {
			return err
		}
	}
	if err := d.Truncate(ctx, size); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.changes++
	i.attr.Mtime, i.stamped = time.Now(), false
	return nil
}

// Fallocate makes a file longer. Room isn't promised: it is the store's.
func (f *FS) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h, err := f.handles.get(in.Fh)
	if err != nil {
		return f.answer(err)
	}
	if in.Mode != 0 {
		return fuse.Status(unix.EOPNOTSUPP)
	}
	i := h.node.Value
	i.mu.Lock()
	size := i.size()
	i.mu.Unlock()
	end := int64(in.Offset + in.Length)
	if end <= size {
		return fuse.OK
	}
	return f.answer(f.truncate(interrupted(cancel), h.node, end))
}
