package coldfs

// The file system and what it knows of each node.

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/coldfs/attributes"
	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/draft"
	"github.com/strata-csi/strata/pkg/coldfs/move"
	"github.com/strata-csi/strata/pkg/coldfs/names"
	"github.com/strata-csi/strata/pkg/coldfs/nodes"
	"github.com/strata-csi/strata/pkg/coldfs/pages"
	"github.com/strata-csi/strata/pkg/coldfs/reading"
	"github.com/strata-csi/strata/pkg/s3"
)

const (
	// reserved is the name at the root under which the driver keeps its own objects.
	reserved = ".strata"
	// immutableTTL is how long the kernel keeps what never changes.
	immutableTTL = 24 * time.Hour
)

// FS answers the kernel's requests. What it doesn't implement itself is answered ENOSYS, so that the kernel does without.
type FS struct {
	fuse.RawFileSystem

	config config.Config
	pauses Pauses
	bucket *s3.Bucket
	drafts *draft.Store
	reader *reading.Reader
	cache  *blockcache.Cache
	mover  *move.Mover
	log    klog.Logger
	usage  *usage
	health *health

	limits  Limits
	table   *nodes.Table[*inode]
	handles handles
	paths   pathLocks
	moving  moving
	absent  absences
	pages   pages.Pages
	stats   counters
	metrics *metrics
	trouble trouble
	through through
	// stale are names that the kernel should forget, as what it knows by them can't be used any more.
	stale chan staleName
	// crowded holds a token when the table of nodes has got larger than it should be.
	crowded chan struct{}
	// commits is the context of what is written to the store: no signal ends it.
	commits context.Context
}

type staleName struct {
	parent uint64
	name   string
}

type node = nodes.Node[*inode]

// inode is what is known of a node: a directory, a file or a symlink.
type inode struct {
	dir bool

	mu sync.Mutex
	// attr is what stat shows, besides the size of a file.
	attr attributes.Attributes
	// known: attr is of the object's metadata, not of a listing.
	known bool
	// object is the version that the store has; without an ETag there is none. Of a directory: its marker.
	object s3.Object
	// asked is when the store was asked for what is known. Who asks later may find something else.
	asked time.Time

	// Of a file:

	// io is held by reads and writes, and all of it by who changes the draft or the object under them.
	io sync.RWMutex
	// turn is held by who writes to the store, or renames: one at a time.
	turn turn
	// draft has what is written and not committed; nil: nothing is.
	draft *draft.Draft
	// changes counts writes and other changes; committed is the count that the store has.
	changes, committed int64
	// stamped: the time in attr was set by a program, after the last write.
	stamped          bool
	handles, writers int
	// cached is the version of what the kernel's page cache has.
	cached string
	// backing is what the kernel reads in the place of this file as long as it is open; nil: it asks.
	backing *backing
	// successor is the node that has the path since this one was open in the other way, pinned; parted is what that one is: it stays in the way in which it is opened first and has no successor for that.
	successor *node
	parted    bool
	// target of a symlink, once it was read.
	target *string
	// unlinked: no path leads here any more, and nothing is to be committed.
	unlinked bool
	// failed is why what was written is lost: nothing can be committed any more.
	failed error

	// Of a directory:

	// open counts handles; while there are some, removed tells when names were removed, as a listing may be older.
	open    int
	removed map[string]time.Time
	// fresh are the files in it that the store doesn't have yet.
	fresh map[string]*node
	// bears: files in it were found to have metadata, so that a listing alone would show them otherwise than they are. sampled: this was looked for since it was opened.
	bears, sampled bool
	// plain is how many files in it were found to have none, passed how many were shown without looking.
	plain, passed int
	// kept: there is a marker, so that the directory stays when the last file goes.
	kept bool
}

// isLocal tells whether the node has something that the store doesn't have. i.mu is held.
func (i *inode) isLocal() bool { return i.draft != nil && i.changes != i.committed && !i.unlinked }

// size of a file in bytes. i.mu is held.
func (i *inode) size() int64 {
	if i.draft != nil {
		return i.draft.Size()
	}
	return i.object.Size
}

// turn is a lock whose waiters obey their context. The zero turn is free; it holds at most one token.
type turn struct {
	once  sync.Once
	token chan struct{}
}

