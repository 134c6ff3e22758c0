package coldfs

// Making and removing names: files and directories.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/attributes"
	"github.com/strata-csi/strata/pkg/coldfs/names"
	"github.com/strata-csi/strata/pkg/coldfs/nodes"
	"github.com/strata-csi/strata/pkg/s3"
)

// begin is what every change of a name begins with: the directory, pinned, and the name for oneself.
func (f *FS) begin(ctx context.Context, id uint64, name string) (parent *node, end func(), err error) {
	if f.config.ReadOnly {
		return nil, nil, unix.EROFS
	}
	if parent, err = f.directory(id); err != nil {
		return nil, nil, err
	}
	if _, err = f.parse(parent, name); err != nil {
		return nil, nil, err
	}
	if !f.table.Pin(parent) {
		return nil, nil, unix.ESTALE
	}
	release, err := f.paths.take(ctx, parent.ID, name)
	if err != nil {
		f.table.Unpin(parent)
		return nil, nil, err
	}
	return parent, func() {
		// Whatever became of it: who does something else next must not see what was before.
		f.changed(parent, name)
		release()
		f.table.Unpin(parent)
	}, nil
}

// creatable tells whether something may be made at a name. What is shown escaped was made by another client; here it can be read and removed.
func (f *FS) creatable(parent *node, name string) error {
	parsed, err := f.parse(parent, name)
	switch {
	case err != nil:
		return err
	case parsed.Beside, parsed.Segment == "", parsed.Segment == ".", parsed.Segment == "..", strings.Contains(parsed.Segment, "\x00"):
		return fmt.Errorf("%w: %q can't be made, only kept", names.ErrInvalid, name)
	}
	return nil
}

// vacant makes sure that there is nothing at a name: unix.EEXIST otherwise.
func (f *FS) vacant(ctx context.Context, parent *node, name string) error {
	if err := f.creatable(parent, name); err != nil {
		return err
	}
	n, err := f.lookupLocked(ctx, parent, name, time.Now())
	if errors.Is(err, s3.ErrNotFound) {
		f.absent.take(parent.ID, name)
		return nil
	}
	if err != nil {
		return err
	}
	f.table.Unpin(n)
	return unix.EEXIST
}

// Create makes a file, or opens the one that is there. The store has it when it is closed; until then only this mount does.
func (f *FS) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	ctx := interrupted(cancel)
	parent, end, err := f.begin(ctx, in.NodeId, name)
	if err != nil {
		return f.answer(err)
	}
	defer end()
	id, err := f.handles.reserve()
	if err != nil {
		return f.answer(err)
	}
	n, err := f.create(ctx, parent, name, in)
	if err != nil {
		f.handles.take(id)
		return f.answer(err)
	}
	defer f.table.Unpin(n)
	writes := in.Flags&unix.O_ACCMODE != unix.O_RDONLY
	i := n.Value
	i.mu.Lock()
	fresh := i.object.ETag == ""
	i.mu.Unlock()
	flags := in.Flags
	if fresh {
		flags &^= unix.O_TRUNC
	}
	if err := f.attach(ctx, n, id, flags, writes || fresh, &out.OpenOut); err != nil {
		f.handles.take(id)
		return f.answer(err)
	}
	f.entry(n, &out.EntryOut)
	return fuse.OK
}

// create returns the node of the file, pinned.
func (f *FS) create(ctx context.Context, parent *node, name string, in *fuse.CreateIn) (*node, error) {
	known := f.table.Child(parent, name) != nil
	if absent := f.absent.take(parent.ID, name); known || !absent {
		n, err := f.lookupLocked(ctx, parent, name, time.Now())
		switch {
		case errors.Is(err, s3.ErrNotFound):
			f.absent.take(parent.ID, name)
		case err != nil:
			return nil, err
		case in.Flags&unix.O_EXCL != 0:
			f.table.Unpin(n)
			return nil, unix.EEXIST
		case n.Value.dir:
			f.table.Unpin(n)
			return nil, unix.EISDIR
		default:
			return n, nil
		}
	}
	if err := f.creatable(parent, name); err != nil {
		return nil, err
	}
	if err := f.usage.allow(1); err != nil {
		return nil, err
	}
	key, err := f.childKey(ctx, parent, name, false)
	if err != nil {
		return nil, err
	}
	d, err := f.drafts.Open(key, nil)
	if err != nil {
		return nil, err
	}
	i := &inode{attr: f.new(parent, unix.S_IFREG|in.Mode&0o7777, in.Caller), known: true, asked: time.Now(), draft: d, changes: 1}
	d.SetMetadata(i.early())
	n, _ := f.table.Enter(parent, name, i)
	p := parent.Value
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fresh == nil {
		p.fresh = map[string]*node{}
	}
	p.fresh[name] = n
	return n, nil
}

