package cephtest

// ceph.Tree on the fake's directories.

import (
	"context"
	"strings"
	"syscall"
)

type tree struct {
	conn *Conn
	fs   string
}

// treeCall does f on the node at path.
func treeCall[R any](ctx context.Context, t *tree, op, path, name, value string, f func(*filesystem, *node) (R, error)) (R, error) {
	return parentCall(ctx, t, op, path, name, value, func(fs *filesystem) (R, error) {
		n, err := fs.lookup(path)
		if err != nil {
			var none R
			return none, err
		}
		return f(fs, n)
	})
}

// parentCall does f on a file system that is there and has a metadata server.
func parentCall[R any](ctx context.Context, t *tree, op, path, name, value string, f func(*filesystem) (R, error)) (R, error) {
	args := map[string]any{"fs": t.fs, "path": path, "name": name, "value": value}
	return do(ctx, t.conn, Tree, op, args, func() (R, error) {
		var none R
		if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
			return none, fail(syscall.EINVAL, "the path isn't absolute or has a zero byte")
		}
		fs := t.conn.cluster.filesystem(t.fs)
		if fs == nil {
			return none, fail(syscall.ENOENT, "no file system %s", t.fs)
		}
		if fs.mdsDown {
			return none, errWait
		}
		return f(fs)
	})
}

type done = struct{}

func (t *tree) Xattr(ctx context.Context, path, name string) (string, error) {
	return treeCall(ctx, t, "Xattr", path, name, "", func(_ *filesystem, n *node) (string, error) { return n.getXattr(name) })
}

func (t *tree) SetXattr(ctx context.Context, path, name, value string) error {
	_, err := treeCall(ctx, t, "SetXattr", path, name, value, func(f *filesystem, n *node) (done, error) {
		return done{}, f.setXattr(n, name, value, false)
	})
	return err
}

func (t *tree) CreateXattr(ctx context.Context, path, name, value string) error {
	_, err := treeCall(ctx, t, "CreateXattr", path, name, value, func(f *filesystem, n *node) (done, error) {
		return done{}, f.setXattr(n, name, value, true)
	})
	return err
}

func (t *tree) RemoveXattr(ctx context.Context, path, name string) error {
	_, err := treeCall(ctx, t, "RemoveXattr", path, name, "", func(_ *filesystem, n *node) (done, error) {
		return done{}, n.removeXattr(name)
	})
	return err
}

func (t *tree) ReadDir(ctx context.Context, path string) ([]string, error) {
	return treeCall(ctx, t, "ReadDir", path, "", "", func(f *filesystem, n *node) ([]string, error) {
		if !n.dir {
			return nil, fail(syscall.ENOTDIR, "")
		}
		names := sortedKeys(n.children)
		if path == indexDir { // time passes between two looks at the queue
			t.conn.cluster.settle(f)
		}
		return names, nil
	})
}

func (t *tree) ReadLink(ctx context.Context, path string) (string, error) {
	return treeCall(ctx, t, "ReadLink", path, "", "", func(_ *filesystem, n *node) (string, error) {
		if n.link == "" {
			return "", fail(syscall.EINVAL, "")
		}
		return n.link, nil
	})
}

func (t *tree) MakeDir(ctx context.Context, path string) error {
	_, err := parentCall(ctx, t, "MakeDir", path, "", "", func(f *filesystem) (done, error) {
		dir, name := split(path)
		if name == "" {
			return done{}, fail(syscall.EEXIST, "")
		}
		n, err := f.lookup(dir)
		if err != nil {
			return done{}, err
		}
		now := t.conn.cluster.now()
		if strings.HasSuffix(dir, "/"+snapDir+"/") && n.parent != nil && !n.parent.readOnly {
			return done{}, n.parent.snap(name, now) // a directory made in .snap is a snapshot
		}
		_, err = n.mkdir(name, 0o700, now)
		return done{}, err
	})
	return err
}

func (t *tree) RemoveDir(ctx context.Context, path string) error {
	_, err := parentCall(ctx, t, "RemoveDir", path, "", "", func(f *filesystem) (done, error) {
		n, err := f.lookup(path)
		if err != nil {
			return done{}, err
		}
		dir, name := split(path)
		parent, _ := f.lookup(dir)
		switch {
		case name == "":
			return done{}, fail(syscall.EBUSY, "")
		case !n.dir:
			return done{}, fail(syscall.ENOTDIR, "")
		case strings.HasSuffix(dir, "/"+snapDir+"/"):
			delete(parent.parent.snaps, name)
			return done{}, nil
		case n.readOnly:
			return done{}, fail(syscall.EROFS, "")
		case len(n.children) > 0 || len(n.snaps) > 0:
			return done{}, fail(syscall.ENOTEMPTY, "")
		}
		delete(parent.children, name)
		return done{}, nil
	})
	return err
}
