package mountpoint_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
)

// bound binds node to a new file and returns its path.
func bound(t *testing.T, node string) string {
	t.Helper()
	target := filepath.Join(dir(t), "target")
	if made, err := mountpoint.MakeFileMountpoint(target); err != nil || !made {
		t.Fatalf("MakeFileMountpoint: %v, %v", made, err)
	}
	if err := mountpoint.BindDevice(node, target); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	return target
}

func TestABoundDeviceIsTheDevice(t *testing.T) {
	const size = 1 << 20
	node := mountpointtest.Loop(t, size)
	target := bound(t, node)
	want, err := mountpoint.DeviceAt(node)
	if err != nil {
		t.Fatal(err)
	}
	got, err := mountpoint.DeviceAt(target)
	if err != nil || got != want {
		t.Fatalf("got %v, %v; want %v", got, err, want)
	}
	if n, err := got.Size(); err != nil || n != size {
		t.Errorf("size %d, %v", n, err)
	}
	if m, ok := find(t, target); !ok || m.Stacked != 1 {
		t.Errorf("mount %+v, %v", m, ok)
	}
	text := []byte("through the target")
	f, err := os.OpenFile(target, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(text); err != nil {
		t.Error(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Error(err)
	}
	read := make([]byte, len(text))
	if f, err = os.Open(node); err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Read(read); err != nil || string(read) != string(text) {
		t.Errorf("read %q, %v from the node", read, err)
	}
}

func TestTheBindsOfADeviceAreKnown(t *testing.T) {
	node, other := mountpointtest.Loop(t, 1<<20), mountpointtest.Loop(t, 1<<20)
	one, two := bound(t, node), bound(t, node)
	bound(t, other)
	mountpointtest.Silent(t, dir(t)) // nobody may be held up by it
	table, err := mountpoint.Read()
	if err != nil {
		t.Fatal(err)
	}
	d, err := mountpoint.DeviceAt(node)
	if err != nil {
		t.Fatal(err)
	}
	if got := table.OfBlockDevice(d).Paths(); len(got) != 2 || got[0] != one || got[1] != two {
		t.Errorf("got %q, want %q and %q", got, one, two)
	}
	if got := table.OfBlockDevice(mountpoint.Device{Major: 7, Minor: 1 << 19}); len(got) != 0 {
		t.Errorf("of no device: %v", got)
	}
}

func TestWhatIsNoDevice(t *testing.T) {
	d := dir(t)
	file, link, silent := filepath.Join(d, "file"), filepath.Join(d, "link"), filepath.Join(d, "silent")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(mountpointtest.Loop(t, 1<<20), link), os.Mkdir(silent, 0o700)); err != nil {
		t.Fatal(err)
	}
	mountpointtest.Silent(t, silent)
	for name, path := range map[string]string{
		"a directory": d, "a file": file, "a symbolic link to a device": link, "a silent mount": silent, "nothing": d + "/none",
		"a character device": "/dev/null",
	} {
		t.Run(name, func(t *testing.T) {
			if got, err := mountpoint.DeviceAt(path); !errors.Is(err, mountpoint.ErrNotDevice) {
				t.Errorf("DeviceAt: %v, %v", got, err)
			}
			if err := mountpoint.BindDevice(path, file); !errors.Is(err, mountpoint.ErrNotDevice) {
				t.Errorf("BindDevice: %v", err)
			}
		})
	}
	if _, err := mountpoint.DeviceAt("relative"); !errors.Is(err, mountpoint.ErrInvalidPath) {
		t.Errorf("a relative path: %v", err)
	}
}

func TestFileMountpointsAreEmptyFilesOfNobody(t *testing.T) {
	d := dir(t)
	path := func(name string) string { return filepath.Join(d, name) }
	for want := range 2 {
		if made, err := mountpoint.MakeFileMountpoint(path("target")); err != nil || made != (want == 0) {
			t.Fatalf("%v, %v", made, err)
		}
	}
	fi, err := os.Lstat(path("target"))
	if err != nil || fi.Mode() != 0 || fi.Size() != 0 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	if err := errors.Join(os.WriteFile(path("full"), []byte("x"), 0o600), os.Symlink(path("target"), path("link")), os.Mkdir(path("dir"), 0o700)); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{
		"full": mountpoint.ErrNotEmpty, "link": mountpoint.ErrNotFile, "dir": mountpoint.ErrNotFile, "no/parent": os.ErrNotExist,
	} {
		if made, err := mountpoint.MakeFileMountpoint(path(name)); made || !errors.Is(err, want) {
			t.Errorf("%s: %v, %v", name, made, err)
		}
	}
	node := mountpointtest.Loop(t, 1<<20)
	for name, want := range map[string]error{
		path("link"): mountpoint.ErrNotFile, path("dir"): mountpoint.ErrNotFile, path("none"): os.ErrNotExist, "target": mountpoint.ErrInvalidPath,
		bound(t, node): mountpoint.ErrNotFile, // bound already
	} {
		if err := mountpoint.BindDevice(node, name); !errors.Is(err, want) {
			t.Errorf("bind to %s: %v", name, err)
		}
	}
	if _, ok := find(t, path("target")); ok {
		t.Error("a bind followed a symbolic link")
	}
	if err := mountpoint.Bind(d, path("target"), false); err == nil {
		t.Error("a directory was bound to a file")
	}
}

func TestRemoveTargetDeletesNothingWithContent(t *testing.T) {
	target := bound(t, mountpointtest.Loop(t, 1<<20))
	d := filepath.Dir(target)
	path := func(name string) string { return filepath.Join(d, name) }
	if err := errors.Join(os.WriteFile(path("full"), []byte("x"), 0o600), os.WriteFile(path("empty"), nil, 0o600), os.Symlink(path("empty"), path("link")),
		os.MkdirAll(path("dir/full"), 0o700), os.Mkdir(path("gone"), 0), os.Mkdir(path("silent"), 0o700)); err != nil {
		t.Fatal(err)
	}
	mountpointtest.Silent(t, path("silent"))
	for name, want := range map[string]error{
		"target": mountpoint.ErrStillMounted, "silent": mountpoint.ErrStillMounted, "full": mountpoint.ErrNotEmpty,
		"dir": mountpoint.ErrNotEmpty, "link": mountpoint.ErrNotDirectory, "none": nil, "gone": nil,
	} {
		if err := mountpoint.RemoveTarget(path(name)); !errors.Is(err, want) {
			t.Errorf("%s: got %v, want %v", name, err, want)
		}
	}
	for range 2 {
		if err := mountpoint.RemoveTarget(path("empty")); err != nil {
			t.Error(err)
		}
	}
	if err := unmounter().Unmount(within(t, time.Minute), target); err != nil {
		t.Fatal(err)
	}
	if err := mountpoint.RemoveTarget(target); err != nil {
		t.Error(err)
	}
	for name, there := range map[string]bool{"target": false, "empty": false, "gone": false, "full": true, "link": true, "dir/full": true} {
		if _, err := os.Lstat(path(name)); (err == nil) != there {
			t.Errorf("%s: %v", name, err)
		}
	}
}