// Mknod makes a regular file; S3 has no others.
func (f *FS) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	if in.Mode&unix.S_IFMT != unix.S_IFREG && in.Mode&unix.S_IFMT != 0 {
		return f.answer(unix.EPERM)
	}
	ctx := interrupted(cancel)
	parent, end, err := f.begin(ctx, in.NodeId, name)
	if err != nil {
		return f.answer(err)
	}
	defer end()
	return f.answer(f.make(ctx, parent, name, f.new(parent, unix.S_IFREG|in.Mode&0o7777, in.Caller), nil, out))
}

// make writes a small object where there is nothing.
func (f *FS) make(ctx context.Context, parent *node, name string, a attributes.Attributes, content []byte, out *fuse.EntryOut) error {
	if err := f.vacant(ctx, parent, name); err != nil {
		return err
	}
	if err := f.usage.allow(int64(len(content)) + 1); err != nil {
		return err
	}
	key, err := f.childKey(ctx, parent, name, false)
	if err != nil {
		return err
	}
	asked := time.Now()
	o, err := f.put(ctx, key, content, a.Metadata(nil), s3.Condition{IfAbsent: true})
	if errors.Is(err, s3.ErrConflict) {
		return unix.EEXIST
	}
	if err != nil {
		return err
	}
	o.Metadata = a.Metadata(nil)
	f.usage.add(o.Size)
	n := f.adopt(parent, name, nil, found{object: o, asked: asked})
	f.entry(n, out)
	f.table.Unpin(n)
	return nil
}

// Mkdir makes the marker of a directory.
func (f *FS) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	ctx := interrupted(cancel)
	parent, end, err := f.begin(ctx, in.NodeId, name)
	if err != nil {
		return f.answer(err)
	}
	defer end()
	return f.answer(f.mkdir(ctx, parent, name, f.new(parent, unix.S_IFDIR|in.Mode&0o7777, in.Caller), out))
}

func (f *FS) mkdir(ctx context.Context, parent *node, name string, a attributes.Attributes, out *fuse.EntryOut) error {
	if err := f.vacant(ctx, parent, name); err != nil {
		return err
	}
	key, err := f.childKey(ctx, parent, name, true)
	if err != nil {
		return err
	}
	asked := time.Now()
	o, err := f.put(ctx, key, nil, a.Metadata(nil), s3.Condition{IfAbsent: true})
	if errors.Is(err, s3.ErrConflict) {
		return unix.EEXIST
	}
	if err != nil {
		return err
	}
	o.Key, o.Metadata = key, a.Metadata(nil)
	n := f.adopt(parent, name, nil, found{dir: true, object: o, asked: asked})
	f.entry(n, out)
	f.table.Unpin(n)
	return nil
}

// Rmdir removes the marker of a directory that has nothing else.
func (f *FS) Rmdir(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	ctx := interrupted(cancel)
	parent, end, err := f.begin(ctx, header.NodeId, name)
	if err != nil {
		return f.answer(err)
	}
	defer end()
	return f.answer(f.rmdir(ctx, parent, name))
}

