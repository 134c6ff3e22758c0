package librados

// Directories and their extended attributes, through libcephfs.

import (
	"context"
	"slices"
	"strings"
	"syscall"

	"github.com/ceph/go-ceph/cephfs"
	"github.com/ceph/go-ceph/rados"

	"github.com/strata-csi/strata/pkg/ceph"
)

type tree struct {
	fs    string
	slots *slots
	mount *holder[*cephfs.MountInfo]
}

// mount connects to a file system with the configuration of the librados client.
func (c *Conn) mount(fs string) (*cephfs.MountInfo, error) {
	op := "mount file system " + fs
	return with(c.client, shutOut, func(r *rados.Conn) (*cephfs.MountInfo, error) {
		m, err := cephfs.CreateFromRados(r)
		if err != nil {
			return nil, refused(op, err, "")
		}
		err = m.SelectFilesystem(fs)
		if err == nil && c.options.Instance != "" {
			err = reclaim(op, m, c.options.Instance)
		}
		if err == nil {
			err = m.Mount()
		}
		if err != nil {
			// The handle of a mount that failed has nothing to unmount; what Release says can't help.
			_ = m.Release()
			return nil, answer(op, err)
		}
		return m, nil
	})
}

// unmount frees a mount. An evicted one can't be unmounted cleanly, and nothing is lost by that: nothing is written through it but
// attributes, which are synchronous.
func unmount(m *cephfs.MountInfo) {
	_ = m.Unmount()
	_ = m.Release()
}

// treeCall runs f in the mount, with a mount made anew when the first was evicted.
func treeCall[R any](ctx context.Context, t *tree, op, path string, f func(*cephfs.MountInfo) (R, error)) (R, error) {
	op += " " + t.fs + ":" + path
	if !strings.HasPrefix(path, "/") || strings.ContainsRune(path, 0) {
		var none R
		return none, &ceph.Error{Op: op, Errno: syscall.EINVAL, Text: "the path isn't absolute or has a zero byte"}
	}
	return run(ctx, t.slots, op, func() (R, error) {
		return with(t.mount, shutOut, func(m *cephfs.MountInfo) (R, error) {
			r, err := f(m)
			return r, refused(op, err, "")
		})
	})
}

func (t *tree) Xattr(ctx context.Context, path, name string) (string, error) {
	return treeCall(ctx, t, "get "+name+" of", path, func(m *cephfs.MountInfo) (string, error) {
		v, err := m.GetXattr(path, name)
		return string(v), err
	})
}

func (t *tree) SetXattr(ctx context.Context, path, name, value string) error {
	_, err := treeCall(ctx, t, "set "+name+" of", path, func(m *cephfs.MountInfo) (struct{}, error) {
		return struct{}{}, m.SetXattr(path, name, []byte(value), cephfs.XattrDefault)
	})
	return err
}

func (t *tree) CreateXattr(ctx context.Context, path, name, value string) error {
	_, err := treeCall(ctx, t, "create "+name+" of", path, func(m *cephfs.MountInfo) (struct{}, error) {
		return struct{}{}, m.SetXattr(path, name, []byte(value), cephfs.XattrCreate)
	})
	return err
}

func (t *tree) RemoveXattr(ctx context.Context, path, name string) error {
	_, err := treeCall(ctx, t, "remove "+name+" of", path, func(m *cephfs.MountInfo) (struct{}, error) {
		return struct{}{}, m.RemoveXattr(path, name)
	})
	return err
}

func (t *tree) MakeDir(ctx context.Context, path string) error {
	_, err := treeCall(ctx, t, "make directory", path, func(m *cephfs.MountInfo) (struct{}, error) {
		return struct{}{}, m.MakeDir(path, 0o700)
	})
	return err
}

func (t *tree) RemoveDir(ctx context.Context, path string) error {
	_, err := treeCall(ctx, t, "remove directory", path, func(m *cephfs.MountInfo) (struct{}, error) {
		return struct{}{}, m.RemoveDir(path)
	})
	return err
}

func (t *tree) ReadLink(ctx context.Context, path string) (string, error) {
	return treeCall(ctx, t, "read link", path, func(m *cephfs.MountInfo) (string, error) { return m.Readlink(path) })
}

func (t *tree) ReadDir(ctx context.Context, path string) ([]string, error) {
	return treeCall(ctx, t, "list", path, func(m *cephfs.MountInfo) (names []string, err error) {
		d, err := m.OpenDir(path)
		if err != nil {
			return nil, err
		}
		defer func() {
			if e := d.Close(); err == nil {
				err = e
			}
		}()
		for {
			e, err := d.ReadDir()
			if err != nil {
				return nil, err
			}
			if e == nil {
				break
			}
			if n := e.Name(); n != "." && n != ".." {
				names = append(names, n)
			}
		}
		slices.Sort(names)
		return names, nil
	})
}
