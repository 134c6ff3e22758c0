package sides

// The floor of kind xfs.

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/projectquota"
)

// projects: a directory with a project number and its limits, and a bind mount; back: the unmount, the end of the limits and of the directory.
type projects struct {
	dir, targets string
	quota        *projectquota.FS
	size         int64
}

// NewXFS is the floor of kind xfs, with volumes of size bytes on the file system at disk, mounted below targets.
func NewXFS(disk, targets string, size int64) (Side, error) {
	f := &projects{dir: filepath.Join(disk, "bare"), targets: targets, size: size}
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return nil, err
	}
	var err error
	f.quota, err = projectquota.Open(f.dir, "")
	return f, err
}

func (f *projects) volume(i int) string { return filepath.Join(f.dir, strconv.Itoa(i)) }

// project is a number that no volume of the driver has.
func project(i int) uint32 { return 1 + uint32(i) }

func (f *projects) Publish(_ context.Context, i int) error {
	target, err := bareTarget(f.targets, i)
	if err != nil {
		return err
	}
	if err := os.Mkdir(f.volume(i), 0o700); err != nil {
		return err
	}
	dir, err := os.Open(f.volume(i))
	if err != nil {
		return err
	}
	err = projectquota.SetAttr(dir, projectquota.Attr{Project: project(i), Inherit: true})
	if err := errors.Join(err, dir.Close()); err != nil {
		return err
	}
	const bytesPerInode = 16 << 10 // as the driver's
	if err := f.quota.Limit(project(i), projectquota.Limits{Bytes: f.size, Inodes: f.size / bytesPerInode}); err != nil {
		return err
	}
	return os.NewSyscallError("bind", unix.Mount(f.volume(i), target, "", unix.MS_BIND, ""))
}

// Unpublish leaves files to nobody: RemoveAll is one call for a volume that has none.
func (f *projects) Unpublish(_ context.Context, i int) error {
	target := BareTarget(f.targets, i)
	if err := unix.Unmount(target, 0); err != nil {
		return os.NewSyscallError("unmount "+target, err)
	}
	return errors.Join(f.quota.Limit(project(i), projectquota.Limits{}), os.RemoveAll(f.volume(i)))
}

func (f *projects) Close() error { return f.quota.Close() }