func (f *FS) rmdir(ctx context.Context, parent *node, name string) error {
	key, err := f.childKey(ctx, parent, name, true)
	if err != nil {
		return err
	}
	n := f.table.Child(parent, name)
	if n != nil {
		if !n.Value.dir {
			return unix.ENOTDIR
		}
		n.Value.mu.Lock()
		fresh := len(n.Value.fresh)
		n.Value.mu.Unlock()
		if fresh > 0 {
			return unix.ENOTEMPTY
		}
	}
	page, err := f.bucket.List(ctx, s3.ListRequest{Prefix: key, Max: 2})
	if err != nil {
		return err
	}
	marker := false
	for _, o := range page.Objects {
		if o.Key != key {
			return unix.ENOTEMPTY
		}
		marker = true
	}
	if marker {
		if err := f.keep(ctx, parent); err != nil {
			return err
		}
		if err := f.bucket.Delete(ctx, key); err != nil {
			return err
		}
	}
	f.removed(parent, name)
	if n != nil {
		n.Value.mu.Lock()
		n.Value.unlinked = true
		n.Value.mu.Unlock()
		f.table.Detach(n)
	}
	return nil
}

// Unlink removes an object. Who has it open goes on with what he has.
func (f *FS) Unlink(cancel <-chan struct{}, header *fuse.InHeader, name string) fuse.Status {
	ctx := interrupted(cancel)
	parent, end, err := f.begin(ctx, header.NodeId, name)
	if err != nil {
		return f.answer(err)
	}
	defer end()
	return f.answer(f.unlink(ctx, parent, name))
}

func (f *FS) unlink(ctx context.Context, parent *node, name string) error {
	n := f.table.Child(parent, name)
	if n == nil || !f.table.Pin(n) {
		var err error
		if n, err = f.lookupLocked(ctx, parent, name, time.Now()); err != nil {
			return err
		}
	}
	defer f.table.Unpin(n)
	i := n.Value
	if i.dir {
		return unix.EISDIR
	}
	if err := i.turn.take(ctx); err != nil {
		return err
	}
	defer i.turn.give()
	i.mu.Lock()
	o := i.object
	i.mu.Unlock()
	if o.ETag != "" {
		key, err := f.childKey(ctx, parent, name, false)
		if err != nil {
			return err
		}
		if err := f.keep(ctx, parent); err != nil {
			return err
		}
		f.orphan(ctx, n)
		if err := f.bucket.Delete(ctx, key); err != nil {
			return err
		}
		f.usage.add(-o.Size)
	}
	f.vanish(parent, name, n)
	return nil
}

// vanish notes that a file isn't at its path any more. Its turn is held.
func (f *FS) vanish(parent *node, name string, n *node) {
	i := n.Value
	i.mu.Lock()
	i.unlinked = true
	i.mu.Unlock()
	f.removed(parent, name)
	f.table.Detach(n)
}

// removed notes that a name is no more, for who lists the directory.
func (f *FS) removed(parent *node, name string) {
	p := parent.Value
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.fresh, name)
	if p.open > 0 {
		p.removed[name] = time.Now()
	}
}

// keep makes sure that a directory stays when what is in it goes: one that another program made, by keys below it alone, gets a marker.
func (f *FS) keep(ctx context.Context, dir *node) error {
	if dir.ID == nodes.RootID {
		return nil
	}
	i := dir.Value
	i.mu.Lock()
	kept, a := i.kept, i.attr
	i.mu.Unlock()
	if kept {
		return nil
	}
	key, err := f.key(ctx, dir)
	if err != nil {
		return err
	}
	if _, err := f.put(ctx, key, nil, a.Metadata(nil), s3.Condition{IfAbsent: true}); err != nil && !errors.Is(err, s3.ErrConflict) {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.kept = true
	return nil
}

// Link is refused: an object has one key.
func (f *FS) Link(<-chan struct{}, *fuse.LinkIn, string, *fuse.EntryOut) fuse.Status {
	return fuse.Status(unix.EPERM)
}

// Tmpfile is refused: a file without a name has no key.
func (f *FS) Tmpfile(<-chan struct{}, *fuse.CreateIn, *fuse.CreateOut) fuse.Status {
	return fuse.Status(unix.EOPNOTSUPP)
}

// Ioctl is refused as by any file that knows none.
func (f *FS) Ioctl(<-chan struct{}, *fuse.IoctlIn, []byte, *fuse.IoctlOut, []byte) fuse.Status {
	return fuse.Status(unix.ENOTTY)
}
