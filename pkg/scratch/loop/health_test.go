package loop

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/loopdev"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// mounted is a volume that is mounted, and destroyed at the end.
func mounted(t *testing.T, spec disk.Spec) (d *Disk, dir string) {
	t.Helper()
	path := newDisk(t, "ext4", 700<<20)
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	if err := errorsOf(d.Create(t.Context(), spec), d.Mount(t.Context(), spec.Name, disk.Mount{Path: dir})); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Unmount(dir, 0)
		if err := d.Destroy(context.Background(), spec.Name, disk.WipeNone); err != nil {
			t.Error(err)
		}
		if left := leaks(t, path); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
	return d, dir
}

func reasons(t *testing.T, d *Disk, name, dir string) []string {
	t.Helper()
	found, err := d.Health(t.Context(), name, dir)
	if err != nil {
		t.Fatal(err)
	}
	var r []string
	for _, c := range found {
		if c.Severity == 0 || len(c.Message) < 40 {
			t.Errorf("says too little: %+v", c)
		}
		r = append(r, c.Reason)
	}
	return r
}

const goingDown = 0x8004587d // FS_IOC_SHUTDOWN

// shutDown does to a file system what an error of its disk does.
func shutDown(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	flags := uint32(2) // without writing the log
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), goingDown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		t.Fatal(errno)
	}
}

// fail makes an ext4 count an error.
func fail(t *testing.T, device loopdev.Device) {
	t.Helper()
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(device.Path()), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("test"), 0); err != nil {
		t.Fatal(err)
	}
}

func TestHealthOfAReadOnlyDisk(t *testing.T) {
	d, err := Open(newDisk(t, "ext4", 128<<20))
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", d.path, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if got := reasons(t, d, "any", ""); !slices.Contains(got, "DiskReadOnly") {
		t.Errorf("health is %q", got)
	}
}

func TestHealth(t *testing.T) {
	const name = "sick"
	for _, c := range []struct {
		name   string
		fsType string
		harm   func(t *testing.T, d *Disk, dir string)
		want   []string
	}{
		{"a sound ext4", "ext4", func(*testing.T, *Disk, string) {}, nil},
		{"a sound xfs", "xfs", func(*testing.T, *Disk, string) {}, nil},
		{"an ext4 that was shut down", "ext4", func(t *testing.T, _ *Disk, dir string) { shutDown(t, dir) }, []string{"ReadOnly"}},
		{"an xfs that was shut down", "xfs", func(t *testing.T, _ *Disk, dir string) { shutDown(t, dir) }, []string{"NotAnswering"}},
		{"an image that was removed", "ext4", func(t *testing.T, d *Disk, _ string) {
			if err := os.Remove(d.image(name)); err != nil {
				t.Fatal(err)
			}
		}, []string{"ImageMissing"}},
		{"a volume that isn't mounted", "ext4", func(t *testing.T, _ *Disk, dir string) {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
		}, []string{"DeviceMissing", "NotMounted"}},
		{"an image with a hole", "ext4", func(t *testing.T, d *Disk, _ string) {
			f, err := d.open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 100<<20, 1<<20); err != nil {
				t.Fatal(err)
			}
		}, []string{"SpaceNotReserved"}},
		{"an ext4 that found an error", "ext4", func(t *testing.T, d *Disk, _ string) {
			f, err := d.open(name)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			device, _, err := deviceOf(f)
			if err != nil {
				t.Fatal(err)
			}
			fail(t, device)
		}, []string{"ReadOnly", "FileSystemErrors"}},
		{"a disk that found an error", "ext4", func(t *testing.T, d *Disk, _ string) {
			var s unix.Stat_t
			if err := unix.Stat(d.path, &s); err != nil {
				t.Fatal(err)
			}
			device, _, _, err := loopdev.Lookup(int(unix.Major(s.Dev)), int(unix.Minor(s.Dev)))
			if err != nil {
				t.Fatal(err)
			}
			fail(t, device)
		}, []string{"DiskErrors"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, dir := mounted(t, disk.Spec{Name: name, Size: 320 << 20, FSType: c.fsType})
			c.harm(t, d, dir)
			got := reasons(t, d, name, dir)
			missing := func() bool {
				return slices.ContainsFunc(c.want, func(w string) bool { return !slices.Contains(got, w) })
			}
			// The kernel counts errors in the background.
			for i := 0; i < 300 && missing(); i++ {
				time.Sleep(20 * time.Millisecond)
				got = reasons(t, d, name, dir)
			}
			if missing() {
				t.Errorf("health is %q, without some of %q", got, c.want)
			}
			if len(c.want) == 0 && len(got) > 0 {
				t.Errorf("a sound volume has %q", got)
			}
		})
	}
}

