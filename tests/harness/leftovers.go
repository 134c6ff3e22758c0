package harness

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func lockThread() { runtime.LockOSThread() }

// removeUnmounted removes a tree that nothing is mounted in, or says what is.
func removeUnmounted(dir string) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		var at []string
		for _, m := range mounts {
			at = append(at, m.Mountpoint)
		}
		return fmt.Errorf("still mounted: %s", strings.Join(at, ", "))
	}
	err = os.RemoveAll(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Subvolumes lists what a prefix has in the file system: "group/name" of every subvolume, husks included.
func (c *Ceph) Subvolumes(t testing.TB, prefix Prefix) []string {
	t.Helper()
	var groups, out []string
	for _, g := range c.names(t, "fs", "subvolumegroup", "ls", FS) {
		if strings.HasPrefix(g, string(prefix)+".") {
			groups = append(groups, g)
		}
	}
	for _, g := range groups {
		for _, s := range c.names(t, "fs", "subvolume", "ls", FS, "--group_name", g) {
			out = append(out, g+"/"+s)
		}
	}
	return out
}

// Snapshots lists the snapshots of a subvolume, our temporary ones included.
func (c *Ceph) Snapshots(t testing.TB, group, subvolume string) []string {
	t.Helper()
	return c.names(t, "fs", "subvolume", "snapshot", "ls", FS, subvolume, "--group_name", group)
}

func (c *Ceph) names(t testing.TB, args ...string) []string {
	t.Helper()
	var list []struct{ Name string }
	c.JSON(t, &list, args...)
	out := make([]string, len(list))
	for i, l := range list {
		out[i] = l.Name
	}
	return out
}

// RootMount mounts the whole file system as client.admin, below the test's directory, for looking at what no CSI call shows.
func (c *Ceph) RootMount(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(shortDir(t), "root")
	mountFuse(t, c, dir, "admin", c.AdminKeyring(), "/")
	return dir
}

// Index lists the directories of a prefix in the driver's own index, below a root mount.
func Index(t testing.TB, root string, prefix Prefix) []string {
	t.Helper()
	var out []string
	top := filepath.Join(root, "strata", string(prefix))
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(top, path)
		if strings.Count(rel, "/") >= 1 { // snapshots/X, volumes/GROUP...
			out = append(out, rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Xattr reads an extended attribute of a path below a root mount; "" when it isn't set, or the path is gone meanwhile.
func Xattr(t testing.TB, path, name string) string {
	t.Helper()
	buf := make([]byte, 64<<10)
	n, err := unix.Getxattr(path, name, buf)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOENT) {
		return ""
	}
	if err != nil {
		t.Fatalf("%s: attribute %s: %v", path, name, err)
	}
	return string(buf[:n])
}
