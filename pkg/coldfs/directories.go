package coldfs

// Reading directories.

import (
	"context"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/attributes"
	"github.com/strata-csi/strata/pkg/coldfs/listing"
	"github.com/strata-csi/strata/pkg/coldfs/nodes"
)

// directory is what is open of a directory. The offset 1 is behind ".", 2 behind "..", and n+3 behind the entry n of the listing.
type directory struct {
	mu      turn // of who reads
	listing *listing.Directory
}

const firstEntry = 2

// OpenDir opens a directory; nothing is asked of the store until it is read.
func (f *FS) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n, err := f.directory(in.NodeId)
	if err != nil {
		return f.answer(err)
	}
	if !f.table.Pin(n) {
		return f.answer(unix.ESTALE)
	}
	if out.Fh, err = f.handles.add(&handle{node: n, dir: &directory{}}); err != nil {
		f.table.Unpin(n)
		return f.answer(err)
	}
	i := n.Value
	i.mu.Lock()
	defer i.mu.Unlock()
	i.sampled = false
	if i.open++; i.removed == nil {
		i.removed = map[string]time.Time{}
	}
	return fuse.OK
}

// ReleaseDir ends what OpenDir began.
func (f *FS) ReleaseDir(in *fuse.ReleaseIn) {
	h := f.handles.take(in.Fh)
	if h == nil {
		return
	}
	i := h.node.Value
	i.mu.Lock()
	if i.open--; i.open == 0 {
		i.removed = nil
	}
	i.mu.Unlock()
	f.table.Unpin(h.node)
}

// ReadDir lists names and types.
func (f *FS) ReadDir(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.readDir(cancel, in, reply{
		dot: out.AddDirEntry,
		add: func(_ context.Context, parent *node, entries []listing.Numbered) bool {
			for _, e := range entries {
				if !out.AddDirEntry(f.dirent(parent, e)) {
					return true
				}
			}
			return len(entries) > 0
		},
	})
}

// ReadDirPlus lists attributes too. Where no file has metadata they are those of the listing, without a request for each.
func (f *FS) ReadDirPlus(cancel <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	return f.readDir(cancel, in, reply{
		dot: func(e fuse.DirEntry) bool { return out.AddDirLookupEntry(e) != nil },
		add: func(ctx context.Context, parent *node, entries []listing.Numbered) bool {
			return f.addPlus(ctx, out, parent, entries)
		},
	})
}

// reply is where entries go. Each tells whether there was room; add also, that none was wanted.
type reply struct {
	dot func(fuse.DirEntry) bool
	add func(ctx context.Context, parent *node, entries []listing.Numbered) (some bool)
}

// addPlus adds entries with their nodes, as many as there is room for; false: none of them is there any more.
func (f *FS) addPlus(ctx context.Context, out *fuse.DirEntryList, parent *node, entries []listing.Numbered) (some bool) {
	asked := f.inspect(ctx, parent, entries)
	defer func() {
		for _, n := range asked {
			if n != nil {
				f.table.Unpin(n)
			}
		}
	}()
	for k, e := range entries {
		n := asked[k]
		asked[k] = nil
		if n == nil {
			if n = f.listed(parent, e.Entry); n == nil {
				continue // it has been removed
			}
		}
		d := f.dirent(parent, e)
		d.Ino = n.Ino
		n.Value.mu.Lock()
		d.Mode = n.Value.attr.Mode & unix.S_IFMT
		n.Value.mu.Unlock()
		space := out.AddDirLookupEntry(d)
		if space != nil && !f.full() {
			f.entry(n, space) // otherwise it is a name without a node, which the kernel asks for if somebody wants to know
		}
		f.table.Unpin(n)
		if some = true; space == nil {
			break
		}
	}
	return some
}

// smallestEntry is what an entry takes of a reply at least, in bytes (struct fuse_direntplus, a name of up to eight).
const smallestEntry = 160

func (f *FS) readDir(cancel <-chan struct{}, in *fuse.ReadIn, r reply) fuse.Status {
	h, err := f.handles.get(in.Fh)
	if err != nil || h.dir == nil {
		return f.answer(unix.EBADF)
	}
	ctx := interrupted(cancel)
	d := h.dir
	if err := d.mu.take(ctx); err != nil {
		return f.answer(err)
	}
	defer d.mu.give()
	at := in.Offset
	if at == 0 || d.listing == nil {
		if d.listing, err = f.list(ctx, h.node); err != nil {
			return f.answer(err)
		}
	}
	up := h.node.Ino
	if parent, _, ok := f.table.Place(h.node); ok {
		up = parent.Ino
	}
	for ; at < firstEntry; at++ {
		e := fuse.DirEntry{Name: ".", Ino: h.node.Ino, Mode: unix.S_IFDIR, Off: at + 1}
		if at == 1 {
			e.Name, e.Ino = "..", up
		}
		if !r.dot(e) {
			return fuse.OK
		}
	}
	// A page for one request: the kernel comes again, and who wants a few entries doesn't wait for more. But no entry at all would be the end.
	for {
		entries, err := d.listing.From(ctx, at-firstEntry, int(in.Size)/smallestEntry+1)
		if err != nil {
			return f.answer(err)
		}
		if len(entries) == 0 {
			return fuse.OK
		}
		if r.add(ctx, h.node, entries) {
			return fuse.OK
		}
		at = entries[len(entries)-1].Number + firstEntry + 1
	}
}

