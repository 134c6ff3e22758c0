package coldfs

// What a name means: asked of the store, and made a node.

import (
	"context"
	"errors"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/attributes"
	"github.com/strata-csi/strata/pkg/coldfs/listing"
	"github.com/strata-csi/strata/pkg/s3"
)

// found is what the store has at a name.
type found struct {
	dir    bool
	object s3.Object // of a directory: its marker; without a key there is none
	asked  time.Time
	listed bool // object is of a listing, without metadata
}

// Lookup says what a name means.
func (f *FS) Lookup(cancel <-chan struct{}, header *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	parent, err := f.directory(header.NodeId)
	if err != nil {
		return f.answer(err)
	}
	asked := time.Now()
	n, err := f.lookup(interrupted(cancel), parent, name)
	if errors.Is(err, s3.ErrNotFound) {
		// No node: the kernel may believe for a while that there is nothing.
		out.NodeId = 0
		out.SetEntryTimeout(f.ttl(asked))
		return fuse.OK
	}
	if err != nil {
		return f.answer(err)
	}
	f.entry(n, out)
	f.table.Unpin(n)
	return fuse.OK
}

// lookup finds the node of a name and pins it. The error wraps s3.ErrNotFound if there is nothing. What is there is shown as it was at most as long ago as the kernel would keep it.
func (f *FS) lookup(ctx context.Context, parent *node, name string) (*node, error) {
	begun := time.Now()
	if _, err := f.parse(parent, name); err != nil {
		// What can't be isn't there; making it is what is refused.
		if errnoOf(err) == unix.ENAMETOOLONG {
			return nil, err
		}
		return nil, s3.ErrNotFound
	}
	release, err := f.paths.take(ctx, parent.ID, name)
	if err != nil {
		return nil, err
	}
	defer release()
	if n := f.there(parent, name, begun); n != nil {
		return n, nil
	}
	n := f.pinned(parent, name)
	if got, ok := f.byPage(ctx, parent, name, n); ok {
		return f.adopt(parent, name, n, got), nil
	}
	if n != nil {
		f.table.Unpin(n)
	}
	return f.lookupLocked(ctx, parent, name, begun)
}

// pinned is the node at a name, pinned; nil: there is none.
func (f *FS) pinned(parent *node, name string) *node {
	n := f.table.Child(parent, name)
	if n != nil && !f.table.Pin(n) {
		return nil
	}
	return n
}

// there is the node at a name, pinned, if what is known of it was asked for since begun, or is newer than what the store has.
func (f *FS) there(parent *node, name string, begun time.Time) *node {
	n := f.pinned(parent, name)
	if n == nil {
		return nil
	}
	n.Value.mu.Lock()
	enough := n.Value.isLocal() || n.Value.asked.After(begun)
	n.Value.mu.Unlock()
	if !enough {
		f.table.Unpin(n)
		return nil
	}
	return n
}

// lookupLocked is lookup by who has the name. What was asked for since begun is new enough.
func (f *FS) lookupLocked(ctx context.Context, parent *node, name string, begun time.Time) (*node, error) {
	if n := f.there(parent, name, begun); n != nil {
		return n, nil
	}
	n := f.pinned(parent, name)
	got, err := f.ask(ctx, parent, name, n)
	if errors.Is(err, s3.ErrNotFound) {
		if n != nil {
			f.gone(parent, name, n)
			f.table.Unpin(n)
		}
		f.absent.note(parent.ID, name, time.Now())
		return nil, err
	}
	if err != nil {
		if n != nil {
			f.table.Unpin(n)
		}
		return nil, err
	}
	return f.adopt(parent, name, n, got), nil
}

