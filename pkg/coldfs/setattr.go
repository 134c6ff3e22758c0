package coldfs

// Attributes: what stat shows, and what chmod, chown, utimensat and truncate change.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/attributes"
	"github.com/strata-csi/strata/pkg/coldfs/nodes"
	"github.com/strata-csi/strata/pkg/s3"
)

// GetAttr tells the attributes, at most as old as the volume's time for that. Of a file that is open they are those of the version that is open.
func (f *FS) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.table.Get(in.NodeId)
	if n == nil || !f.table.Pin(n) {
		return f.answer(unix.ESTALE)
	}
	defer f.table.Unpin(n)
	if err := f.refresh(interrupted(cancel), n); err != nil {
		return f.answer(err)
	}
	f.attrOut(n, out)
	return fuse.OK
}

func (f *FS) attrOut(n *node, out *fuse.AttrOut) {
	i := n.Value
	i.mu.Lock()
	defer i.mu.Unlock()
	ttl := f.ttl(i.asked)
	if i.isLocal() || i.unlinked {
		ttl = f.config.MetadataTTL
	}
	out.SetTimeout(ttl)
	f.attributes(n, &out.Attr)
}

// refresh asks the store again when what is known is too old.
func (f *FS) refresh(ctx context.Context, n *node) error {
	i := n.Value
	i.mu.Lock()
	fresh := f.ttl(i.asked) > 0 || i.isLocal() || i.unlinked
	open := i.handles > 0
	i.mu.Unlock()
	if fresh {
		return nil
	}
	if n.ID == nodes.RootID {
		return f.refreshRoot(ctx, n)
	}
	parent, name, ok := f.table.Place(n)
	if !ok {
		if open || i.dir {
			return nil
		}
		return unix.ESTALE
	}
	// The kernel looks a name up again by itself when it is told that a node is of the past.
	got, err := f.lookup(ctx, parent, name)
	switch {
	case errors.Is(err, s3.ErrNotFound):
		if open {
			return nil
		}
		return unix.ESTALE
	case err != nil:
		return err
	}
	defer f.table.Unpin(got)
	if got != n && !open {
		return unix.ESTALE
	}
	return nil
}

// refreshRoot reads the marker of the root, which there is once somebody has changed its attributes.
func (f *FS) refreshRoot(ctx context.Context, n *node) error {
	asked := time.Now()
	got := found{dir: true, asked: asked}
	if f.config.Prefix != "" {
		o, err := f.head(ctx, f.config.Prefix)
		if err != nil && !errors.Is(err, s3.ErrNotFound) {
			return err
		}
		got.object = o
	}
	n.Value.renew(f, got)
	return nil
}

// SetAttr changes attributes.
func (f *FS) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.table.Get(in.NodeId)
	if n == nil || !f.table.Pin(n) {
		return f.answer(unix.ESTALE)
	}
	defer f.table.Unpin(n)
	if f.config.ReadOnly {
		return f.answer(unix.EROFS)
	}
	if err := f.setAttr(interrupted(cancel), n, in); err != nil {
		return f.answer(err)
	}
	f.attrOut(n, out)
	return fuse.OK
}

func (f *FS) setAttr(ctx context.Context, n *node, in *fuse.SetAttrIn) error {
	_, open := in.GetFh()
	if size, ok := in.GetSize(); ok {
		if err := f.resize(ctx, n, int64(size), open); err != nil {
			return err
		}
	}
	change := func(a attributes.Attributes) attributes.Attributes {
		if mode, ok := in.GetMode(); ok {
			a.Mode = a.Type() | mode&0o7777
		}
		if uid, ok := in.GetUID(); ok {
			a.UID = uid
		}
		if gid, ok := in.GetGID(); ok {
			a.GID = gid
		}
		if t, ok := in.GetMTime(); ok {
			a.Mtime = t
		}
		return a
	}
	const ours = fuse.FATTR_MODE | fuse.FATTR_UID | fuse.FATTR_GID | fuse.FATTR_MTIME
	if in.Valid&ours == 0 {
		return nil // the time of access alone, which nobody keeps
	}
	if n.Value.dir {
		return f.changeDirectory(ctx, n, change)
	}
	return f.changeFile(ctx, n, change)
}

