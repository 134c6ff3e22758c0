package control_test

// What the holder refuses to give the kernel. That the kernel takes what is right is tested with a mount: pkg/coldfs and tests/cold.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/control"
)

func TestOnlyFilesOfTheCacheAreBackingFiles(t *testing.T) {
	if os.Getuid() != 0 {
		t.Fatal("giving files to another user needs root")
	}
	const uid = 65534
	top := t.TempDir()
	dir := filepath.Join(top, "cache")
	file := func(path string, owner int) string {
		t.Helper()
		path = filepath.Join(top, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("content"), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, owner, owner); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := file("cache/blocks/good", uid)
	linked := file("cache/linked", uid)
	if err := os.Link(linked, filepath.Join(top, "another-name")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file("elsewhere", uid), filepath.Join(dir, "symlink")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(dir, "pipe"), 0o666); err != nil {
		t.Fatal(err)
	}
	// Nothing is mounted: the kernel is asked last, and refuses.
	fuse, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer fuse.Close()
	b := control.Backings{Fuse: fuse, Dir: dir, UID: uid}
	for _, c := range []struct {
		name, path string
		flags      int
		removed    bool
		want       string
	}{
		{name: "a file of the cache", path: good, want: "the kernel takes no backing file"},
		{name: "open to write", path: good, flags: unix.O_RDWR, want: "reading alone"},
		{name: "open to write alone", path: good, flags: unix.O_WRONLY, want: "reading alone"},
		{name: "only named", path: good, flags: unix.O_PATH, want: "reading alone"},
		{name: "a directory", path: dir, want: "no regular file"},
		{name: "a pipe", path: filepath.Join(dir, "pipe"), flags: unix.O_NONBLOCK, want: "no regular file"},
		{name: "of root", path: file("cache/of-root", 0), want: "of user 0"},
		{name: "beside the cache", path: file("cache-of-another/f", uid), want: "isn't a file below"},
		{name: "elsewhere", path: filepath.Join(dir, "symlink"), want: "isn't a file below"},
		{name: "with two names", path: linked, want: "isn't a file below"},
		{name: "without a name", path: file("cache/removed", uid), removed: true, want: "isn't a file below"},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd, err := unix.Open(c.path, c.flags, 0)
			if err != nil {
				t.Fatal(err)
			}
			f := os.NewFile(uintptr(fd), c.path)
			defer f.Close()
			if c.removed {
				if err := os.Remove(c.path); err != nil {
					t.Fatal(err)
				}
			}
			a := b.Do(control.BackingRequest{Request: 7}, f)
			if a == nil || a.Request != 7 || a.ID != 0 || a.Full || !strings.Contains(a.Refused, c.want) {
				t.Errorf("answered %+v, want %q", a, c.want)
			}
		})
	}
	if a := b.Do(control.BackingRequest{Request: 8}, nil); a == nil || !strings.Contains(a.Refused, "no descriptor") {
		t.Errorf("without a descriptor: %+v", a)
	}
	if a := b.Do(control.BackingRequest{Close: 1}, nil); a != nil {
		t.Errorf("giving back what was never had: %+v", a)
	}
}