func TestMountedKnowsAFileSystemThatStopped(t *testing.T) {
	d, dir := mounted(t, disk.Spec{Name: "stopped", Size: 64 << 20, FSType: "ext4"})
	shutDown(t, dir)
	if err := d.Mounted(t.Context(), "stopped", dir); !errors.Is(err, volume.ErrUnavailable) {
		t.Errorf("Mounted: %v", err)
	}
}

func TestMountedKnowsARemovedImage(t *testing.T) {
	d, dir := mounted(t, disk.Spec{Name: "removed", Size: 64 << 20})
	if err := os.Remove(d.image("removed")); err != nil {
		t.Fatal(err)
	}
	if err := d.Mounted(t.Context(), "removed", dir); !errors.Is(err, volume.ErrUnavailable) {
		t.Errorf("Mounted: %v", err)
	}
	if err := d.Destroy(t.Context(), "removed", disk.WipeNone); !errors.Is(err, volume.ErrUnavailable) {
		t.Errorf("Destroy: %v", err)
	}
}

func TestTwoDevicesOverOneImageAreTold(t *testing.T) {
	d, dir := mounted(t, disk.Spec{Name: "twice", Size: 64 << 20})
	// As an administrator with losetup does, who takes no lock.
	second := losetup(t, d.image("twice"))
	if got := reasons(t, d, "twice", dir); !slices.Contains(got, "DeviceUnusable") {
		t.Errorf("health is %q", got)
	}
	if err := second.Detach(t.Context()); err != nil {
		t.Error(err)
	}
	if got := reasons(t, d, "twice", dir); len(got) > 0 {
		t.Errorf("health is %q", got)
	}
}

// losetup attaches a device without the package's lock.
func losetup(t *testing.T, path string) loopdev.Device {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	for range 100 {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatal(err)
		}
		d := loopdev.Device{Number: n}
		node, err := d.Open()
		if err != nil {
			t.Fatal(err)
		}
		err = unix.IoctlLoopConfigure(int(node.Fd()), &unix.LoopConfig{Fd: uint32(f.Fd())})
		_ = node.Close()
		if err != nil {
			continue
		}
		found, err := loopdev.Find(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range found {
			if d.Number == n {
				return d
			}
		}
	}
	t.Fatal("no loop device could be had")
	return loopdev.Device{}
}

func TestExhaustedSaysHowMuch(t *testing.T) {
	d, err := Open(newDisk(t, "ext4", 128<<20))
	if err != nil {
		t.Fatal(err)
	}
	free, err := d.free()
	if err != nil {
		t.Fatal(err)
	}
	err = d.Create(t.Context(), disk.Spec{Name: "much", Size: 4 << 30})
	if !errors.Is(err, volume.ErrExhausted) || !strings.Contains(err.Error(), "4096 MiB were asked for") || !strings.Contains(err.Error(), "MiB free") {
		t.Errorf("%v", err)
	}
	if now, err := d.free(); err != nil || now < free-1<<20 {
		t.Errorf("%d bytes were free and %d are (%v)", free, now, err)
	}
}

func TestRefusals(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	small := newDisk(t, "ext4", 24<<20)
	readOnly := newDisk(t, "ext4", 128<<20)
	if err := unix.Mount("", readOnly, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, path, want string }{
		{"a relative path", "scratch", "absolute"},
		{"no directory", file, "no directory"},
		{"nothing there", file + "x", "no such file"},
		{"a disk that is too small", small, "asked for"},
		{"a read-only disk", readOnly, "read-only"},
		{"a file system without files", "/proc", "directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := Probe(t.Context(), c.path)
			var r *disk.Refused
			if !errors.As(err, &r) || r.Kind != disk.Loop || !strings.Contains(r.Reason, c.want) {
				t.Errorf("%v", err)
			}
		})
	}
}
