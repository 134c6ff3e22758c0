package xfs

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
)

var _ disk.Disk = (*Disk)(nil)

// plainVariable names a directory on an XFS without project quotas, where the machine has one.
const plainVariable = "STRATA_XFS_PLAIN_DIR"

// plainXFS is an XFS mounted without quotas: the machine's own, or a new one behind a loop device.
func plainXFS(t *testing.T) string {
	t.Helper()
	if dir := os.Getenv(plainVariable); dir != "" {
		return dir
	}
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	run := func(name string, args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s %q: %v: %s", name, args, err, out)
		}
	}
	run("truncate", "--size", "300M", image)
	run("mkfs.xfs", "-q", image)
	run("mount", "-o", "loop", image, dir)
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}