// ask asks the store what a name is. A directory takes the place of an object of its name, which is then found under another name.
func (f *FS) ask(ctx context.Context, parent *node, name string, n *node) (found, error) {
	parsed, err := f.parse(parent, name)
	if err != nil {
		return found{}, err
	}
	asked := time.Now()
	dirKey, dirErr := f.childKey(ctx, parent, name, true)
	key, err := f.childKey(ctx, parent, name, false)
	if err != nil {
		return found{}, err
	}
	if n != nil && !parsed.Beside {
		// What it was before, it mostly is still.
		got, err := f.again(ctx, n, key, dirKey)
		if err == nil || !errors.Is(err, s3.ErrNotFound) {
			return got, err
		}
	}
	var object s3.Object
	var page s3.Page
	var headErr, listErr error
	var both errgroup.Group
	// The key of an object without a name is that of its directory's marker.
	headErr = s3.ErrNotFound
	if parsed.Segment != "" {
		both.Go(func() error { object, headErr = f.head(ctx, key); return nil })
	}
	if dirErr == nil {
		both.Go(func() error {
			page, listErr = f.page(ctx, s3.ListRequest{Prefix: dirKey, Max: 1})
			return nil
		})
	}
	_ = both.Wait()
	switch {
	case listErr != nil:
		return found{}, listErr
	case headErr != nil && !errors.Is(headErr, s3.ErrNotFound):
		return found{}, headErr
	}
	dir := len(page.Objects) > 0
	switch {
	case dir && parsed.Beside && headErr == nil, !dir && !parsed.Beside && headErr == nil:
		return found{object: object, asked: asked}, nil
	case dir && !parsed.Beside:
		got := found{dir: true, asked: asked}
		if page.Objects[0].Key == dirKey {
			if got.object, err = f.head(ctx, dirKey); err != nil && !errors.Is(err, s3.ErrNotFound) {
				return found{}, err
			}
		}
		return got, nil
	}
	return found{}, s3.ErrNotFound
}

// again asks whether a name is what it was.
func (f *FS) again(ctx context.Context, n *node, key, dirKey string) (found, error) {
	f.stats.revalidations.Add(1)
	asked := time.Now()
	if !n.Value.dir {
		object, err := f.head(ctx, key)
		return found{object: object, asked: asked}, err
	}
	n.Value.mu.Lock()
	marker := n.Value.object.ETag != ""
	n.Value.mu.Unlock()
	if marker {
		object, err := f.head(ctx, dirKey)
		return found{dir: true, object: object, asked: asked}, err
	}
	page, err := f.page(ctx, s3.ListRequest{Prefix: dirKey, Max: 1})
	if err == nil && (len(page.Objects) == 0 || page.Objects[0].Key == dirKey) {
		err = s3.ErrNotFound // or not as it was
	}
	return found{dir: true, asked: asked}, err
}

// head is bucket.Head; an object says that the store is well. That there is none says nothing: the answer of a store whose bucket is gone is the same. A listing tells, and whoever finds nothing asks for one
// before a program is told so.
func (f *FS) head(ctx context.Context, key string) (s3.Object, error) {
	o, err := f.bucket.Head(ctx, key)
	if err == nil {
		f.health.well()
	}
	return o, err
}

// page is bucket.List; what it answers says that the store is well.
func (f *FS) page(ctx context.Context, r s3.ListRequest) (s3.Page, error) {
	p, err := f.bucket.List(ctx, r)
	if err == nil {
		f.health.well()
	}
	return p, err
}

// pager makes page a listing.Lister.
type pager func(context.Context, s3.ListRequest) (s3.Page, error)

func (p pager) List(ctx context.Context, r s3.ListRequest) (s3.Page, error) { return p(ctx, r) }

// adopt makes the node of a name be what was found. n is the node that was there, pinned, or nil; the answer is pinned instead.
func (f *FS) adopt(parent *node, name string, n *node, got found) *node {
	if !got.dir && !got.listed {
		parent.Value.saw(got.object.Metadata)
	}
	if n != nil && n.Value.dir == got.dir {
		if n.Value.renew(f, got) {
			return n
		}
		// Somebody has the old version open. He goes on with it, and everybody else gets the new one.
		f.stats.replaced.Add(1)
		fresh := f.table.Replace(n, f.inode(got))
		f.table.Unpin(n)
		return fresh
	}
	if n != nil {
		f.table.Unpin(n)
	}
	fresh, _ := f.table.Enter(parent, name, f.inode(got))
	return fresh
}

// inode is a new one.
func (f *FS) inode(got found) *inode {
	i := &inode{dir: got.dir}
	i.set(f, got)
	return i
}

// set takes what was found. i.mu is held, or i is new.
func (i *inode) set(f *FS, got found) {
	if !i.is(got) {
		i.known, i.target = false, nil
	}
	if !got.listed {
		i.attr = attributes.Parse(got.object.Metadata, f.fallback(i.dir, modified(got)))
		i.known = true
		i.kept = i.dir && got.object.Key != ""
		i.object = got.object
	} else if i.known {
		i.object.Modified = got.object.Modified
	} else {
		i.attr = f.fallback(i.dir, modified(got))
		i.object = got.object
	}
	i.asked = got.asked
}

