package coldfs

// Symlinks, which are objects with a target for content.

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/attributes"
	"github.com/strata-csi/strata/pkg/s3"
)

// Symlink makes a symlink: an object of one size that hardly another has, so that a listing shows which may be symlinks.
func (f *FS) Symlink(cancel <-chan struct{}, header *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	if len(target) > attributes.MaxTarget {
		return f.answer(unix.ENAMETOOLONG)
	}
	ctx := interrupted(cancel)
	parent, end, err := f.begin(ctx, header.NodeId, name)
	if err != nil {
		return f.answer(err)
	}
	defer end()
	a := f.new(parent, unix.S_IFLNK|0o777, header.Caller)
	a.Target = len(target)
	return f.answer(f.make(ctx, parent, name, a, attributes.Symlink(target), out))
}

// Readlink reads the target of a symlink.
func (f *FS) Readlink(cancel <-chan struct{}, header *fuse.InHeader) ([]byte, fuse.Status) {
	n := f.table.Get(header.NodeId)
	if n == nil || n.Value.dir {
		return nil, f.answer(unix.EINVAL)
	}
	target, err := f.target(interrupted(cancel), n)
	if err != nil {
		return nil, f.answer(err)
	}
	return []byte(target), fuse.OK
}

func (f *FS) target(ctx context.Context, n *node) (string, error) {
	i := n.Value
	i.mu.Lock()
	o, a, known := i.object, i.attr, i.target
	i.mu.Unlock()
	switch {
	case a.Type() != unix.S_IFLNK:
		return "", unix.EINVAL
	case known != nil:
		return *known, nil
	case o.Size > attributes.SymlinkSize:
		return "", fmt.Errorf("%q is no symlink that could be followed: it has %d bytes: %w", o.Key, o.Size, unix.EIO)
	}
	content := []byte{}
	if o.Size > 0 {
		body, err := f.bucket.Get(ctx, o.Key, o.ETag, 0, o.Size)
		if err == nil {
			content, err = io.ReadAll(body)
			_ = body.Close()
		}
		if errors.Is(err, s3.ErrNotFound) {
			err = unix.ESTALE
		}
		if err != nil {
			return "", err
		}
	}
	target := a.TargetOf(content)
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.object.ETag == o.ETag {
		i.target = &target
	}
	return target, nil
}
