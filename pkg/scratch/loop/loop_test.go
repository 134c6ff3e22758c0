package loop

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/loopdev"
	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/disk/disktest"
)

func TestMain(m *testing.M) { disktest.Main(m) }

// newDisk is a disk on a file system of its own, itself on a loop device.
func newDisk(t *testing.T, fsType string, size int64) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loop devices are root's; run the tests as root")
	}
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	f, err := os.Create(image)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := errorsOf(f.Truncate(size), os.Mkdir(mnt, 0o755)); err != nil {
		t.Fatal(err)
	}
	device, open, err := loopdev.Attach(t.Context(), f, loopdev.Options{Autoclear: true})
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	args := map[string][]string{"ext4": {"-q", "-F", "-m0", device.Path()}, "xfs": {"-q", "-f", device.Path()}}[fsType]
	if out, err := exec.CommandContext(t.Context(), "/usr/sbin/mkfs."+fsType, args...).CombinedOutput(); err != nil {
		t.Fatalf("mkfs: %v: %s", err, out)
	}
	if err := unix.Mount(device.Path(), mnt, fsType, 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, 0); err != nil {
			t.Errorf("unmount the disk: %v", err)
			_ = unix.Unmount(mnt, unix.MNT_DETACH)
		}
	})
	return mnt
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func subject(path string) disktest.Subject {
	image := func(name string) string { return filepath.Join(path, folder, name+suffix) }
	return disktest.Subject{
		Open: func(t *testing.T) disk.Disk {
			d, err := Open(path)
			if err != nil {
				t.Fatal(err)
			}
			return d
		},
		FSTypes: []string{"ext4", "xfs"}, FSSize: 304 << 20, Block: true, Grows: true, GrowFSType: "xfs", CantGrow: cantGrow(),
		Limit: []unix.Errno{unix.ENOSPC},
		Allocated: func(t *testing.T, name string) int64 {
			var s unix.Stat_t
			if err := unix.Stat(image(name), &s); err != nil {
				t.Fatal(err)
			}
			return s.Blocks * 512
		},
		Raw:       func(_ *testing.T, name string) string { return image(name) },
		Leaks:     func(t *testing.T) []string { return leaks(t, path) },
		Leftovers: leftoversOf(image),
	}
}

// cantGrow is ext4 where the tests run without CAP_SYS_RESOURCE.
func cantGrow() []string {
	if err := mkfs.CheckGrow(mkfs.Ext4); err != nil {
		return []string{mkfs.Ext4}
	}
	return nil
}

// leaks are the loop devices over files below path, and the files.
func leaks(t *testing.T, path string) []string {
	t.Helper()
	var left []string
	backing, err := filepath.Glob("/sys/block/loop*/loop/backing_file")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range backing {
		if text, err := os.ReadFile(b); err == nil && strings.HasPrefix(string(text), path+"/") {
			left = append(left, b+": "+string(text))
		}
	}
	files, err := filepath.Glob(filepath.Join(path, folder, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return append(left, files...)
}

func leftoversOf(image func(string) string) []disktest.Leftover {
	file := func(t *testing.T, name string, size int64) *os.File {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(image(name)), 0o700); err != nil {
			t.Fatal(err)
		}
		f, err := os.Create(image(name))
		if err != nil {
			t.Fatal(err)
		}
		if size > 0 {
			if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
				t.Fatal(err)
			}
		}
		return f
	}
	return []disktest.Leftover{
		{Name: "an empty image", Make: func(t *testing.T, name string) { closed(t, file(t, name, 0)) }},
		{Name: "a part of an image", Make: func(t *testing.T, name string) { closed(t, file(t, name, 5<<20+4096)) }},
		{Name: "an image without a file system", Make: func(t *testing.T, name string) { closed(t, file(t, name, 64<<20)) }},
		{Name: "an image with a device", Make: func(t *testing.T, name string) {
			f := file(t, name, 64<<20)
			_, open, err := loopdev.Attach(t.Context(), f, loopdev.Options{})
			if err := errorsOf(err, open.Close(), f.Close()); err != nil {
				t.Fatal(err)
			}
		}},
		{Name: "a device without its image", Make: func(t *testing.T, name string) {
			f := file(t, name, 64<<20)
			_, open, err := loopdev.Attach(t.Context(), f, loopdev.Options{})
			if err := errorsOf(err, open.Close(), f.Close(), os.Remove(image(name))); err != nil {
				t.Fatal(err)
			}
		}},
	}
}

func closed(t *testing.T, f *os.File) {
	t.Helper()
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestConformOnExt4(t *testing.T) { disktest.Conform(t, subject(newDisk(t, "ext4", 1<<30))) }

func TestConformOnXFS(t *testing.T) { disktest.Conform(t, subject(newDisk(t, "xfs", 1<<30))) }

func TestProbe(t *testing.T) {
	path := newDisk(t, "ext4", 128<<20)
	for range 2 {
		d, err := Probe(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if d.Kind() != disk.Loop || d.Name() != path {
			t.Errorf("%s %s", d.Kind(), d.Name())
		}
		if left := leaks(t, path); len(left) > 0 {
			t.Errorf("the probe left %q", left)
		}
	}
}
