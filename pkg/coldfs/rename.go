package coldfs

// Renaming: a copy and a removal for the store, of one object or of all below a directory.

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/nodes"
	"github.com/strata-csi/strata/pkg/s3"
)

// Rename renames a file or a directory, over what is there if that may be.
func (f *FS) Rename(cancel <-chan struct{}, in *fuse.RenameIn, oldName, newName string) fuse.Status {
	return f.answer(f.rename(interrupted(cancel), in, oldName, newName))
}

func (f *FS) rename(ctx context.Context, in *fuse.RenameIn, oldName, newName string) error {
	if f.config.ReadOnly {
		return unix.EROFS
	}
	if in.Flags&^unix.RENAME_NOREPLACE != 0 {
		return unix.EINVAL
	}
	from, err := f.directory(in.NodeId)
	if err != nil {
		return err
	}
	to, err := f.directory(in.Newdir)
	if err != nil {
		return err
	}
	if _, err := f.parse(from, oldName); err != nil {
		return err
	}
	if err := f.creatable(to, newName); err != nil {
		return err
	}
	if !f.table.Pin(from) {
		return unix.ESTALE
	}
	defer f.table.Unpin(from)
	if !f.table.Pin(to) {
		return unix.ESTALE
	}
	defer f.table.Unpin(to)
	release, err := f.paths.takeTwo(ctx, pathName{from.ID, oldName}, pathName{to.ID, newName})
	if err != nil {
		return err
	}
	defer func() {
		f.changed(from, oldName)
		f.changed(to, newName)
		release()
	}()
	begun := time.Now()
	src, err := f.lookupLocked(ctx, from, oldName, begun)
	if err != nil {
		return err
	}
	defer f.table.Unpin(src)
	if from == to && oldName == newName {
		return nil
	}
	dst, err := f.lookupLocked(ctx, to, newName, begun)
	switch {
	case errors.Is(err, s3.ErrNotFound):
		dst = nil
	case err != nil:
		return err
	default:
		defer f.table.Unpin(dst)
		switch {
		case in.Flags&unix.RENAME_NOREPLACE != 0:
			return unix.EEXIST
		case src.Value.dir && !dst.Value.dir:
			return unix.ENOTDIR
		case !src.Value.dir && dst.Value.dir:
			return unix.EISDIR
		}
	}
	if err := f.keep(ctx, from); err != nil {
		return err
	}
	if src.Value.dir {
		return f.renameDirectory(ctx, place{from, oldName}, place{to, newName}, src, dst)
	}
	return f.renameFile(ctx, place{from, oldName}, place{to, newName}, src, dst, in.Flags&unix.RENAME_NOREPLACE != 0)
}

// place is a name in a directory.
type place struct {
	parent *node
	name   string
}

// renameFile commits what is written of the file first; who has it open goes on with it under its new name.
func (f *FS) renameFile(ctx context.Context, from, to place, src, dst *node, vacant bool) error {
	key, err := f.childKey(ctx, to.parent, to.name, false)
	if err != nil {
		return err
	}
	files := []*node{src}
	if dst != nil {
		files = append(files, dst)
	}
	release, err := takeTurns(ctx, files)
	if err != nil {
		return err
	}
	defer release()
	i := src.Value
	i.io.Lock()
	defer i.io.Unlock()
	if err := f.rest(src); err != nil {
		return err
	}
	i.mu.Lock()
	o := i.object
	i.mu.Unlock()
	if o.ETag == "" {
		return unix.ESTALE
	}
	var over s3.Object
	if dst != nil {
		f.orphan(ctx, dst)
		dst.Value.mu.Lock()
		over = dst.Value.object
		dst.Value.mu.Unlock()
	}
	moved, err := f.mover.File(ctx, o, key, s3.Condition{IfAbsent: vacant})
	switch {
	case errors.Is(err, s3.ErrNotFound):
		return fmt.Errorf("%w: %w", s3.ErrConflict, err)
	case err != nil:
		return err
	}
	f.usage.add(-over.Size)
	if dst != nil {
		f.vanish(to.parent, to.name, dst)
	}
	f.removed(from.parent, from.name)
	f.table.Move(src, to.parent, to.name)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.replaced(moved, o.Metadata)
	return nil
}

