// Package btrfstest makes real btrfs file systems for tests, in files behind loop devices. It needs root, mkfs.btrfs and mount.
package btrfstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// New mounts an empty file system of so many bytes and unmounts it after the test, whatever is still mounted over it. The test fails
// when its loop device stays.
func New(t testing.TB, bytes int64, mkfs ...string) (path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "btrfs")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	image := Image(t, filepath.Join(dir, "image"), bytes, mkfs...)
	Mount(t, image, path)
	return path
}

// Image makes a file system in a sparse file.
func Image(t testing.TB, image string, bytes int64, mkfs ...string) string {
	t.Helper()
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, bytes); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.btrfs", append(append([]string{"--quiet", "--force"}, mkfs...), "--", image)...)
	return image
}

// Mount mounts an image until the end of the test.
func Mount(t testing.TB, image, path string, options ...string) {
	t.Helper()
	run(t, "mount", "-t", "btrfs", "-o", strings.Join(append([]string{"loop"}, options...), ","), "--", image, path)
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Errorf("unmount %s: %v", path, err)
			_ = unix.Unmount(path, unix.MNT_DETACH)
		}
		if left := Loops(t, image); len(left) > 0 {
			t.Errorf("loop devices are left: %q", left)
		}
	})
}

// Loops are the loop devices over an image.
func Loops(t testing.TB, image string) []string {
	t.Helper()
	files, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil && strings.TrimSpace(string(b)) == image {
			found = append(found, f)
		}
	}
	return found
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatal(fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out))
	}
}
