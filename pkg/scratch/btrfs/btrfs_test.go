package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/btrfs/btrfstest"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/disk/disktest"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestMain(m *testing.M) { disktest.Main(m) }

func TestConform(t *testing.T) {
	path := btrfstest.New(t, 4<<30, "--metadata", "single")
	probe := func(t *testing.T) *Disk {
		t.Helper()
		d, err := Probe(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	// What a killed Create leaves, by the side effects it got to.
	left := func(steps int) func(*testing.T, string) {
		return func(t *testing.T, name string) {
			d, err := open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Close()
			if err := d.fs.Create(d.home, name); err != nil {
				t.Fatal(err)
			}
			s, err := d.lookup(name)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			g := groupOf(s.ID)
			for _, step := range []func() error{
				func() error { return d.fs.CreateGroup(g) },
				func() error { return d.fs.Limit(g, 64<<20) },
				func() error { return os.Mkdir(filepath.Join(path, homeName, name, dataName), 0o755) },
			}[:steps] {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	disktest.Conform(t, disktest.Subject{
		Open:    func(t *testing.T) disk.Disk { return probe(t) },
		FSTypes: []string{"btrfs"},
		Grows:   true,
		// Chunks of metadata come and go.
		Slack: 300 << 20,
		Leftovers: []disktest.Leftover{
			{Name: "subvolume", Make: left(0)}, {Name: "group", Make: left(1)}, {Name: "limit", Make: left(2)}, {Name: "directory", Make: left(3)},
		},
		Leaks: func(t *testing.T) []string { return leaks(t, path) },
	})
}

// leaks are subvolumes and groups that belong to no volume: without volumes, all but the file system's own.
func leaks(t *testing.T, path string) []string {
	t.Helper()
	d, err := open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var found []string
	for _, l := range []uint16{0, 1} {
		groups, err := d.fs.Groups(l)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range groups {
			if g.String() != "0/5" {
				found = append(found, g.String())
			}
		}
	}
	ours, err := d.ours()
	if err != nil {
		t.Fatal(err)
	}
	for id, name := range ours {
		found = append(found, fmt.Sprintf("subvolume %d, %s", id, name))
	}
	return found
}

// newVolume makes volume v1 of 64 MiB on a disk of its own. Both end with the test.
func newVolume(t *testing.T) (d *Disk, must func(what string, err error)) {
	t.Helper()
	must = func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	d, err := Open(btrfstest.New(t, 1<<30, "--metadata", "single"))
	must("open", err)
	t.Cleanup(func() { must("close", d.Close()) })
	must("quota", d.fs.EnableSimpleQuota())
	must("create", d.Create(t.Context(), disk.Spec{Name: "v1", Size: 64 << 20}))
	t.Cleanup(func() { must("destroy", d.Destroy(context.Background(), "v1", disk.WipeNone)) })
	return d, must
}

// A second overlay over the same directories would take the first one's working directory from under it.
func TestAVolumeIsMountedOnce(t *testing.T) {
	d, must := newVolume(t)
	one, two := t.TempDir(), t.TempDir()
	must("mount", d.Mount(t.Context(), "v1", disk.Mount{Path: one}))
	t.Cleanup(func() { must("umount", unix.Unmount(one, 0)) })
	if err := d.Mount(t.Context(), "v1", disk.Mount{Path: two}); !errors.Is(err, volume.ErrUnavailable) || !strings.Contains(err.Error(), one) {
		t.Errorf("mounted twice: %v", err)
		_ = unix.Unmount(two, 0)
	}
	must("write", os.WriteFile(filepath.Join(one, "x"), nil, 0o600))
	must("remove", os.Remove(filepath.Join(one, "x")))
}

// The mount appears with the mode of its root, also of a volume that is full and was given another by its pod.
func TestAMountThatIsWhole(t *testing.T) {
	d, must := newVolume(t)
	path := t.TempDir()
	for _, readOnly := range []bool{false, true} {
		must("mount", d.MountWhole(t.Context(), "v1", disk.Mount{Path: path, ReadOnly: readOnly}, disk.Root{Mode: 0o777}))
		must("mounted", d.Mounted(t.Context(), "v1", path))
		fi, err := os.Stat(path)
		must("stat", err)
		if fi.Mode().Perm() != 0o777 {
			t.Errorf("mode %v", fi.Mode())
		}
		err = os.Chmod(path, 0o700)
		if readOnly != errors.Is(err, unix.EROFS) {
			t.Errorf("chmod, read-only %v: %v", readOnly, err)
		}
		if !readOnly {
			f, err := os.Create(filepath.Join(path, "fill"))
			must("fill", err)
			for block := make([]byte, 1<<20); err == nil; {
				_, err = f.Write(block)
			}
			if !errors.Is(err, unix.EDQUOT) {
				t.Errorf("filling it: %v", err)
			}
			must("close", f.Close())
		}
		must("umount", unix.Unmount(path, 0))
	}
}
