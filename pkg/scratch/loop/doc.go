// Package loop is the kind of scratch disk that works on any file system: a volume is an image in a directory, with all its space set aside
// when it is made, behind a loop device. The device can't hold more than the image has, whatever is done in the volume; and the image is
// never sparse, so what a volume was promised can't be taken by another.
//
// Images lie in DIR/.strata-scratch/NAME.img; a trusted attribute of the image, which only root can set, names its file system and is
// written last: an image without it was not finished. Everything else is the kernel's: a device with autoclear goes
// away with its last mount, and with the process that dies while it makes a volume.
//
// From within a device space could be given back by discarding (fstrim) and by requests to write zeros, which the loop driver turns into
// holes. Every device is told to refuse the first, and the driver then refuses the second too, so that zeros are
// written (lo_fallocate in drivers/block/loop.c). Trimming a mounted file system is root's alone (FITRIM asks for CAP_SYS_ADMIN), and gets
// the same refusal.
package loop

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/loopdev"
	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/localfs"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	folder = ".strata-scratch"
	suffix = ".img"
	// attribute holds mkfs.Ext4, mkfs.XFS or raw.
	attribute = "trusted.strata.scratch"
	raw       = "block"
)

// Disk is a directory with images. It is safe for concurrent use on different volumes.
type Disk struct {
	path  string
	dir   string // of the images
	watch *localfs.Watch
	// counting is held while space is taken or given back, and while it is counted: no image is to be in both sums, or in none.
	counting sync.Mutex
}

var _ disk.Disk = (*Disk)(nil)

// Open returns the disk at path, a directory that exists, without trying what it can do; see Probe.
func Open(path string) (*Disk, error) {
	if !filepath.IsAbs(path) {
		return nil, fmt.Errorf("%w: scratch directory %q must be an absolute path", volume.ErrInvalid, path)
	}
	// Devices name their images without symbolic links.
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, fmt.Errorf("scratch directory: %w", err)
	}
	if s, err := os.Stat(path); err != nil || !s.IsDir() {
		return nil, fmt.Errorf("%w: scratch directory %s is no directory (%w)", volume.ErrInvalid, path, errOr(err))
	}
	return &Disk{path: path, dir: filepath.Join(path, folder), watch: localfs.NewWatch()}, nil
}

func errOr(err error) error {
	if err == nil {
		return errors.New("it is something else")
	}
	return err
}

// Kind is disk.Loop.
func (d *Disk) Kind() disk.Kind { return disk.Loop }

// Name is the directory.
func (d *Disk) Name() string { return d.path }

// Close does nothing: a Disk holds nothing open.
func (d *Disk) Close() error { return nil }

func (d *Disk) image(name string) string { return filepath.Join(d.dir, name+suffix) }

// CheckSpec refuses what Create would refuse. See disk.Disk.
func (d *Disk) CheckSpec(s disk.Spec) error {
	if err := disk.CheckName(s.Name); err != nil {
		return err
	}
	if err := checkSize(s.Name, s.Size); err != nil {
		return err
	}
	if s.Block {
		if s.FSType != "" || len(s.MkfsOptions) > 0 {
			return fmt.Errorf("%w: volume %s is a block device and has no file system: give no type and no mkfs options", volume.ErrInvalid, s.Name)
		}
		return nil
	}
	return mkfs.Check(s.FSType, s.Size)
}

func checkSize(name string, size int64) error {
	if size < disk.MinSize || size%(1<<20) != 0 {
		return fmt.Errorf("%w: volume %s of %d bytes (allowed: multiples of 1 MiB from %d MiB on)", volume.ErrInvalid, name, size, disk.MinSize>>20)
	}
	return nil
}

// Capacity is what the file system has free for root and what our images occupy. See disk.Disk.
func (d *Disk) Capacity(context.Context) (int64, error) {
	d.counting.Lock()
	defer d.counting.Unlock()
	names, err := d.names()
	if err != nil {
		return 0, err
	}
	capacity, err := d.free()
	if err != nil {
		return 0, err
	}
	for _, n := range names {
		var s unix.Stat_t
		switch err := unix.Lstat(d.image(n), &s); err {
		case nil:
			capacity += s.Blocks * 512
		case unix.ENOENT: // destroyed since
		default:
			return 0, &os.PathError{Op: "stat", Path: d.image(n), Err: err}
		}
	}
	return capacity, nil
}

func (d *Disk) free() (int64, error) {
	s, err := d.statfs()
	if err != nil {
		return 0, err
	}
	return int64(s.Bavail) * s.Frsize, nil
}

func (d *Disk) statfs() (unix.Statfs_t, error) {
	var s unix.Statfs_t
	for {
		err := unix.Statfs(d.path, &s)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return s, &os.PathError{Op: "statfs", Path: d.path, Err: err}
		}
		if s.Frsize == 0 {
			s.Frsize = s.Bsize
		}
		return s, nil
	}
}

// List returns the names of all images. See disk.Disk.
func (d *Disk) List(context.Context) ([]string, error) { return d.names() }

func (d *Disk) names() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list scratch volumes: %w", err)
	}
	var names []string
	for _, e := range entries {
		if n, ok := strings.CutSuffix(e.Name(), suffix); ok && disk.CheckName(n) == nil {
			names = append(names, n)
		}
	}
	return names, nil
}

// open opens the image of a volume; volume.ErrNotFound: there is none.
func (d *Disk) open(name string) (*os.File, error) {
	if err := disk.CheckName(name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(d.image(name), os.O_RDWR|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: scratch volume %s has no image in %s", volume.ErrNotFound, name, d.dir)
	}
	if err != nil {
		return nil, fmt.Errorf("scratch volume %s: %w", name, err)
	}
	return f, nil
}

// content is what was made in an image: a file system type, or raw.
func content(image *os.File) (string, error) {
	b := make([]byte, 16)
	n, err := unix.Fgetxattr(int(image.Fd()), attribute, b)
	if err == unix.ENODATA {
		return "", fmt.Errorf("%w: the scratch volume %s was not finished: make it anew", volume.ErrNotFound, image.Name())
	}
	if err != nil {
		return "", &os.PathError{Op: "getxattr", Path: image.Name(), Err: err}
	}
	return string(b[:n]), nil
}

// deviceOf is the one device over an image.
func deviceOf(image *os.File) (loopdev.Device, bool, error) {
	found, err := loopdev.Find(image)
	if err != nil || len(found) == 0 {
		return loopdev.Device{}, false, err
	}
	if len(found) > 1 {
		return loopdev.Device{}, false, fmt.Errorf("%w: %s has two loop devices, %s and %s: somebody else attached one; end it with losetup -d",
			volume.ErrUnavailable, image.Name(), found[0].Path(), found[1].Path())
	}
	return found[0], true, nil
}
