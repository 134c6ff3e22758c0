package coldfs

// When what was written becomes an object: at close(), at fsync(), and when the last handle goes.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/attributes"
	"github.com/strata-csi/strata/pkg/s3"
)

// Flush is a close(). It returns when the store has what was written.
func (f *FS) Flush(_ <-chan struct{}, in *fuse.FlushIn) fuse.Status { return f.sync(in.Fh) }

// Fsync returns when the store has what was written.
func (f *FS) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status { return f.sync(in.Fh) }

func (f *FS) sync(fh uint64) fuse.Status {
	h, err := f.handles.get(fh)
	if err != nil {
		return f.answer(err)
	}
	return f.answer(f.commit(f.commits, h.node))
}

// Release ends a handle. What was written since the last close(), through a mapping, is committed now; nobody can be told if that fails.
func (f *FS) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if h := f.handles.take(in.Fh); h != nil {
		f.detach(h)
	}
}

// commit makes the object be what was written, and returns when it is.
func (f *FS) commit(ctx context.Context, n *node) error {
	i := n.Value
	i.mu.Lock()
	clean := i.failed == nil && (i.draft == nil || i.unlinked || i.changes == i.committed)
	i.mu.Unlock()
	if clean {
		return nil
	}
	if err := i.turn.take(ctx); err != nil {
		return err
	}
	defer i.turn.give()
	return f.commitLocked(ctx, n)
}

// commitLocked is commit by who has the turn.
func (f *FS) commitLocked(ctx context.Context, n *node) error {
	i := n.Value
	i.mu.Lock()
	d, changes := i.draft, i.changes
	switch {
	case i.failed != nil:
		i.mu.Unlock()
		return i.failed
	case d == nil || i.unlinked || changes == i.committed:
		i.mu.Unlock()
		return nil
	}
	before := i.object.Size
	metadata := i.attr.Metadata(i.object.Metadata)
	if d.Size() > maxStamped {
		metadata = i.early()
	}
	d.SetMetadata(metadata)
	i.mu.Unlock()

	o, err := d.Commit(ctx)
	f.changedNode(n)
	i.mu.Lock()
	if err != nil {
		if errors.Is(err, s3.ErrConflict) {
			f.stats.conflicts.Add(1)
			i.failed = fmt.Errorf("what was written is lost: %w", err)
		}
		i.mu.Unlock()
		f.log.Error(err, "A file isn't in the store as it was written", "key", d.Key())
		return err
	}
	f.health.well()
	fresh := i.object.ETag == ""
	i.object, i.known, i.committed, i.asked = o, true, changes, time.Now()
	i.object.Metadata, i.object.Modified = metadata, time.Time{}
	if !attributes.HasTime(metadata) {
		i.asked = time.Time{} // the store knows its time
	}
	i.cached = o.ETag
	i.mu.Unlock()
	f.usage.add(o.Size - before)
	if fresh {
		f.stored(n)
	}
	return nil
}

// stored takes a file from those that the store doesn't have yet.
func (f *FS) stored(n *node) {
	parent, name, ok := f.table.Place(n)
	if !ok {
		return
	}
	p := parent.Value
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fresh[name] == n {
		delete(p.fresh, name)
	}
}

// settle closes the draft of a node that nobody writes any more. What is left in it is committed first.
func (f *FS) settle(n *node) {
	i := n.Value
	i.mu.Lock()
	idle := i.writers == 0 && i.draft != nil && (!i.unlinked || i.handles == 0)
	i.mu.Unlock()
	if !idle {
		return
	}
	_ = i.turn.take(context.Background())
	defer i.turn.give()
	err := f.commitLocked(f.commits, n)
	i.io.Lock()
	defer i.io.Unlock()
	i.mu.Lock()
	if i.writers > 0 || i.draft == nil || i.unlinked && i.handles > 0 {
		i.mu.Unlock()
		return
	}
	d := i.draft
	if err == nil && i.changes != i.committed && !i.unlinked {
		err = errors.New("it was written while it was committed")
	}
	i.draft = nil
	fresh := i.object.ETag == ""
	i.committed = i.changes
	i.mu.Unlock()
	d.Close()
	if err == nil {
		return
	}
	// The kernel's pages have what the store will never have; nobody may see them.
	f.stats.lost.Add(1)
	f.log.Error(err, "What was written to a file is lost; its close() or fsync() said so, unless it was written through a mapping", "key", d.Key())
	if fresh {
		f.stored(n)
	}
	f.forsake(n)
}

// forsake takes a node from its path, so that the next look at the path finds what the store has.
func (f *FS) forsake(n *node) {
	parent, name, ok := f.table.Place(n)
	if f.table.Detach(n) && ok {
		f.expire(parent, name)
	}
}

// expire has the kernel forget a name, soon.
func (f *FS) expire(parent *node, name string) {
	select {
	case f.stale <- staleName{parent.ID, name}:
	default: // it forgets it by itself when its time is over
	}
}

// orphan prepares a file for being open without an object: its content is copied into a draft that is never committed, as far as that is possible. The turn is held.
func (f *FS) orphan(ctx context.Context, n *node) {
	i := n.Value
	i.mu.Lock()
	o, open := i.object, i.handles
	if i.backing != nil {
		open = 0 // they have the whole of it
	}
	has := i.draft != nil
	i.mu.Unlock()
	if open == 0 || o.ETag == "" || o.Size > maxOrphan {
		return
	}
	if !has {
		i.io.RLock()
		_, err := f.draftOf(n)
		i.io.RUnlock()
		if err != nil {
			return
		}
	}
	i.mu.Lock()
	d := i.draft
	i.mu.Unlock()
	if d == nil {
		return
	}
	// What is read is written where it was read, so that it is staged. A byte that somebody writes meanwhile is lost if it is overwritten here, so nobody may.
	i.io.Lock()
	defer i.io.Unlock()
	buffer := make([]byte, 1<<20)
	for off := int64(0); off < min(o.Size, d.Size()); {
		got, _ := d.ReadAt(ctx, buffer, off)
		if got == 0 {
			f.log.Error(nil, "An open file is removed, and what isn't read of it can't be kept", "key", o.Key, "from", off)
			return
		}
		if _, err := d.WriteAt(ctx, buffer[:got], off); err != nil {
			f.log.Error(err, "An open file is removed, and what isn't read of it can't be kept", "key", o.Key, "from", off)
			return
		}
		off += int64(got)
	}
}

// maxOrphan is the largest object whose content is kept for who has it open when it is removed.
const maxOrphan = 64 << 20

// flushAll commits all that is open, as far as it can be.
func (f *FS) flushAll(ctx context.Context) error {
	f.handles.mu.Lock()
	all := map[*node]bool{}
	for _, h := range f.handles.all {
		if h != nil && !h.node.Value.dir {
			all[h.node] = true
		}
	}
	f.handles.mu.Unlock()
	var group errgroup.Group
	group.SetLimit(16)
	for n := range all {
		group.Go(func() error { return f.commit(ctx, n) })
	}
	return group.Wait()
}

// FsyncDir has nothing to do: what is done to names is in the store when it is done.
func (f *FS) FsyncDir(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return fuse.OK }

// Lseek leaves SEEK_DATA and SEEK_HOLE to the kernel, for which a file is all data.
func (f *FS) Lseek(<-chan struct{}, *fuse.LseekIn, *fuse.LseekOut) fuse.Status {
	return fuse.Status(unix.ENOSYS)
}
