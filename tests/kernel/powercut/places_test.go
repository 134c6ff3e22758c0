//go:build lab

package powercut

// The disks of the machine, one for each kind of scratch volume (lvm has two).

import (
	"context"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/loop"
	"github.com/strata-csi/strata/pkg/scratch/lvm"
	"github.com/strata-csi/strata/pkg/scratch/xfs"
)

const (
	mib = int64(1) << 20
	vg  = "strata"
)

// kind is a way to make volumes, and where a process that makes or destroys one is killed before the machine is.
type kind struct {
	name                 disk.Kind
	block                bool
	wipe                 disk.Wipe
	creating, destroying []string
	format               func(t *testing.T)
	open                 func(ctx context.Context) (disk.Disk, error)
}

var kinds = []kind{
	{
		name: disk.LVM, block: true, wipe: disk.WipeZero,
		creating:   []string{"scratch/lvm/after-lvcreate", "scratch/lvm/after-mkfs"},
		destroying: []string{"scratch/lvm/after-wipe"},
		format: func(t *testing.T) {
			run(t, "lvm", "vgcreate", "-q", vg, device(t, 0), device(t, 1))
		},
		open: func(ctx context.Context) (disk.Disk, error) { return lvm.Probe(ctx, vg) },
	},
	{
		name: disk.Loop, block: true, wipe: disk.WipeZero,
		creating:   []string{"scratch/loop/after-allocate", "scratch/loop/after-attach-to-format"},
		destroying: []string{"scratch/loop/after-wipe"},
		format:     func(t *testing.T) { run(t, "mkfs.ext4", "-q", device(t, 2)) },
		open: func(ctx context.Context) (disk.Disk, error) {
			return loop.Probe(ctx, "/run/ext4")
		},
	},
	{
		name: disk.XFS, wipe: disk.WipeNone,
		creating:   []string{"scratch/xfs/after-mkdir", "scratch/xfs/after-limit"},
		destroying: []string{"scratch/xfs/after-rename"},
		format:     func(t *testing.T) { run(t, "mkfs.xfs", "-q", device(t, 3)) },
		open: func(ctx context.Context) (disk.Disk, error) {
			return xfs.Probe(ctx, "/run/xfs")
		},
	},
}

func device(t *testing.T, n int) string {
	t.Helper()
	name := "STRATA_LAB_DISK_" + strconv.Itoa(n)
	dev := os.Getenv(name)
	if dev == "" {
		t.Fatalf("%s isn't set: this test runs in the machine of tests/kernel", name)
	}
	return dev
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v: %s", name, args, err, out)
	}
}

// mountPlaces mounts the file systems that loop and xfs work on, as fstab does on a node.
func mountPlaces(t *testing.T) {
	t.Helper()
	for _, m := range []struct {
		disk                int
		path, fsType, extra string
	}{{2, "/run/ext4", "ext4", ""}, {3, "/run/xfs", "xfs", "prjquota"}} {
		must(t, os.MkdirAll(m.path, 0o755))
		must(t, unix.Mount(device(t, m.disk), m.path, m.fsType, 0, m.extra))
	}
}

func (k kind) disk(t *testing.T) disk.Disk {
	t.Helper()
	d, err := k.open(t.Context())
	must(t, err)
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// capacity waits until it is at least want, for file systems that free space in the background.
func capacity(t *testing.T, d disk.Disk, want int64) (got int64) {
	t.Helper()
	for range 1200 {
		var err error
		got, err = d.Capacity(t.Context())
		must(t, err)
		if got >= want {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	return got
}
