package mountpoint_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
)

func unmounter() *mountpoint.Unmounter {
	return mountpoint.NewUnmounter(mountpoint.NewProber(0))
}

func TestBindIsReadOnlyWhenAsked(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		name := map[bool]string{false: "writable", true: "read-only"}[readOnly]
		t.Run(name, func(t *testing.T) {
			d := dir(t)
			src, dst := filepath.Join(d, "src"), filepath.Join(d, "dst")
			for _, p := range []string{src, dst} {
				if made, err := mountpoint.MakeMountpoint(p); err != nil || !made {
					t.Fatalf("MakeMountpoint: %v, %v", made, err)
				}
			}
			mountpointtest.TmpFS(t, src)
			if err := mountpoint.Bind(src, dst, readOnly); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(dst, unix.MNT_DETACH) })
			m, ok := find(t, dst)
			if !ok || m.ReadOnly() != readOnly || m.Stacked != 1 {
				t.Fatalf("bind is %+v, %v", m, ok)
			}
			err := os.WriteFile(filepath.Join(dst, "f"), []byte("x"), 0o600)
			if readOnly != errors.Is(err, syscall.EROFS) || (!readOnly && err != nil) {
				t.Fatalf("writing: %v", err)
			}
			if err := os.WriteFile(filepath.Join(src, "g"), []byte("x"), 0o600); err != nil {
				t.Fatalf("the source must stay writable: %v", err)
			}
		})
	}
}

func TestMountpointsAreDirectoriesOfNobody(t *testing.T) {
	d := dir(t)
	p := filepath.Join(d, "target")
	if made, err := mountpoint.MakeMountpoint(p); err != nil || !made {
		t.Fatalf("%v, %v", made, err)
	}
	fi, err := os.Lstat(p)
	if err != nil || fi.Mode().Perm() != 0 {
		t.Fatalf("mode %v, %v", fi.Mode(), err)
	}
	if made, err := mountpoint.MakeMountpoint(p); err != nil || made {
		t.Fatalf("second call: %v, %v", made, err)
	}
	if _, err := mountpoint.MakeMountpoint(filepath.Join(d, "no", "parent")); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("without a parent: %v", err)
	}
	link := filepath.Join(d, "link")
	if err := os.Symlink(p, link); err != nil {
		t.Fatal(err)
	}
	if _, err := mountpoint.MakeMountpoint(link); !errors.Is(err, mountpoint.ErrNotDirectory) {
		t.Fatalf("symlink: %v", err)
	}
	if err := mountpoint.Bind(d, link, false); err == nil {
		t.Fatal("a bind followed a symbolic link")
	}
	mountpointtest.Silent(t, p)
	if made, err := mountpoint.MakeMountpoint(p); err != nil || made {
		t.Fatalf("on a silent mount: %v, %v", made, err)
	}
}

func TestUnmountRemovesEveryMountOfTheStack(t *testing.T) {
	d := dir(t)
	for range 3 {
		mountpointtest.TmpFS(t, d)
	}
	if err := unmounter().Unmount(within(t, time.Minute), d); err != nil {
		t.Fatal(err)
	}
	if m, ok := find(t, d); ok {
		t.Fatalf("left: %+v", m)
	}
	if err := unmounter().Unmount(within(t, time.Minute), d); err != nil {
		t.Fatalf("with nothing mounted: %v", err)
	}
}

func TestUnmountWhileStopsAtTheMountThatMayNotGo(t *testing.T) {
	d := dir(t)
	for range 3 {
		mountpointtest.TmpFS(t, d)
	}
	keep := errors.New("another's")
	asked := 0
	err := unmounter().UnmountWhile(within(t, time.Minute), d, func(context.Context) error {
		if asked++; asked == 3 {
			return keep
		}
		return nil
	})
	if !errors.Is(err, keep) {
		t.Errorf("err = %v", err)
	}
	if m, ok := find(t, d); !ok || m.Stacked != 1 {
		t.Errorf("left: %+v", m)
	}
}

func TestABusyMountStaysAndTheErrorSaysWhatToDo(t *testing.T) {
	t.Run("open file", func(t *testing.T) {
		d := dir(t)
		mountpointtest.TmpFS(t, d)
		f, err := os.Create(filepath.Join(d, "f"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		err = unmounter().Unmount(within(t, time.Minute), d)
		if !errors.Is(err, mountpoint.ErrBusy) || !strings.Contains(err.Error(), "fuser -vm "+d) {
			t.Fatalf("err = %v", err)
		}
		if _, ok := find(t, d); !ok {
			t.Fatal("a live mount in use was detached")
		}
	})
	t.Run("mount below", func(t *testing.T) {
		d := dir(t)
		mountpointtest.TmpFS(t, d)
		sub := filepath.Join(d, "sub")
		if err := os.Mkdir(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		mountpointtest.TmpFS(t, sub)
		err := unmounter().Unmount(within(t, time.Minute), d)
		if !errors.Is(err, mountpoint.ErrBusy) || !strings.Contains(err.Error(), sub) {
			t.Fatalf("err = %v", err)
		}
	})
	t.Run("silent", func(t *testing.T) {
		d := dir(t)
		mountpointtest.Silent(t, d)
		fd, err := unix.Open(d, unix.O_PATH, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		err = unmounter().Unmount(within(t, 200*time.Millisecond), d)
		if !errors.Is(err, mountpoint.ErrBusy) || !errors.Is(err, mountpoint.ErrProbeHung) {
			t.Fatalf("err = %v", err)
		}
		if _, ok := find(t, d); !ok {
			t.Fatal("a silent mount in use was detached")
		}
	})
}

func TestADeadMountInUseIsDetached(t *testing.T) {
	d := dir(t)
	mountpointtest.Dead(t, d)
	fd, err := unix.Open(d, unix.O_PATH, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Unmount(d, 0); err != unix.EBUSY {
		t.Fatalf("the mount should be busy: %v", err)
	}
	if err := unmounter().Unmount(within(t, time.Minute), d); err != nil {
		t.Fatal(err)
	}
	if m, ok := find(t, d); ok {
		t.Fatalf("left: %+v", m)
	}
}

func TestRemoveMountpointDeletesNothingButAnEmptyDirectory(t *testing.T) {
	d := dir(t)
	mounted := filepath.Join(d, "mounted")
	full := filepath.Join(d, "full")
	file := filepath.Join(d, "file")
	for _, p := range []string{mounted, full, filepath.Join(full, "data")} {
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	mountpointtest.Dead(t, mounted)
	cases := []struct {
		name, path string
		want       error
	}{
		{"still mounted", mounted, mountpoint.ErrStillMounted},
		{"not empty", full, mountpoint.ErrNotEmpty},
		{"a file", file, mountpoint.ErrNotDirectory},
		{"absent", filepath.Join(d, "none"), nil},
		{"relative", "none", mountpoint.ErrInvalidPath},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if err := mountpoint.RemoveMountpoint(c.path); !errors.Is(err, c.want) {
				t.Errorf("err = %v", err)
			}
		})
	}
	if err := unmounter().Unmount(within(t, time.Minute), mounted); err != nil {
		t.Fatal(err)
	}
	if err := mountpoint.RemoveMountpoint(mounted); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(mounted); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("still there: %v", err)
	}
}