// is tells whether what was found is what is known, metadata included: a change of metadata is a copy for the store, with a time of its own. What this mount wrote itself has no time until it is
// found the first time. i.mu is held.
func (i *inode) is(got found) bool {
	return i.object.ETag == got.object.ETag && (i.object.Modified.IsZero() || i.object.Modified.Unix() == got.object.Modified.Unix())
}

// modified is the time of what has no metadata. A directory without a marker has none of its own: it shows when this engine began, so that it doesn't change with each look.
func modified(got found) time.Time {
	if got.object.Modified.IsZero() {
		return began
	}
	return got.object.Modified
}

var began = time.Now()

// renew makes i be what was found; false: that is another version of a file which somebody has open.
func (i *inode) renew(f *FS, got found) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case i.isLocal() || i.asked.After(got.asked):
		return true // what is known is newer
	case i.dir && got.listed:
		i.asked = got.asked
		return true
	case !i.dir && i.object.ETag != got.object.ETag && (i.handles > 0 || i.draft != nil):
		return false
	case !i.dir && f.kind(got, i) != i.attr.Type():
		return false // the kernel takes no node that becomes something else
	}
	i.set(f, got)
	return true
}

// kind is the type of what was found; a listing doesn't know of what i knows already. i.mu is held.
func (f *FS) kind(got found, i *inode) uint32 {
	if got.listed {
		if i.known && i.is(got) {
			return i.attr.Type()
		}
		return unix.S_IFREG
	}
	return attributes.Parse(got.object.Metadata, f.fallback(false, began)).Type()
}

// gone takes a node from its path, as the store has nothing there. What somebody has open goes on.
func (f *FS) gone(_ *node, _ string, n *node) {
	f.table.Detach(n)
}

// listed is the node of an entry of a listing, pinned; nil: the name was removed after the listing was asked for.
func (f *FS) listed(parent *node, e listing.Entry) *node {
	p := parent.Value
	p.mu.Lock()
	removed, ok := p.removed[e.Name]
	p.mu.Unlock()
	if ok && !e.Asked.After(removed) {
		return nil
	}
	n := f.pinned(parent, e.Name)
	if e.Object.Key == "" && !e.Dir {
		return n // it isn't in the store; when it isn't in the table either, it has just been removed
	}
	return f.adopt(parent, e.Name, n, found{dir: e.Dir, object: e.Object, asked: e.Asked, listed: true})
}

// entry tells the kernel of a node, which counts it.
func (f *FS) entry(n *node, out *fuse.EntryOut) {
	i := n.Value
	i.mu.Lock()
	defer i.mu.Unlock()
	f.table.Count(n)
	out.NodeId, out.Generation = n.ID, 1
	ttl := f.ttl(i.asked)
	switch {
	case i.isLocal():
		ttl = f.config.MetadataTTL
	case i.dir && !i.known:
		ttl = 0 // a listing has nothing of a directory but its name: who wants to know more asks for it
	}
	out.SetEntryTimeout(ttl)
	out.SetAttrTimeout(ttl)
	f.attributes(n, &out.Attr)
	f.crowd()
}

// attributes writes what stat shows. n.Value.mu is held.
func (f *FS) attributes(n *node, out *fuse.Attr) {
	i := n.Value
	a := f.shown(i.attr)
	*out = fuse.Attr{Ino: n.Ino, Mode: a.Mode, Nlink: 1, Owner: fuse.Owner{Uid: a.UID, Gid: a.GID}}
	if i.dir {
		out.Nlink = 2
	} else {
		out.Size = uint64(i.size())
		if i.attr.Type() == unix.S_IFLNK && i.attr.Target >= 0 {
			out.Size = uint64(i.attr.Target)
		}
		out.Blocks = (out.Size + 511) / 512
	}
	if i.unlinked {
		out.Nlink = 0
	}
	// The store keeps one time. As a change time it is the same before and after the commit, which git looks at.
	t := i.attr.Mtime
	out.SetTimes(&t, &t, &t)
}

// Forget ends what the kernel counts.
func (f *FS) Forget(id, count uint64) { f.table.Forget(id, count) }
