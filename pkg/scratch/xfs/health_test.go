//go:build lab

package xfs

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// TestHealth: space that others took, and limits that somebody turned off, are seen.
func TestHealth(t *testing.T) {
	dir := quotaDir(t)
	d := openDisk(t, dir)
	path := mounted(t, d, "watched", 256<<20)
	expect := func(when string, reasons ...string) {
		t.Helper()
		found, err := d.Health(t.Context(), "watched", path)
		var got []string
		for _, c := range found {
			if c.Severity != volume.Degraded || len(c.Message) < 40 {
				t.Errorf("%s: %+v", when, c)
			}
			got = append(got, c.Reason)
		}
		if err != nil || strings.Join(got, " ") != strings.Join(reasons, " ") {
			t.Errorf("%s: %q, %v; want %q", when, got, err, reasons)
		}
	}
	expect("a new volume")

	before, err := d.Capacity(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "other")
	f, err := os.Create(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(unix.Fallocate(int(f.Fd()), 0, 0, before-128<<20), f.Close()); err != nil {
		t.Fatal(err)
	}
	expect("with the disk full of another's", ReasonOvercommitted)
	if c, err := d.Capacity(t.Context()); err != nil || c > 160<<20 {
		t.Errorf("what others have is in the capacity: %d, %v", c, err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := d.flush(); err != nil {
		t.Fatal(err)
	}

	enforce := func(command string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "xfs_quota", "-x", "-c", command+" -p", os.Getenv(quotaVariable)).CombinedOutput(); err != nil {
			t.Fatalf("xfs_quota %s: %v: %s", command, err, out)
		}
	}
	enforce("disable")
	expect("with limits turned off", ReasonNoLimit)
	_, err = Probe(t.Context(), dir)
	enforce("enable")
	var r *disk.Refused
	if !errors.As(err, &r) || !strings.Contains(r.Reason, "limits nothing") {
		t.Errorf("Probe with limits turned off: %v", err)
	}
	expect("with limits again")
	if _, err := d.Health(t.Context(), "none", path); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("no volume: %v", err)
	}
}
