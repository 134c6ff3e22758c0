//go:build failpoint

package loop

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// TestVictim is the life of a volume in the process that TestKilledAnywhere kills.
func TestVictim(t *testing.T) {
	path, dir := os.Getenv("STRATA_LOOP_PATH"), os.Getenv("STRATA_LOOP_DIR")
	if path == "" {
		return
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	for _, block := range []bool{false, true} {
		spec := disk.Spec{Name: "victim", Size: 320 << 20, Block: block}
		if !block {
			spec.FSType = "xfs"
		}
		at := dir
		if err := d.Create(ctx, spec); err != nil {
			t.Fatal(err)
		}
		if block {
			at = ""
			_, err = d.Attach(ctx, spec.Name)
		} else {
			err = d.Mount(ctx, spec.Name, disk.Mount{Path: dir})
		}
		if err := errorsOf(err, d.Grow(ctx, spec.Name, at, 400<<20)); err != nil {
			t.Fatal(err)
		}
		if !block {
			if err := unix.Unmount(dir, 0); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Destroy(ctx, spec.Name, disk.WipeZero); err != nil {
			t.Fatal(err)
		}
	}
}

// points are the failpoints of the package, from its source.
func points(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`failpoint\.Hit\("([^"]+)"\)`).FindAllStringSubmatch(string(b), -1) {
			found = append(found, m[1])
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func TestKilledAnywhere(t *testing.T) {
	path := newDisk(t, "ext4", 700<<20)
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	before, err := d.Capacity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	names := points(t)
	if len(names) < 15 {
		t.Fatalf("only %q", names)
	}
	for _, name := range names {
		for _, count := range []string{"", "=2"} {
			t.Run(strings.TrimPrefix(name, "scratch/loop/")+count, func(t *testing.T) {
				dir := t.TempDir()
				cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestVictim$")
				cmd.Env = append(os.Environ(), "STRATA_FAILPOINT="+name+count, "STRATA_LOOP_PATH="+path, "STRATA_LOOP_DIR="+dir)
				out, err := cmd.CombinedOutput()
				status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
				if count == "" && !status.Signaled() || !status.Signaled() && err != nil {
					t.Fatalf("the victim wasn't killed: %v\n%s", err, out)
				}
				// The caller unmounts; then the same volume is made anew, or destroyed.
				if err := unix.Unmount(dir, 0); err != nil && err != unix.EINVAL {
					t.Fatal(err)
				}
				ctx := context.Background()
				if count == "" {
					if err := errorsOf(d.Create(ctx, disk.Spec{Name: "victim", Size: 64 << 20}), d.Mount(ctx, "victim", disk.Mount{Path: dir}),
						d.Mounted(ctx, "victim", dir), unix.Unmount(dir, 0)); err != nil {
						t.Error(err)
					}
				}
				if err := d.Destroy(ctx, "victim", disk.WipeNone); err != nil {
					t.Error(err)
				}
				if left := leaks(t, path); len(left) > 0 {
					t.Errorf("left: %q", left)
				}
				if now, err := d.Capacity(ctx); err != nil || now < before-4<<20 {
					t.Errorf("the capacity was %d and is %d (%v)", before, now, err)
				}
			})
		}
	}
}
