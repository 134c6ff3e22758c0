package mkfs

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/loopdev"
	"github.com/strata-csi/strata/pkg/volume"
)

func newDevice(t *testing.T, size int64) (loopdev.Device, *os.File) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loop devices are root's; run the tests as root")
	}
	f, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	d, open, err := loopdev.Attach(t.Context(), f, loopdev.Options{Autoclear: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = open.Close() })
	return d, f
}

func TestMakeAndGrow(t *testing.T) {
	for _, c := range []struct {
		fsType      string
		size, grown int64
		options     []string
	}{
		{Ext4, 16 << 20, 48 << 20, nil},
		{Ext4, 256 << 20, 512 << 20, []string{"-i", "65536", "-L", "mine"}},
		{Ext4, 101 << 30, 102 << 30, nil},
		{XFS, MinXFS, 400 << 20, []string{"-L", "mine"}},
	} {
		t.Run(c.fsType, func(t *testing.T) {
			d, f := newDevice(t, c.size)
			if err := Make(t.Context(), c.fsType, d.Path(), c.size, c.options); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := unix.Mount(d.Path(), dir, c.fsType, 0, ""); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := unix.Unmount(dir, 0); err != nil {
					t.Error(err)
				}
			}()
			total := func() int64 {
				var s unix.Statfs_t
				if err := unix.Statfs(dir, &s); err != nil {
					t.Fatal(err)
				}
				// The kernel keeps a fiftieth, or 4096 blocks, for its own use; root's part would be a twentieth.
				if kept := s.Bfree - s.Bavail; c.fsType == Ext4 && kept > min(4096, s.Blocks/25) {
					t.Errorf("%d blocks are kept for root", s.Bfree-s.Bavail)
				}
				return int64(s.Blocks) * s.Frsize
			}
			// At 16 MiB a journal of 4 takes its part, at 300 that of xfs.
			if n := total(); n > c.size || n < c.size*7/10 || c.fsType == Ext4 && c.size >= 256<<20 && n < c.size*9/10 {
				t.Errorf("%s of %d bytes has %d", c.fsType, c.size, n)
			}
			if err := f.Truncate(c.grown); err != nil {
				t.Fatal(err)
			}
			if err := d.FollowFile(); err != nil {
				t.Fatal(err)
			}
			if err := CheckGrow(c.fsType); err != nil {
				if !errors.Is(err, volume.ErrPrecondition) || !strings.Contains(err.Error(), "SYS_RESOURCE") {
					t.Errorf("growing is refused with %v", err)
				}
				return
			}
			for range 2 {
				if err := Grow(t.Context(), c.fsType, d.Path(), dir); err != nil {
					t.Fatal(err)
				}
			}
			if n := total(); n > c.grown || n < c.grown*8/10 {
				t.Errorf("grown to %d bytes it has %d", c.grown, n)
			}
		})
	}
}

func TestErrorsSayWhatTheToolSaid(t *testing.T) {
	d, _ := newDevice(t, 16<<20)
	err := Make(t.Context(), Ext4, d.Path(), 16<<20, []string{"-O", "no_such_feature"})
	if err == nil || !strings.Contains(err.Error(), "no_such_feature") || !strings.Contains(err.Error(), "exit status 1: ") {
		t.Errorf("a wrong feature: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Make(ctx, Ext4, d.Path(), 16<<20, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a caller that has gone: %v", err)
	}
	before := dirs
	defer func() { dirs = before }()
	dirs = []string{t.TempDir()}
	if err := Make(t.Context(), XFS, d.Path(), MinXFS, nil); !errors.Is(err, volume.ErrPrecondition) || !strings.Contains(err.Error(), "install xfsprogs") {
		t.Errorf("a tool that isn't installed: %v", err)
	}
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		fsType string
		size   int64
		ok     bool
	}{
		{"", 16 << 20, true}, {Ext4, 16 << 20, true}, {XFS, MinXFS, true}, {XFS, MinXFS - 1<<20, false}, {"vfat", 1 << 30, false}, {"ext4 ", 1 << 30, false},
	} {
		err := Check(c.fsType, c.size)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, volume.ErrInvalid) {
			t.Errorf("%q of %d: %v", c.fsType, c.size, err)
		}
	}
	if Default(xfsFrom-1) != Ext4 || Default(xfsFrom) != XFS {
		t.Error("the default type")
	}
}

func TestVersionsOfE2fsprogs(t *testing.T) {
	for out, want := range map[string]bool{
		"mke2fs 1.47.0 (5-Feb-2023)\n\tUsing EXT2FS Library version 1.47.0": true, "mke2fs 1.46.6 (1-Feb-2023)": false, "mke2fs 1.48-WIP": true,
		"mke2fs 2.0": true, "mke2fs": false, "": false, "mke2fs new": false,
	} {
		if atLeast147(out) != want {
			t.Errorf("%q: want %v", out, want)
		}
	}
}
