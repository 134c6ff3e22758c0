package mountpoint_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
)

// dir makes a directory of the test's own and returns it without symbolic links.
func dir(t *testing.T, names ...string) string {
	t.Helper()
	mountpointtest.RequireRoot(t)
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	d := filepath.Join(append([]string{base}, names...)...)
	if err := os.MkdirAll(d, 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

func find(t *testing.T, path string) (*mountpoint.Mount, bool) {
	t.Helper()
	m, ok, err := mountpoint.Find(path)
	if err != nil {
		t.Fatalf("Find(%s): %v", path, err)
	}
	return m, ok
}

func TestFindReturnsTheTopmostOfStackedMounts(t *testing.T) {
	d := dir(t, "with space\tand tab")
	if _, ok := find(t, d); ok {
		t.Fatal("found a mount on a plain directory")
	}
	mountpointtest.TmpFS(t, d)
	first, ok := find(t, d)
	if !ok || first.FSType != "tmpfs" || first.Source != "strata-test" || first.Root != "/" || first.Stacked != 1 || first.Path != d {
		t.Fatalf("after one mount: %+v, %v", first, ok)
	}
	mountpointtest.TmpFS(t, d)
	second, ok := find(t, d)
	if !ok || second.Stacked != 2 || second.Parent != first.ID {
		t.Fatalf("after two mounts: %+v over %+v", second, first)
	}
	if _, ok := find(t, filepath.Dir(d)); ok {
		t.Fatal("the parent directory is reported as mounted")
	}
}

func TestFindIgnoresMountsThatAreHidden(t *testing.T) {
	d := dir(t, "a")
	sub := filepath.Join(d, "b")
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	mountpointtest.TmpFS(t, sub)
	mountpointtest.TmpFS(t, d) // Covers a, and with it a/b.
	if m, ok := find(t, sub); ok {
		t.Fatalf("found %+v, which no path leads to", m)
	}
	if err := os.Mkdir(sub, 0o755); err != nil {
		t.Fatal(err)
	}
	mountpointtest.TmpFS(t, sub)
	top, _ := find(t, d)
	if m, ok := find(t, sub); !ok || m.Parent != top.ID || m.Stacked != 1 {
		t.Fatalf("visible mount: %+v, %v; parent %+v", m, ok, top)
	}
	if err := unix.Unmount(sub, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.Unmount(d, 0); err != nil {
		t.Fatal(err)
	}
}

func TestFindResolvesSymlinksOfTheParentOnly(t *testing.T) {
	d := dir(t, "real", "vol")
	link := filepath.Join(filepath.Dir(filepath.Dir(d)), "link")
	if err := os.Symlink(filepath.Dir(d), link); err != nil {
		t.Fatal(err)
	}
	mountpointtest.Dead(t, d)
	m, ok := find(t, filepath.Join(link, "vol"))
	if !ok || m.Path != d || m.FSType != mountpointtest.FSType {
		t.Fatalf("%+v, %v", m, ok)
	}
}

func TestFindRefusesRelativePaths(t *testing.T) {
	if _, _, err := mountpoint.Find("a/b"); !errors.Is(err, mountpoint.ErrInvalidPath) {
		t.Fatalf("err = %v", err)
	}
	if _, ok := find(t, "/no/such/directory"); ok {
		t.Fatal("found a mount in a directory that does not exist")
	}
}

func TestTableKnowsBindsOfOneDevice(t *testing.T) {
	d := dir(t)
	src, dst := filepath.Join(d, "src"), filepath.Join(d, "dst")
	for _, p := range []string{src, dst} {
		if _, err := mountpoint.MakeMountpoint(p); err != nil {
			t.Fatal(err)
		}
	}
	mountpointtest.TmpFS(t, src)
	if err := mountpoint.Bind(src, dst, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dst, unix.MNT_DETACH) })
	table, err := mountpoint.Read()
	if err != nil {
		t.Fatal(err)
	}
	m, _ := table.At(src)
	got := table.OfDevice(m).Paths()
	if len(got) != 2 || got[0] != src || got[1] != dst {
		t.Fatalf("mounts of the device: %q", got)
	}
	if below := table.Below(d).Paths(); len(below) != 2 {
		t.Fatalf("mounts below: %q", below)
	}
	if n := len(table.FromSource("tmpfs", "strata-test")); n < 2 {
		t.Fatalf("mounts of the source: %d", n)
	}
}
