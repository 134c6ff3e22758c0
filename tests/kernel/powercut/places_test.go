//go:build lab

package powercut

// The disks of the machines, one for each kind of scratch volume (lvm has two). btrfs is in a machine of its own, with a newer kernel.

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	fs "github.com/strata-csi/strata/pkg/btrfs"
	"github.com/strata-csi/strata/pkg/scratch/btrfs"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/loop"
	"github.com/strata-csi/strata/pkg/scratch/lvm"
	"github.com/strata-csi/strata/pkg/scratch/xfs"
)

const (
	mib = int64(1) << 20
	vg  = "strata"
)

// kindsEnv names the kinds that the machine has disks for, with commas.
const kindsEnv = "STRATA_POWERCUT_KINDS"

// kind is a way to make volumes, and where a process that makes or destroys one is killed before the machine is.
type kind struct {
	name                 disk.Kind
	block                bool
	wipe                 disk.Wipe
	creating, destroying []string
	format               func(t *testing.T)
	place                place // none for lvm
	open                 func(ctx context.Context) (disk.Disk, error)
	// late: a volume that was answered is on the disk some time after; whether it outlives a power cut is no promise.
	late bool
	// slack is how much of its capacity the file system may move about, in bytes.
	slack int64
	// leaks names what belongs to no volume when there are none; nil where a List tells.
	leaks func() ([]string, error)
}

// place is a file system that volumes are made on, mounted as fstab does on a node.
type place struct {
	disk                  int // of the machine
	path, fsType, options string
}

var all = []kind{
	{
		name: disk.LVM, block: true, wipe: disk.WipeZero, slack: 16 * mib,
		creating:   []string{"scratch/lvm/after-lvcreate", "scratch/lvm/after-mkfs"},
		destroying: []string{"scratch/lvm/after-wipe"},
		format: func(t *testing.T) {
			run(t, "lvm", "vgcreate", "-q", vg, device(t, 0), device(t, 1))
		},
		open: func(ctx context.Context) (disk.Disk, error) { return lvm.Probe(ctx, vg) },
	},
	{
		name: disk.Loop, block: true, wipe: disk.WipeZero, slack: 16 * mib,
		creating:   []string{"scratch/loop/after-allocate", "scratch/loop/after-attach-to-format"},
		destroying: []string{"scratch/loop/after-wipe"},
		format:     func(t *testing.T) { run(t, "mkfs.ext4", "-q", device(t, 2)) },
		place:      place{2, "/run/ext4", "ext4", ""},
		open: func(ctx context.Context) (disk.Disk, error) {
			return loop.Probe(ctx, "/run/ext4")
		},
	},
	{
		name: disk.XFS, wipe: disk.WipeNone, slack: 16 * mib,
		creating:   []string{"scratch/xfs/after-mkdir", "scratch/xfs/after-limit"},
		destroying: []string{"scratch/xfs/after-rename"},
		format:     func(t *testing.T) { run(t, "mkfs.xfs", "-q", device(t, 3)) },
		place:      place{3, "/run/xfs", "xfs", "prjquota"},
		open: func(ctx context.Context) (disk.Disk, error) {
			return xfs.Probe(ctx, "/run/xfs")
		},
	},
	{
		// Chunks of a tenth of the disk come and go.
		name: disk.Btrfs, late: true, wipe: disk.WipeDiscard, slack: 256 * mib,
		creating:   []string{"scratch/btrfs/after-subvolume", "scratch/btrfs/after-group", "scratch/btrfs/after-limit", "scratch/btrfs/after-assign"},
		destroying: []string{"scratch/btrfs/after-destroy", "scratch/btrfs/after-clean"},
		format:     func(t *testing.T) { run(t, "mkfs.btrfs", "-q", "-m", "single", device(t, 0)) },
		place:      place{0, "/run/btrfs", "btrfs", "discard=async"},
		open: func(ctx context.Context) (disk.Disk, error) {
			return btrfs.Probe(ctx, "/run/btrfs")
		},
		leaks: groups,
	},
}

// kinds are those that kindsEnv names.
func kinds(t *testing.T) []kind {
	t.Helper()
	var found []kind
	for name := range strings.SplitSeq(os.Getenv(kindsEnv), ",") {
		i := slices.IndexFunc(all, func(k kind) bool { return string(k.name) == name })
		if i < 0 {
			t.Fatalf("%s names %q: this test runs in the machine of tests/kernel", kindsEnv, name)
		}
		found = append(found, all[i])
	}
	return found
}

// groups are the quota groups of the btrfs but that of its own root.
func groups() (found []string, err error) {
	f, err := fs.Open("/run/btrfs")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	for level := range uint16(2) {
		groups, err := f.Groups(level)
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			if g.String() != "0/5" {
				found = append(found, g.String())
			}
		}
	}
	return found, nil
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

// mountPlaces mounts the file systems that volumes are made on.
func mountPlaces(t *testing.T) {
	t.Helper()
	for _, k := range kinds(t) {
		if p := k.place; p.path != "" {
			must(t, os.MkdirAll(p.path, 0o755))
			must(t, unix.Mount(device(t, p.disk), p.path, p.fsType, 0, p.options))
		}
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
