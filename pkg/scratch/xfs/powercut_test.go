//go:build lab

package xfs

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/projectquota"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// powerCutDir is where the two tests of a power cut work: the machine is killed between them.
func powerCutDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(os.Getenv(quotaVariable), "power-cut")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestBeforePowerCut leaves a whole volume with files, one half made, one half destroyed, and one of which nothing may be on the disk yet.
func TestBeforePowerCut(t *testing.T) {
	d := openDisk(t, powerCutDir(t))
	leave := func(name string) {
		t.Helper()
		if err := d.Create(t.Context(), disk.Spec{Name: name, Size: 64 << 20}); err != nil {
			t.Fatal(err)
		}
		f, err := d.home.Create(filepath.Join(name, dataName, "file"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, 8<<20)); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"whole", "making", "going"} {
		leave(name)
	}
	if err := d.home.Rename("making", makingPrefix+"making"); err != nil {
		t.Fatal(err)
	}
	if err := d.home.Rename("going", gonePrefix+"going"); err != nil {
		t.Fatal(err)
	}
	if err := d.flush(); err != nil {
		t.Fatal(err)
	}
	leave("unsynced")
	if err := d.Destroy(t.Context(), "whole", disk.WipeNone); err != nil {
		t.Fatal(err)
	}
}

// TestAfterPowerCut finds what was left, and takes it away with everything that counted for it.
func TestAfterPowerCut(t *testing.T) {
	d := openDisk(t, powerCutDir(t))
	names, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("left by the power cut: %q", names)
	for _, must := range []string{"making", "going"} {
		if !slices.Contains(names, must) {
			t.Errorf("%s isn't found any more: %q", must, names)
		}
	}
	var ids []uint32
	entries, err := d.entries()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		id, err := d.project(e)
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	// The kernel's accounts are right after its recovery: the numbers of two volumes aren't one, and the limits are there.
	if slices.Sort(ids); len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("two volumes have one project: %d", ids)
	}
	for _, e := range []string{makingPrefix + "making", gonePrefix + "going"} {
		id, err := d.project(e)
		if err != nil {
			t.Fatal(err)
		}
		if u, err := d.quota.Usage(id); err != nil || u.Bytes < 8<<20 || u.Limits != limitsOf(64<<20) {
			t.Errorf("%s: %+v, %v", e, u, err)
		}
	}
	for _, name := range names {
		if err := d.Destroy(t.Context(), name, disk.WipeDiscard); err != nil {
			t.Error(err)
		}
	}
	if left, err := d.entries(); err != nil || len(left) > 0 {
		t.Errorf("left: %q, %v", left, err)
	}
	for _, id := range ids {
		cleared(t, d, id)
	}
	path := mounted(t, d, "whole", 16<<20)
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil || int64(st.Blocks)*st.Bsize != 16<<20 {
		t.Errorf("a new volume has %d bytes, %v", int64(st.Blocks)*st.Bsize, err)
	}
	if id, err := d.volume("whole"); err != nil || id != firstProject {
		t.Errorf("the first number isn't free again: %d, %v", id, err)
	}
	if u, err := d.quota.Usage(firstProject); err != nil || u == (projectquota.Usage{}) {
		t.Errorf("%+v, %v", u, err)
	}
}
