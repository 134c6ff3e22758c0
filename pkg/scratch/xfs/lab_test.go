//go:build lab

package xfs

// What is here runs in an emulated machine (tests/kernel), whose kernel has project quotas.

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/strata-csi/strata/pkg/scratch/disk/disktest"
)

// quotaVariable names a directory on an XFS of 2 GiB mounted with prjquota and discard.
const quotaVariable = "STRATA_XFS_PRJQUOTA_DIR"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == leaveArgument {
		os.Exit(leave(os.Args[2]))
	}
	disktest.Main(m)
}

// quotaDir is a directory of the test's own on an XFS with project quotas.
func quotaDir(t *testing.T) string {
	t.Helper()
	base := os.Getenv(quotaVariable)
	if base == "" {
		t.Fatal(quotaVariable + " isn't set: tests/kernel runs this test in an emulated machine")
	}
	dir := filepath.Join(base, "test")
	for _, p := range []string{filepath.Join(dir, homeName), dir} {
		if err := os.Remove(p); err != nil && !os.IsNotExist(err) {
			t.Fatalf("the test before left something: %v", err)
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func openDisk(t *testing.T, dir string) *Disk {
	t.Helper()
	d, err := Probe(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = d.Close() })
	return d
}