// resize is truncate() and ftruncate(). Behind the first no close() follows, so it commits by itself.
func (f *FS) resize(ctx context.Context, n *node, size int64, open bool) error {
	i := n.Value
	if i.dir {
		return unix.EISDIR
	}
	if open {
		return f.truncate(ctx, n, size)
	}
	if err := f.validate(ctx, n); err != nil {
		return err
	}
	i.mu.Lock()
	if i.backing != nil {
		i.mu.Unlock()
		f.part(n)
		return fmt.Errorf("the kernel reads this node without the engine: %w", unix.ESTALE)
	}
	i.writers++
	i.mu.Unlock()
	err := f.truncate(ctx, n, size)
	if err == nil {
		err = f.commit(f.commits, n)
	}
	i.mu.Lock()
	i.writers--
	i.mu.Unlock()
	f.settle(n)
	return err
}

// changeFile changes attributes with the next commit if somebody writes the file, else at once: the store copies the object onto itself.
func (f *FS) changeFile(ctx context.Context, n *node, change func(attributes.Attributes) attributes.Attributes) error {
	i := n.Value
	if err := i.turn.take(ctx); err != nil {
		return err
	}
	defer i.turn.give()
	i.mu.Lock()
	known := i.known
	i.mu.Unlock()
	if !known {
		if err := f.validate(ctx, n); err != nil {
			return err
		}
	}
	i.mu.Lock()
	wanted := change(i.attr)
	switch {
	case wanted == i.attr:
		i.mu.Unlock()
		return nil
	case i.draft != nil || i.unlinked:
		i.stamped = i.stamped || !wanted.Mtime.Equal(i.attr.Mtime)
		i.attr = wanted
		i.changes++
		i.mu.Unlock()
		return nil
	case i.object.ETag == "":
		i.mu.Unlock()
		return unix.ESTALE
	}
	o := i.object
	i.mu.Unlock()
	if _, err := f.key(ctx, n); err != nil {
		return err
	}
	metadata := wanted.Metadata(o.Metadata)
	copied, err := f.mover.Metadata(ctx, o, metadata)
	f.changedNode(n)
	if errors.Is(err, s3.ErrNotFound) {
		return fmt.Errorf("%q is gone: %w", o.Key, unix.ESTALE)
	}
	if err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.replaced(copied, metadata)
	i.attr = wanted
	return nil
}

// replaced notes that the store has the same content as another object. i.mu is held.
func (i *inode) replaced(o s3.Object, metadata map[string]string) {
	if i.cached == i.object.ETag {
		i.cached = o.ETag
	}
	// An answer to a copy doesn't say how large it is, and its time isn't that of the object to the second.
	o.Size, o.Modified, o.Metadata = i.object.Size, time.Time{}, metadata
	i.object, i.known, i.asked = o, true, time.Now()
}

// changeDirectory writes the marker of a directory, which has its attributes.
func (f *FS) changeDirectory(ctx context.Context, n *node, change func(attributes.Attributes) attributes.Attributes) error {
	i := n.Value
	key, err := f.key(ctx, n)
	if err != nil {
		return err
	}
	if n.ID == nodes.RootID {
		if key = f.config.Prefix; key == "" {
			return fmt.Errorf("the root of a bucket has no object for its attributes: %w", unix.EPERM)
		}
	}
	if err := i.turn.take(ctx); err != nil {
		return err
	}
	defer i.turn.give()
	i.mu.Lock()
	wanted, metadata := change(i.attr), i.object.Metadata
	same := wanted == i.attr
	i.mu.Unlock()
	if same {
		return nil
	}
	return f.putMarker(ctx, n, key, wanted, metadata, s3.Condition{})
}

// putMarker writes the marker of a directory.
func (f *FS) putMarker(ctx context.Context, n *node, key string, a attributes.Attributes, metadata map[string]string, c s3.Condition) error {
	m := a.Metadata(metadata)
	o, err := f.put(ctx, key, nil, m, c)
	if err != nil {
		return err
	}
	if n == nil {
		return nil
	}
	i := n.Value
	i.mu.Lock()
	defer i.mu.Unlock()
	i.attr, i.object, i.known, i.kept, i.asked = a, o, true, true, time.Now()
	i.object.Metadata = m
	return nil
}

// put writes a small object.
func (f *FS) put(ctx context.Context, key string, content []byte, metadata map[string]string, c s3.Condition) (s3.Object, error) {
	o, err := f.bucket.Put(ctx, key, bytes.NewReader(content), int64(len(content)), s3.WriteOptions{
		Condition: c, Metadata: metadata, StorageClass: f.config.StorageClass, SSE: f.config.SSE,
	})
	if err == nil {
		f.health.well()
	}
	return o, err
}