func (t *turn) take(ctx context.Context) error {
	t.once.Do(func() { t.token = make(chan struct{}, 1) })
	select {
	case t.token <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t *turn) give() { <-t.token }

// interrupted is the context of one operation, which ends with the kernel's INTERRUPT.
func interrupted(cancel <-chan struct{}) context.Context {
	return &fuse.Context{Cancel: cancel}
}

// ttl is how long the kernel may keep what was asked for at a time.
func (f *FS) ttl(asked time.Time) time.Duration {
	if f.config.Immutable {
		return immutableTTL
	}
	return max(0, f.config.MetadataTTL-time.Since(asked))
}

// key is the key of the object at a path; of a directory with a '/' behind it. It waits while a directory above is renamed. The error is unix.ESTALE if the node has no path, or ErrTooLong.
func (f *FS) key(ctx context.Context, n *node) (string, error) {
	if err := f.moving.wait(ctx, f.table, n); err != nil {
		return "", err
	}
	path, ok := f.table.Path(n)
	if !ok {
		return "", fmt.Errorf("the file is at no path any more: %w", unix.ESTALE)
	}
	return f.keyOf(path, n.Value.dir)
}

func (f *FS) keyOf(path []string, dir bool) (string, error) {
	var b strings.Builder
	b.WriteString(f.config.Prefix)
	for i, name := range path {
		parsed, err := names.Parse(name)
		if err != nil {
			return "", err
		}
		b.WriteString(parsed.Segment)
		if dir || i < len(path)-1 {
			b.WriteByte('/')
		}
	}
	if b.Len() > s3.MaxKeyLength {
		return "", fmt.Errorf("%w: the key would have %d bytes, at most %d", names.ErrTooLong, b.Len(), s3.MaxKeyLength)
	}
	return b.String(), nil
}

// childKey is the key of a name in a directory, as key is.
func (f *FS) childKey(ctx context.Context, parent *node, name string, dir bool) (string, error) {
	if err := f.moving.wait(ctx, f.table, parent); err != nil {
		return "", err
	}
	path, ok := f.table.Path(parent)
	if !ok {
		return "", fmt.Errorf("the directory is at no path any more: %w", unix.ESTALE)
	}
	return f.keyOf(append(path, name), dir)
}

// parse checks a name that is used in a directory. The reserved one isn't there for anybody.
func (f *FS) parse(parent *node, name string) (names.Name, error) {
	parsed, err := names.Parse(name)
	if err == nil && parent.ID == nodes.RootID && parsed.Segment == reserved {
		return parsed, errReserved
	}
	return parsed, err
}

var errReserved = fmt.Errorf("the name %s is the driver's own: %w", reserved, unix.EPERM)

// directory is the directory of an id.
func (f *FS) directory(id uint64) (*node, error) {
	n := f.table.Get(id)
	switch {
	case n == nil:
		return nil, unix.ESTALE
	case !n.Value.dir:
		return nil, unix.ENOTDIR
	}
	return n, nil
}

// fallback are the attributes of what has no metadata.
func (f *FS) fallback(dir bool, modified time.Time) attributes.Attributes {
	a := attributes.Attributes{Mode: unix.S_IFREG | f.config.FileMode&0o7777, UID: f.config.UID, GID: f.config.GID, Mtime: modified, Target: -1}
	if dir {
		a.Mode = unix.S_IFDIR | f.config.DirMode&0o7777
	}
	return a
}

// shown is what stat says of attributes. A mount that was made for a group is all that group's: nothing is changed in the store for it, which would be a copy of
// each object, and other mounts show what the store has.
func (f *FS) shown(a attributes.Attributes) attributes.Attributes {
	if f.config.MountGroup == nil {
		return a
	}
	a.GID = *f.config.MountGroup
	switch a.Type() {
	case unix.S_IFDIR:
		a.Mode |= unix.S_ISGID | 0o070
	case unix.S_IFREG:
		a.Mode |= 0o060
	}
	return a
}

// new is what a program of the caller makes in a directory: its own, of the directory's group if that has the bit for it.
func (f *FS) new(parent *node, mode uint32, caller fuse.Caller) attributes.Attributes {
	p := parent.Value
	p.mu.Lock()
	defer p.mu.Unlock()
	a := attributes.Attributes{Mode: mode, UID: caller.Uid, GID: caller.Gid, Mtime: time.Now(), Target: -1}
	if p.attr.Mode&unix.S_ISGID != 0 {
		a.GID = p.attr.GID
		if a.Type() == unix.S_IFDIR {
			a.Mode |= unix.S_ISGID
		}
	}
	return f.shown(a)
}

// counters are what the metrics of the file system are made of.
type counters struct {
	revalidations, replaced, conflicts, lost atomic.Int64
}