// list begins a listing.
func (f *FS) list(ctx context.Context, n *node) (*listing.Directory, error) {
	key, err := f.key(ctx, n)
	if err != nil {
		return nil, err
	}
	o := listing.Options{Lister: f.lister(n.ID), Prefix: key}
	if n.ID == nodes.RootID {
		o.Hide = func(segment string) bool { return segment == reserved }
	}
	i := n.Value
	i.mu.Lock()
	defer i.mu.Unlock()
	for name := range i.fresh {
		o.First = append(o.First, listing.Entry{Name: name, Asked: time.Now()})
	}
	return listing.Open(o), nil
}

// lister lists a directory; what it lists may answer lookups, unless it would be too old at once.
func (f *FS) lister(id uint64) listing.Lister {
	if f.keeps() {
		return f.pages.Record(id, pager(f.page))
	}
	return pager(f.page)
}

// dirent is an entry as readdir shows it. Of what may be a symlink the type isn't known.
func (f *FS) dirent(parent *node, e listing.Numbered) fuse.DirEntry {
	d := fuse.DirEntry{Name: e.Name, Ino: f.table.InoOf(parent, e.Name), Mode: unix.S_IFREG, Off: e.Number + firstEntry + 1}
	switch {
	case e.Dir:
		d.Mode = unix.S_IFDIR
	case e.Object.Size == attributes.SymlinkSize:
		d.Mode = 0
	}
	return d
}

// samples is how many entries of a directory are asked for to find out whether its files have metadata.
const samples = 16

// inspect asks the store for the metadata of entries, at once for many, and pins their nodes; nil for those that weren't asked for. A listing has no metadata, and a request for each entry takes long; but what is shown first must
// be what is shown later, or tar and rsync take a wrong time and mode. So what may be a symlink is asked for, and a few others: if any of these has metadata, all are.
func (f *FS) inspect(ctx context.Context, parent *node, entries []listing.Numbered) []*node {
	nodes := make([]*node, len(entries))
	var unknown []int
	for k, e := range entries {
		if !e.Dir && e.Object.Key != "" && !f.knows(parent, e) {
			unknown = append(unknown, k)
		}
	}
	ask := func(wanted func(at, k int) bool) {
		var group errgroup.Group
		group.SetLimit(32)
		for at, k := range unknown {
			if nodes[k] == nil && wanted(at, k) {
				group.Go(func() error {
					nodes[k] = f.inspectOne(ctx, parent, entries[k].Entry)
					return nil
				})
			}
		}
		_ = group.Wait()
	}
	if !f.bears(parent) {
		passed, step := 0, max(1, len(unknown)/samples)
		if f.sampled(parent) {
			passed, step = f.pass(parent, len(unknown)), plainEvery
		}
		ask(func(at, k int) bool { return (passed+at)%step == 0 || entries[k].Object.Size == attributes.SymlinkSize })
	}
	if f.bears(parent) {
		ask(func(int, int) bool { return true })
	}
	return nodes
}

// bears tells whether files of a directory are known to have metadata.
func (f *FS) bears(dir *node) bool {
	dir.Value.mu.Lock()
	defer dir.Value.mu.Unlock()
	return dir.Value.bears
}

// pass counts files of a directory whose metadata isn't asked for, and tells how many there were before.
func (f *FS) pass(dir *node, count int) (before int) {
	dir.Value.mu.Lock()
	defer dir.Value.mu.Unlock()
	before = dir.Value.passed
	dir.Value.passed += count
	return before
}

// sampled tells whether a directory was sampled since it was opened, and that it is now.
func (f *FS) sampled(dir *node) bool {
	dir.Value.mu.Lock()
	defer dir.Value.mu.Unlock()
	was := dir.Value.sampled
	dir.Value.sampled = true
	return was
}

// inspectOne asks for one entry; nil: it is to be shown by the listing.
func (f *FS) inspectOne(ctx context.Context, parent *node, e listing.Entry) *node {
	release, err := f.paths.take(ctx, parent.ID, e.Name)
	if err != nil {
		return nil
	}
	defer release()
	asked := time.Now()
	o, err := f.head(ctx, e.Object.Key)
	if err != nil {
		return nil
	}
	n := f.pinned(parent, e.Name)
	return f.adopt(parent, e.Name, n, found{object: o, asked: asked})
}

// knows tells whether the metadata of what a listing shows is known.
func (f *FS) knows(parent *node, e listing.Numbered) bool {
	n := f.table.Child(parent, e.Name)
	if n == nil {
		return false
	}
	n.Value.mu.Lock()
	defer n.Value.mu.Unlock()
	return n.Value.known && n.Value.is(found{object: e.Object})
}
