// Package mountpoint is what Strata knows about mounts on this node: what is
// mounted where, whether it still answers, and how to take it away safely.
//
// Its rule is that nothing here may hang on a dead or silent file system. What
// is mounted is read from /proc/self/mountinfo, which never touches the file
// system itself; whatever does touch it (stat, statfs, umount) runs in a bounded
// single-flight worker.
package mountpoint

// This file holds the mount table: reading it and asking what is mounted at a path.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// ErrInvalidPath is returned for a path that is not absolute.
var ErrInvalidPath = errors.New("not an absolute path")

// Mount is one line of /proc/self/mountinfo (format: proc_pid_mountinfo(5)).
type Mount struct {
	// ID is the kernel's mount id. It is not given to another mount while
	// anything still refers to this one.
	ID int
	// Parent is the ID of the mount this one sits on.
	Parent int
	// Major and Minor are the device number of the superblock: equal for all
	// bind mounts of one file system.
	Major, Minor int
	// Root is the directory of the file system that is visible at Path, "/"
	// unless the mount is a bind of a subdirectory.
	Root string
	// Path is where it is mounted, with symbolic links resolved.
	Path string
	// FSType is the type as the kernel shows it, such as "ceph" or "fuse.ceph-fuse".
	FSType string
	// Source is what was mounted; its meaning depends on FSType.
	Source string
	// Options are those of this mount, SuperOptions those of its superblock.
	Options, SuperOptions []string
	// PeerGroup is the id of the shared peer group and Master that of the group
	// this mount receives from; 0 means none.
	PeerGroup, Master int
	// Stacked is how many mounts are piled up at exactly Path, this one
	// included. It is 0 in a Mount that was not looked up by path.
	Stacked int
}

// ReadOnly tells whether writing is refused, by the mount or by its superblock.
func (m Mount) ReadOnly() bool {
	return slices.Contains(m.Options, "ro") || slices.Contains(m.SuperOptions, "ro")
}

// SameDevice tells whether both mounts show the same superblock.
func (m Mount) SameDevice(o Mount) bool { return m.Major == o.Major && m.Minor == o.Minor }

// Table is the mount table of this process' namespace at one moment.
type Table []Mount

// Read takes a snapshot of /proc/self/mountinfo. It touches no mounted file system.
func Read() (Table, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read mount table: %w", err)
	}
	t := make(Table, 0, len(infos))
	for _, i := range infos {
		m := Mount{
			ID: i.ID, Parent: i.Parent, Major: i.Major, Minor: i.Minor,
			Root: i.Root, Path: i.Mountpoint, FSType: i.FSType, Source: i.Source,
			Options: split(i.Options), SuperOptions: split(i.VFSOptions),
		}
		for f := range strings.FieldsSeq(i.Optional) {
			if n, ok := strings.CutPrefix(f, "shared:"); ok {
				m.PeerGroup, _ = strconv.Atoi(n)
			} else if n, ok := strings.CutPrefix(f, "master:"); ok {
				m.Master, _ = strconv.Atoi(n)
			}
		}
		t = append(t, m)
	}
	return t, nil
}

func split(options string) []string {
	if options == "" {
		return nil
	}
	return strings.Split(options, ",")
}

// At returns the topmost visible mount at exactly path, which must be clean and
// free of symbolic links. Mounts hidden below a later mount of a parent
// directory are not found: no path leads to them any more.
func (t Table) At(path string) (Mount, bool) {
	cur, ok := t.root()
	if !ok {
		return t.lastAt(path)
	}
	depth := 0
	for _, prefix := range prefixes(path) {
		depth = 0
		if prefix == "/" && cur.Path == "/" {
			depth = 1
		}
		for {
			next, ok := t.child(cur, prefix)
			if !ok {
				break
			}
			cur = next
			depth++
		}
	}
	if depth == 0 || cur.Path != path {
		return Mount{}, false
	}
	cur.Stacked = depth
	return cur, true
}

// root returns the bottom mount at "/": the one whose parent is not in the table.
func (t Table) root() (Mount, bool) {
	ids := make(map[int]bool, len(t))
	for _, m := range t {
		ids[m.ID] = true
	}
	for _, m := range t {
		if m.Path == "/" && (m.Parent == m.ID || !ids[m.Parent]) {
			return m, true
		}
	}
	return Mount{}, false
}

func (t Table) child(of Mount, path string) (Mount, bool) {
	for _, m := range t {
		if m.Parent == of.ID && m.ID != of.ID && m.Path == path {
			return m, true
		}
	}
	return Mount{}, false
}

// lastAt serves a process whose root is not a mount (a plain chroot): there the
// table has no root to walk from, and the order of the lines is all there is.
func (t Table) lastAt(path string) (Mount, bool) {
	var found Mount
	n := 0
	for _, m := range t {
		if m.Path == path {
			found = m
			n++
		}
	}
	found.Stacked = n
	return found, n > 0
}

// prefixes returns "/", "/a", "/a/b" for "/a/b".
func prefixes(path string) []string {
	out := []string{"/"}
	for i := 1; i < len(path); i++ {
		if path[i] == '/' {
			out = append(out, path[:i])
		}
	}
	if path != "/" {
		out = append(out, path)
	}
	return out
}

// OfDevice returns every mount of the same superblock as m, m included: the
// binds of a volume, wherever they are.
func (t Table) OfDevice(m Mount) Table {
	return t.filter(m.SameDevice)
}

// Below returns the mounts strictly under dir.
func (t Table) Below(dir string) Table {
	prefix := strings.TrimSuffix(dir, "/") + "/"
	return t.filter(func(m Mount) bool { return m.Path != dir && strings.HasPrefix(m.Path, prefix) })
}

// FromSource returns the mounts with that type and source.
func (t Table) FromSource(fsType, source string) Table {
	return t.filter(func(m Mount) bool { return m.FSType == fsType && m.Source == source })
}

// Paths returns where the mounts are, in table order.
func (t Table) Paths() []string {
	out := make([]string, 0, len(t))
	for _, m := range t {
		out = append(out, m.Path)
	}
	return out
}

func (t Table) filter(keep func(Mount) bool) Table {
	var out Table
	for _, m := range t {
		if keep(m) {
			out = append(out, m)
		}
	}
	return out
}

// Find returns the topmost mount whose mountpoint is exactly path, and false
// when there is none. It does not stat path, so a dead mount cannot hang it;
// when path is not in the table as written, symbolic links of its parent
// directory are resolved and it is looked up once more.
func Find(path string) (*Mount, bool, error) {
	if !filepath.IsAbs(path) {
		return nil, false, fmt.Errorf("find mount %q: %w", path, ErrInvalidPath)
	}
	path = filepath.Clean(path)
	t, err := Read()
	if err != nil {
		return nil, false, err
	}
	if m, ok := t.At(path); ok {
		return &m, true, nil
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if errors.Is(err, os.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("find mount %s: resolve parent: %w", path, err)
	}
	if resolved := filepath.Join(parent, filepath.Base(path)); resolved != path {
		if m, ok := t.At(resolved); ok {
			return &m, true, nil
		}
	}
	return nil, false, nil
}
