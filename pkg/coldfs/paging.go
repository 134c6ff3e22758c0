package coldfs

// What a name means by a page of the listing of its directory (pkg/coldfs/pages), in the place of two requests for it alone.

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/attributes"
	"github.com/strata-csi/strata/pkg/coldfs/pages"
	"github.com/strata-csi/strata/pkg/s3"
)

// byPage asks the page that a name is in; false: there is none, or it doesn't say enough. A page is used for as long as the kernel itself would keep what it says. Who has the name calls it. n is the node that is there, or nil.
func (f *FS) byPage(ctx context.Context, parent *node, name string, n *node) (found, bool) {
	if parsed, err := f.parse(parent, name); err != nil || parsed.Beside || parsed.Segment != name {
		return found{}, false
	}
	key, err := f.childKey(ctx, parent, name, false)
	if err != nil {
		return found{}, false
	}
	in := pages.Name{Directory: parent.ID, Prefix: key[:len(key)-len(name)], Segment: name}
	since := f.oldest()
	a, ok := f.pages.Find(in, since)
	if !ok && f.askPage(ctx, in, since) {
		a, ok = f.pages.Find(in, since)
	}
	switch {
	case !ok || !a.Dir && a.Object.Key == "":
		// What wasn't there is asked for: another node may have made it since, and said so to who looks for it here.
		return found{}, false
	case n != nil && n.Value.dir != a.Dir:
		return found{}, false
	case a.Dir:
		return f.markerOf(ctx, key+"/", n, a.Asked)
	case !a.Known && f.wants(parent, n, a.Object):
		return f.inspectAhead(ctx, parent, a)
	}
	return found{object: a.Object, asked: a.Asked, listed: !a.Known}, true
}

// keeps tells whether anything that was asked for may be used a second time.
func (f *FS) keeps() bool { return f.config.Immutable || f.config.MetadataTTL > 0 }

// oldest is when the store must have been asked for what may be shown now.
func (f *FS) oldest() time.Time {
	if f.config.Immutable {
		return time.Now().Add(-immutableTTL)
	}
	return time.Now().Add(-f.config.MetadataTTL)
}

// askPage asks for a page that has a name in it, if that is likely to pay.
func (f *FS) askPage(ctx context.Context, in pages.Name, since time.Time) bool {
	if !f.keeps() {
		return false
	}
	asked, ok := f.pages.Ask(in, since)
	if !ok {
		return false
	}
	page, err := f.page(ctx, asked.Request)
	if err != nil {
		f.pages.Drop(asked)
		return false
	}
	f.pages.Keep(asked, page)
	return true
}

// markerOf is what a directory is: its marker has the attributes, which no page has. A known one is asked for as always, which takes one request too.
func (f *FS) markerOf(ctx context.Context, key string, n *node, listed time.Time) (found, bool) {
	if n != nil {
		return found{}, false
	}
	asked := time.Now()
	o, err := f.head(ctx, key)
	switch {
	case errors.Is(err, s3.ErrNotFound):
		return found{dir: true, asked: listed}, true
	case err != nil:
		return found{}, false
	}
	return found{dir: true, object: o, asked: asked}, true
}

const (
	// plainEnough is how many files of a directory were found to have no metadata, one after the other, before others are taken to have none either.
	plainEnough = samples
	// plainEvery: of those, one in so many is looked at all the same.
	plainEvery = 256
)

// wants tells whether the metadata of an object must be asked for, as readdir does.
func (f *FS) wants(parent, n *node, o s3.Object) bool {
	if n != nil {
		n.Value.mu.Lock()
		same := n.Value.known && n.Value.is(found{object: o})
		n.Value.mu.Unlock()
		if same {
			return false
		}
	}
	p := parent.Value
	p.mu.Lock()
	defer p.mu.Unlock()
	p.passed++
	return p.bears || p.plain < plainEnough || o.Size == attributes.SymlinkSize || p.passed%plainEvery == 0
}

// saw notes whether a file of a directory has metadata.
func (i *inode) saw(metadata map[string]string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if attributes.In(metadata) {
		i.bears = true
	} else {
		i.plain++
	}
}

// inspectAhead asks for the metadata of an object of a page, and of those behind it that are needed too if somebody goes through it in order.
func (f *FS) inspectAhead(ctx context.Context, parent *node, a pages.Answer) (found, bool) {
	p := parent.Value
	p.mu.Lock()
	most := max(1, plainEnough-p.plain)
	if p.bears {
		most = maxInspected
	}
	p.mu.Unlock()
	objects := f.pages.Ahead(a, most)
	var got found
	var group errgroup.Group
	for k, o := range objects {
		group.Go(func() error {
			asked := time.Now()
			h, err := f.head(ctx, o.Key)
			if err != nil && !errors.Is(err, s3.ErrNotFound) {
				return err
			}
			f.pages.Inspected(a, o.Key, h, asked)
			switch {
			case k == 0:
				got = found{object: h, asked: asked} // adopting it is noticing what it has
			case err == nil:
				p.saw(h.Metadata)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil && got.object.Key == "" {
		return found{}, false
	}
	return got, got.object.Key != ""
}

// maxInspected is how many objects are asked for at once.
const maxInspected = 32

// changed notes that a name was changed here, so that no page of before is believed of it.
func (f *FS) changed(parent *node, name string) {
	f.pages.Changed(parent.ID, name)
}

// changedNode is changed for where a node stands.
func (f *FS) changedNode(n *node) {
	if parent, name, ok := f.table.Place(n); ok {
		f.changed(parent, name)
	}
}

// shown tells whether two files look the same to who asks whether he may open them.
func shown(a, b attributes.Attributes) bool {
	return a.Mode&^unix.S_IFMT == b.Mode&^unix.S_IFMT && a.UID == b.UID && a.GID == b.GID
}
