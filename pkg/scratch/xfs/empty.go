package xfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/volume"
)

// level is a directory on the way down.
type level struct {
	name    string // in the one above
	dev     uint64
	ino     uint64
	pending []string // read, and not yet removed
}

// empty removes everything in top, which pods have written: a tree of any depth costs two descriptors and no path is ever longer than a name. It
// follows no symbolic link, enters no other mount, and needs no space, which a full volume doesn't have.
func empty(ctx context.Context, top *os.File) (err error) {
	fd, err := unix.Openat(int(top.Fd()), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", top.Name(), err)
	}
	dir := os.NewFile(uintptr(fd), top.Name())
	defer func() { err = errors.Join(err, dir.Close()) }()
	way := []level{{}}
	if err := identify(dir, &way[0]); err != nil {
		return err
	}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		at := &way[len(way)-1]
		if len(at.pending) == 0 {
			if at.pending, err = batch(dir); err != nil {
				return err
			}
		}
		switch {
		case len(at.pending) > 0:
			name := at.pending[0]
			at.pending = at.pending[1:]
			down, err := unlink(dir, name)
			if err != nil {
				return err
			}
			if !down {
				continue
			}
			next, err := step(dir, name)
			if err != nil {
				return err
			}
			dir = next
			way = append(way, level{name: name})
			if err := identify(dir, &way[len(way)-1]); err != nil {
				return err
			}
		case len(way) == 1:
			return nil
		default:
			name, above := at.name, way[len(way)-2]
			if dir, err = step(dir, ".."); err != nil {
				return err
			}
			var is level
			if err := identify(dir, &is); err != nil {
				return err
			}
			if is.dev != above.dev || is.ino != above.ino {
				return fmt.Errorf("%w: %s: somebody moves its directories while they are removed", volume.ErrUnavailable, top.Name())
			}
			way = way[:len(way)-1]
			way[len(way)-1].pending = append(way[len(way)-1].pending, name)
		}
	}
}

// batch reads some names of dir from its beginning: those before were removed.
func batch(dir *os.File) ([]string, error) {
	if _, err := dir.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	names, err := dir.Readdirnames(1024)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return names, err
}

func identify(dir *os.File, l *level) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", dir.Name(), err)
	}
	l.dev, l.ino = st.Dev, st.Ino
	return nil
}

// step opens a directory beside dir's entries, and closes dir when that worked.
func step(dir *os.File, name string) (*os.File, error) {
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	switch {
	case err == unix.EXDEV:
		return dir, fmt.Errorf("%w: something is mounted on %q in the volume", volume.ErrUnavailable, name)
	case err != nil:
		return dir, fmt.Errorf("open %q in %s: %w", name, dir.Name(), err)
	}
	return os.NewFile(uintptr(fd), dir.Name()), dir.Close()
}

// unlink removes an entry. A directory that isn't empty stays: down.
func unlink(dir *os.File, name string) (down bool, err error) {
	for freed := false; ; freed = true {
		err := unix.Unlinkat(int(dir.Fd()), name, 0)
		if err == unix.EISDIR {
			err = unix.Unlinkat(int(dir.Fd()), name, unix.AT_REMOVEDIR)
		}
		switch err {
		case nil, unix.ENOENT:
			return false, nil
		case unix.ENOTEMPTY, unix.EEXIST:
			return true, nil
		case unix.EBUSY:
			return false, fmt.Errorf("%w: something is mounted on %q in the volume", volume.ErrUnavailable, name)
		case unix.EPERM:
			if !freed {
				if err := unprotect(dir, name); err != nil {
					return false, err
				}
				continue
			}
		}
		return false, fmt.Errorf("remove %q in %s: %w", name, dir.Name(), err)
	}
}

// unprotect takes away the flags (chattr +i, +a) by which a privileged pod can keep a file, or a directory's entries, from being removed.
func unprotect(dir *os.File, name string) error {
	if err := clearFlags(dir); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("stat %q: %w", name, err)
	}
	if t := st.Mode & unix.S_IFMT; t != unix.S_IFREG && t != unix.S_IFDIR {
		return nil // nothing else can have them, and opening a device does things
	}
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS,
	})
	if err != nil {
		return fmt.Errorf("open %q: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	return errors.Join(clearFlags(f), f.Close())
}

func clearFlags(f *os.File) error {
	a, err := projectquota.GetAttr(f)
	if err != nil || !a.Immutable && !a.Append {
		return err
	}
	a.Immutable, a.Append = false, false
	return projectquota.SetAttr(f, a)
}