// rest commits a file and closes its draft, as a draft has its key for ever. The turn and all of io are held.
func (f *FS) rest(n *node) error {
	if err := f.commitLocked(f.commits, n); err != nil {
		return err
	}
	i := n.Value
	i.mu.Lock()
	d := i.draft
	if i.unlinked {
		d = nil
	} else {
		i.draft = nil
	}
	i.mu.Unlock()
	if d != nil {
		d.Close()
	}
	return nil
}

// takeTurns takes the turns of files, always in the same order.
func takeTurns(ctx context.Context, files []*node) (release func(), err error) {
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b *node) int { return cmp.Compare(a.ID, b.ID) })
	var taken []*node
	release = func() {
		for _, n := range taken {
			n.Value.turn.give()
		}
	}
	for _, n := range files {
		if err := n.Value.turn.take(ctx); err != nil {
			release()
			return nil, err
		}
		taken = append(taken, n)
	}
	return release, nil
}

// renameDirectory renames all keys below a directory. It isn't one step for the store: an error in the middle leaves a part of it at either name, and it is finished when the engine starts again. What is done below
// the directory by this mount waits meanwhile.
func (f *FS) renameDirectory(ctx context.Context, from, to place, src, dst *node) error {
	oldKey, err := f.childKey(ctx, from.parent, from.name, true)
	if err != nil {
		return err
	}
	newKey, err := f.childKey(ctx, to.parent, to.name, true)
	if err != nil {
		return err
	}
	if dst != nil {
		// What is refused must not have taken away what it would have replaced.
		if err := f.mover.Fits(ctx, oldKey, newKey); err != nil {
			return err
		}
		if err := f.rmdir(ctx, to.parent, to.name); err != nil {
			return err
		}
	}
	defer f.moving.begin(src)()
	defer f.pages.Clear() // of all that is below it
	below := f.table.Below(src)
	defer func() {
		for _, n := range below {
			f.table.Unpin(n)
		}
	}()
	var open []*node
	for _, n := range below {
		n.Value.mu.Lock()
		if n.Value.handles > 0 || n.Value.draft != nil {
			open = append(open, n)
		}
		n.Value.mu.Unlock()
	}
	release, err := takeTurns(ctx, open)
	if err != nil {
		return err
	}
	defer release()
	for _, n := range open {
		n.Value.io.Lock()
		defer n.Value.io.Unlock()
		if err := f.rest(n); err != nil {
			return err
		}
	}
	if err := f.mover.Directory(ctx, oldKey, newKey); err != nil {
		return fmt.Errorf("rename %q to %q: %w", oldKey, newKey, err)
	}
	f.removed(from.parent, from.name)
	f.table.Move(src, to.parent, to.name)
	f.follow(ctx, src, open)
	return nil
}

// follow tells the nodes below a directory that was moved where their objects are. What isn't open is looked up again when it is used.
func (f *FS) follow(ctx context.Context, dir *node, open []*node) {
	dir.Value.mu.Lock()
	dir.Value.asked = time.Time{}
	dir.Value.mu.Unlock()
	for _, n := range open {
		path, ok := f.table.Path(n)
		if !ok || n.Value.dir {
			continue
		}
		key, err := f.keyOf(path, false)
		if err != nil {
			continue
		}
		asked := time.Now()
		o, err := f.head(ctx, key)
		i := n.Value
		i.mu.Lock()
		if err == nil && o.Size == i.object.Size {
			i.replaced(o, o.Metadata)
			i.asked = asked
		} else {
			f.log.Error(err, "A file that is open can't be found where its directory was renamed to", "key", key)
		}
		i.mu.Unlock()
	}
}

// moving are the directories that are being renamed.
type moving struct {
	mu  sync.Mutex
	all map[*node]chan struct{}
}

func (m *moving) begin(n *node) (end func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.all == nil {
		m.all = map[*node]chan struct{}{}
	}
	done := make(chan struct{})
	m.all[n] = done
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.all, n)
		close(done)
	}
}

// wait waits until no directory above a node, nor the node itself, is being renamed.
func (m *moving) wait(ctx context.Context, table *nodes.Table[*inode], n *node) error {
	for {
		done := m.above(table, n)
		if done == nil {
			return nil
		}
		select {
		case <-done:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (m *moving) above(table *nodes.Table[*inode], n *node) chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.all) == 0 {
		return nil
	}
	for up, ok := n, true; ok; up, _, ok = table.Place(up) {
		if done := m.all[up]; done != nil {
			return done
		}
	}
	return nil
}
