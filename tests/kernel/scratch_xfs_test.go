package kernel

// Scratch volumes of kind xfs, on NVMe disks of an emulated machine: the packages' own tests, on a kernel that has project quotas.

import (
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/tests/kernel/lab"
)

// bootXFS boots a machine with an XFS with project quotas at /quota and one without at /plain, made when new. It returns the environment
// that the tests want.
func bootXFS(t *testing.T, disks []lab.Disk, fresh bool) (*lab.Machine, []string) {
	t.Helper()
	m := lab.BootScratch(t, disks...)
	var devices []string
	for i, options := range []string{"prjquota,discard", "rw"} {
		dev, err := m.Device(t.Context(), disks[i].Serial)
		if err != nil {
			t.Fatal(err)
		}
		devices = append(devices, dev)
		if fresh {
			if _, err := m.Run(t.Context(), "mkfs.xfs", "-q", dev); err != nil {
				t.Fatal(err)
			}
		}
		const mount = `mkdir -p "$2" && mount -t xfs -o "$1" "$0" "$2" && grep "$2" /proc/mounts && uname -r`
		out, err := m.Run(t.Context(), "sh", "-c", mount, dev, options, "/"+disks[i].Serial)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(out)
	}
	return m, []string{"STRATA_XFS_PRJQUOTA_DIR=/quota", "STRATA_XFS_PRJQUOTA_DEVICE=" + devices[0], "STRATA_XFS_PLAIN_DIR=/plain"}
}

func xfsDisks(t *testing.T) []lab.Disk {
	return []lab.Disk{lab.NewDisk(t, "quota", 2<<30), lab.NewDisk(t, "plain", 300<<20)}
}

// TestScratchXFS runs the suite of all disks, and what is particular to this kind: that the owner of a file can leave the limit, and what holds then.
func TestScratchXFS(t *testing.T) {
	t.Parallel()
	disks := xfsDisks(t)
	m, env := bootXFS(t, disks, true)
	lab.RunTests(t, m, "./pkg/projectquota", "", env...)
	run := selection("^(TestDisk|TestStatfs|TestOpenFilesStayLimited|TestOwnerLeaves|TestHealth|TestProbeRefuses)$")
	if run == "" {
		run = "^Test[^AB]" // without TestBeforePowerCut and TestAfterPowerCut
	}
	lab.RunTests(t, m, "./pkg/scratch/xfs", run, env...)

	// All that the tests wrote was deleted, and the disk told so.
	if _, err := m.Run(t.Context(), "umount", "/quota"); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(disks[0].Image, &st); err != nil {
		t.Fatal(err)
	}
	if left := st.Blocks * 512; left > 512<<20 {
		t.Errorf("the disk, mounted with discard, holds %d bytes; everything on it was deleted", left)
	}
}

// TestScratchXFSPowerCut kills the machine over volumes that are whole, half made and half destroyed.
func TestScratchXFSPowerCut(t *testing.T) {
	t.Parallel()
	disks := xfsDisks(t)
	m, env := bootXFS(t, disks, true)
	lab.RunTests(t, m, "./pkg/scratch/xfs", "^TestBeforePowerCut$", env...)
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	m, env = bootXFS(t, disks, false)
	lab.RunTests(t, m, "./pkg/scratch/xfs", "^TestAfterPowerCut$", env...)
}
