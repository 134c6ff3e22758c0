package cephtest

// The directory tree: directories, their layouts and snapshots, and finding a path in it.

import (
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"
)

// node is a directory, a file or a symbolic link.
type node struct {
	parent   *node
	children map[string]*node // of a directory
	dir      bool
	size     int64  // of a file
	link     string // of a symbolic link: what it points at
	mode     uint32
	uid, gid int
	created  time.Time
	xattrs   map[string]string // user.* and the like
	layout   *layout           // nil: the nearest ancestor's
	maxBytes int64             // quota; 0: none
	maxFiles int64
	meta     *meta // of a subvolume's base directory
	snaps    map[string]*snapshot
	readOnly bool      // in a snapshot
	snapTime time.Time // of a directory in a snapshot
	live     *node     // of a directory in a snapshot: the one it was
}

// layout is where the data of new files goes.
type layout struct {
	pool, namespace     string
	unit, count, object int64
}

// snapshot is a directory as it was.
type snapshot struct {
	created time.Time
	root    *node
}

const (
	snapDir = ".snap"
	// maxSnaps is mds_max_snaps_per_dir.
	maxSnaps = 100
	// maxXattrs is mds_max_xattr_pairs_size: names and values of one inode, bytes.
	maxXattrs = 64 << 10
	maxName   = 255
)

func newDir(mode uint32, now time.Time) *node {
	return &node{dir: true, children: map[string]*node{}, mode: mode, created: now, xattrs: map[string]string{}, snaps: map[string]*snapshot{}}
}

// split cuts an absolute path into the parent's path and the last name.
func split(path string) (dir, name string) {
	path = strings.TrimRight(path, "/")
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)] + "/", path[i+1:]
}

// lookup finds a path. The directory of a directory's snapshots, ".snap", is found as snapList.
func (f *filesystem) lookup(path string) (*node, error) {
	n, names := f.root, strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i := 0; i < len(names); i++ {
		name := names[i]
		if !n.dir {
			return nil, fail(syscall.ENOTDIR, "")
		}
		if len(name) > maxName {
			return nil, fail(syscall.ENAMETOOLONG, "")
		}
		if name == snapDir && !n.readOnly {
			if i+1 == len(names) {
				return snapList(n), nil
			}
			i++
			s := n.snaps[names[i]]
			if s == nil {
				return nil, fail(syscall.ENOENT, "")
			}
			n = s.root
			continue
		}
		child := n.children[name]
		if child == nil {
			return nil, fail(syscall.ENOENT, "")
		}
		n = child
	}
	return n, nil
}

// snapList is the directory that lists the snapshots of n.
func snapList(n *node) *node {
	list := &node{parent: n, dir: true, children: map[string]*node{}, readOnly: true}
	for name, s := range n.snaps {
		list.children[name] = s.root
	}
	return list
}

// add puts a child in a directory.
func (n *node) add(name string, child *node) {
	child.parent = n
	n.children[name] = child
}

// mkdir makes a directory.
func (n *node) mkdir(name string, mode uint32, now time.Time) (*node, error) {
	switch {
	case !n.dir:
		return nil, fail(syscall.ENOTDIR, "")
	case len(name) > maxName:
		return nil, fail(syscall.ENAMETOOLONG, "")
	case n.children[name] != nil:
		return nil, fail(syscall.EEXIST, "")
	case n.readOnly:
		return nil, fail(syscall.EROFS, "")
	}
	d := newDir(mode, now)
	n.add(name, d)
	return d, nil
}

// snap takes a snapshot.
func (n *node) snap(name string, now time.Time) error {
	switch {
	case strings.HasPrefix(name, "_"):
		return fail(syscall.EINVAL, "error in mkdir: a snapshot's name can't begin with _")
	case n.snaps[name] != nil:
		return fail(syscall.EEXIST, "")
	case len(n.snaps) >= maxSnaps:
		return fail(syscall.EMLINK, "error in mkdir: too many snapshots")
	}
	root := n.copy(true)
	root.parent = n.parent
	root.freeze(n, now)
	n.snaps[name] = &snapshot{created: now, root: root}
	return nil
}

// copy copies a directory with all below it; without its attributes when they aren't wanted, as the manager's cloner does.
func (n *node) copy(attributes bool) *node {
	c := *n
	c.snaps, c.meta, c.readOnly = map[string]*snapshot{}, nil, false
	c.xattrs = map[string]string{}
	if attributes {
		c.xattrs = maps.Clone(n.xattrs)
		if n.layout != nil {
			l := *n.layout
			c.layout = &l
		}
	} else {
		c.layout, c.maxBytes, c.maxFiles = nil, 0, 0
	}
	if n.dir {
		c.children = make(map[string]*node, len(n.children))
		for name, child := range n.children {
			c.add(name, child.copy(attributes))
		}
	}
	return &c
}

// freeze makes a copy of live into what a snapshot holds of it.
func (n *node) freeze(live *node, now time.Time) {
	n.readOnly, n.snapTime, n.live = true, now, live
	for name, c := range n.children {
		c.freeze(live.children[name], now)
	}
}

// purge empties a directory that went to the trash.
func (n *node) purge() {
	for _, c := range n.children {
		c.purge()
	}
	clear(n.children)
}

// statistics are a directory's recursive ones, without itself: bytes and number of files, and directories. Those of a directory in a
// snapshot are not the snapshot's: they are those of the directory it was, none once that was emptied.
func (n *node) statistics() (bytes, files, dirs int64) {
	if n.live != nil {
		n = n.live
	}
	for _, c := range n.children {
		if !c.dir {
			bytes, files = bytes+c.size, files+1
			continue
		}
		b, f, d := c.statistics()
		bytes, files, dirs = bytes+b, files+f, dirs+d+1
	}
	return bytes, files, dirs
}

// effective is the layout that holds for a directory: its own or the nearest ancestor's.
func (n *node) effective() layout {
	for ; n != nil; n = n.parent {
		if n.layout != nil {
			return *n.layout
		}
	}
	return layout{}
}

// subdirs are the names of the directories in n, in no order.
func (n *node) subdirs() []string {
	var names []string
	for name, c := range n.children {
		if c.dir {
			names = append(names, name)
		}
	}
	return names
}

// dataDir is the name of the directory named by a UUID in a subvolume's base directory or a snapshot of it.
func (n *node) dataDir() string {
	names := n.subdirs()
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		if len(name) == 36 && strings.Count(name, "-") == 4 {
			return name
		}
	}
	return ""
}
