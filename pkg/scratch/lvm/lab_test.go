//go:build lab

package lvm

// Tests on real disks, which they overwrite: tests/kernel runs them in an emulated machine.

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/disk/disktest"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestMain(m *testing.M) { disktest.Main(m) }

const mib = int64(1) << 20

func command(t *testing.T, args ...string) string {
	t.Helper()
	p, err := findProgram()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.run(context.WithoutCancel(t.Context()), args[0], args[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// newGroup makes a volume group of the first disks of the machine, as many as there are sizes, of which it takes that many MiB.
func newGroup(t *testing.T, name string, sizes ...string) *Disk {
	t.Helper()
	var disks []string
	for i, size := range sizes {
		dev := os.Getenv("STRATA_LAB_DISK_" + string(rune('0'+i)))
		if dev == "" {
			t.Fatalf("no variable names disk %d: this test runs in the machine of tests/kernel", i)
		}
		command(t, "pvcreate", "-q", "-y", "-ff", "--setphysicalvolumesize", size+"m", dev)
		disks = append(disks, dev)
	}
	command(t, append([]string{"vgcreate", "-q", name}, disks...)...)
	t.Cleanup(func() {
		command(t, "vgremove", "-q", "-f", "-y", name)
		command(t, append([]string{"pvremove", "-q", "-y"}, disks...)...)
	})
	return open(t, name)
}

func open(t *testing.T, vg string) *Disk {
	t.Helper()
	d, err := Probe(t.Context(), vg)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDisk(t *testing.T) {
	d := newGroup(t, "suite", "504", "504")
	partly := func(steps int) func(*testing.T, string) {
		return func(t *testing.T, name string) {
			_, err := d.allocate(t.Context(), prefix+name, 64*mib)
			must(t, err)
			if steps > 0 {
				_, err := d.allocate(t.Context(), prefix+name+growing, 64*mib)
				must(t, err)
			}
			if steps > 1 {
				command(t, "lvchange", "-an", d.vg+"/"+prefix+name)
			}
		}
	}
	disktest.Conform(t, disktest.Subject{
		// Without the Probe, which newGroup has done: every command takes long in an emulated machine.
		Open:    func(*testing.T) disk.Disk { return newDisk(d.vg, d.lvm) },
		FSTypes: []string{"ext4", "xfs"},
		Block:   true,
		Limit:   []unix.Errno{unix.ENOSPC},
		Grows:   true,
		FSSize:  320 * mib,
		Allocated: func(t *testing.T, name string) int64 {
			l, err := d.find(t.Context(), name)
			must(t, err)
			return l.size
		},
		Raw: func(_ *testing.T, name string) string { return d.node(prefix + name) },
		Leftovers: []disktest.Leftover{
			{Name: "a logical volume", Make: partly(0)},
			{Name: "and one on its way to it", Make: partly(1)},
			{Name: "inactive after a boot", Make: partly(2)},
		},
		Leaks: func(t *testing.T) []string {
			nodes, err := filepath.Glob("/dev/mapper/*strata--scratch*")
			must(t, err)
			return nodes
		},
	})
}

func TestStriping(t *testing.T) {
	d := newGroup(t, "stripes", "128", "64")
	stripes := func(name string) []int64 {
		n, _, err := d.segments(t.Context(), prefix+name)
		must(t, err)
		return n
	}
	must(t, d.Create(t.Context(), disk.Spec{Name: "striped", Size: 32 * mib, Block: true}))
	if got := stripes("striped"); !slices.Equal(got, []int64{2}) {
		t.Errorf("stripes: %v", got)
	}
	// The smaller disk hasn't half of this.
	must(t, d.Create(t.Context(), disk.Spec{Name: "linear", Size: 112 * mib, Block: true}))
	if got := stripes("linear"); slices.Max(got) != 1 {
		t.Errorf("stripes: %v", got)
	}
	if c := conditions(t, d, "linear", ""); !slices.Contains(c, "NotStriped") {
		t.Errorf("health of a volume that isn't striped: %q", c)
	}
	if c := conditions(t, d, "striped", ""); len(c) > 0 {
		t.Errorf("health of a striped volume: %q", c)
	}
	must(t, d.Destroy(t.Context(), "linear", disk.WipeDiscard))
	must(t, d.Destroy(t.Context(), "striped", disk.WipeZero))
}

func conditions(t *testing.T, d *Disk, name, path string) (reasons []string) {
	t.Helper()
	found, err := d.Health(t.Context(), name, path)
	must(t, err)
	for _, c := range found {
		reasons = append(reasons, c.Reason)
	}
	return reasons
}

// A Grow must never show what another tenant wrote, and the tail of a block volume is where it would.
func TestGrownSpaceReadsZeros(t *testing.T) {
	d := newGroup(t, "grown", "64")
	must(t, d.Create(t.Context(), disk.Spec{Name: "before", Size: 48 * mib, Block: true}))
	device, err := d.Attach(t.Context(), "before")
	must(t, err)
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	must(t, err)
	for range 48 {
		_, err := f.Write([]byte(strings.Repeat("x", int(mib))))
		must(t, err)
	}
	must(t, f.Sync())
	must(t, f.Close())
	must(t, d.Destroy(t.Context(), "before", disk.WipeNone))
	must(t, d.Create(t.Context(), disk.Spec{Name: "after", Size: 16 * mib, Block: true}))
	must(t, d.Grow(t.Context(), "after", "", 48*mib))
	device, err = d.Attach(t.Context(), "after")
	must(t, err)
	b, err := os.ReadFile(device)
	must(t, err)
	if int64(len(b)) != 48*mib || strings.Trim(string(b), "\x00") != "" {
		t.Errorf("the grown device has %d bytes, not all of them zeros", len(b))
	}
	must(t, d.Destroy(t.Context(), "after", disk.WipeNone))
}

func TestForeignVolumesStay(t *testing.T) {
	d := newGroup(t, "foreign", "128")
	command(t, "lvcreate", "-q", "-y", "-Zn", "-Wn", "-L", "16m", "-n", prefix+"theirs", d.vg)
	names, err := d.List(t.Context())
	must(t, err)
	if len(names) > 0 {
		t.Errorf("List has what isn't ours: %q", names)
	}
	must(t, d.Destroy(t.Context(), "theirs", disk.WipeNone))
	if err := d.Create(t.Context(), disk.Spec{Name: "theirs", Size: 16 * mib}); err == nil || !strings.Contains(err.Error(), "exists") {
		t.Errorf("Create over somebody's volume: %v", err)
	}
	if out := command(t, "lvs", "--noheadings", "-o", "lv_name", d.vg); out != prefix+"theirs" {
		t.Errorf("the group has %q", out)
	}
}

func TestFaults(t *testing.T) {
	d := newGroup(t, "faults", "128", "128")
	must(t, d.Create(t.Context(), disk.Spec{Name: "sick", Size: 64 * mib}))
	dir := t.TempDir()
	must(t, d.Mount(t.Context(), "sick", disk.Mount{Path: dir}))
	if c := conditions(t, d, "sick", dir); len(c) > 0 {
		t.Errorf("a sound volume: %q", c)
	}
	// What the kernel does after an error, on demand (Documentation/ABI/testing/sysfs-fs-ext4).
	node, err := filepath.EvalSymlinks(d.node(prefix + "sick"))
	must(t, err)
	var st unix.Stat_t
	must(t, unix.Stat(node, &st))
	trigger := filepath.Join("/sys/fs/ext4", fmt.Sprintf("dm-%d", unix.Minor(st.Rdev)), "trigger_fs_error")
	must(t, os.WriteFile(trigger, []byte("a test"), 0o200))
	if c := conditions(t, d, "sick", dir); !slices.Contains(c, "ReadOnly") || !slices.Contains(c, "FileSystemErrors") {
		t.Errorf("a file system with an error: %q", c)
	}
	if err := d.Mounted(t.Context(), "sick", dir); err == nil || !strings.Contains(err.Error(), "stopped writing") {
		t.Errorf("Mounted of a file system with an error: %v", err)
	}
	must(t, unix.Unmount(dir, 0))
	must(t, d.Destroy(t.Context(), "sick", disk.WipeNone))

	if err := d.Create(t.Context(), disk.Spec{Name: "big", Size: 512 * mib}); err == nil || !strings.Contains(err.Error(), "free") {
		t.Errorf("Create of more than there is: %v", err)
	}
	if _, err := Probe(t.Context(), "absent"); err == nil || !strings.Contains(err.Error(), "absent") {
		t.Errorf("Probe of a group that isn't there: %v", err)
	}
	if c := conditions(t, d, "gone", ""); !slices.Equal(c, []string{"VolumeMissing"}) {
		t.Errorf("health of what isn't there: %q", c)
	}
	if _, err := d.Usage(t.Context(), "gone", ""); err == nil || !strings.Contains(err.Error(), volume.ErrNotFound.Error()) {
		t.Errorf("usage of what isn't there: %v", err)
	}
}
