package xfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/volume"
)

func emptied(t *testing.T, dir string) {
	t.Helper()
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	if err := empty(t.Context(), top); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) > 0 {
		t.Fatalf("left: %v, %v", left, err)
	}
}

func TestEmptyTree(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	precious := filepath.Join(outside, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		at := filepath.Join(dir, "d"+strconv.Itoa(i), "a", "b", "c")
		if err := os.MkdirAll(at, 0o000); err != nil {
			t.Fatal(err)
		}
		for _, where := range []string{at, filepath.Dir(at), filepath.Dir(filepath.Dir(at))} {
			err := errors.Join(os.WriteFile(filepath.Join(where, "file"), nil, 0o000), os.Symlink(outside, filepath.Join(where, "link")),
				os.Symlink("/", filepath.Join(where, "root")), os.Link(precious, filepath.Join(where, "hard")),
				unix.Mkfifo(filepath.Join(where, "fifo"), 0o600), unix.Mknod(filepath.Join(where, "device"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))))
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 3000 { // more than one reading
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	emptied(t, dir)
	if b, err := os.ReadFile(precious); err != nil || string(b) != "x" {
		t.Errorf("outside: %q, %v", b, err)
	}
}

// TestEmptyDeepTree: a chain far deeper than there may be descriptors, and than a path may be long.
func TestEmptyDeepTree(t *testing.T) {
	dir := t.TempDir()
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for range 5000 {
		if err != nil {
			t.Fatal(err)
		}
		next := -1
		if err = unix.Mkdirat(fd, "a-directory", 0o700); err == nil {
			next, err = unix.Openat(fd, "a-directory", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
		err = errors.Join(err, unix.Close(fd))
		fd = next
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		t.Fatal(err)
	}
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 64, Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) }()
	emptied(t, dir)
}

// TestEmptyProtected: a privileged pod made its files immutable.
func TestEmptyProtected(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "held", "append"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"held/file", "held/append/file"} {
		if err := os.WriteFile(filepath.Join(dir, p), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []struct {
		path string
		attr projectquota.Attr
	}{{"held/file", projectquota.Attr{Immutable: true}}, {"held/append", projectquota.Attr{Append: true}}, {"held", projectquota.Attr{Immutable: true}}} {
		f, err := os.Open(filepath.Join(dir, p.path))
		if err == nil {
			err = errors.Join(projectquota.SetAttr(f, p.attr), f.Close())
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(dir); err == nil {
		t.Fatal("the flags protect nothing here")
	}
	emptied(t, dir)
}

func TestEmptyEntersNoMount(t *testing.T) {
	dir := t.TempDir()
	mnt := filepath.Join(dir, "a", "mnt")
	if err := os.MkdirAll(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("x", mnt, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) }()
	if err := os.WriteFile(filepath.Join(mnt, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	if err := empty(t.Context(), top); !errors.Is(err, volume.ErrUnavailable) {
		t.Errorf("with a mount in it: %v", err)
	}
	if _, err := os.Stat(filepath.Join(mnt, "precious")); err != nil {
		t.Error(err)
	}
	if err := unix.Unmount(mnt, 0); err != nil {
		t.Fatal(err)
	}
	emptied(t, dir)
}

func TestEmptyEndsWithItsContext(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := empty(ctx, top); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	emptied(t, dir)
}
