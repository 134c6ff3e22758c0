package kernel

// Tier cold on the kernel of the release, which can't read the files of the cache for FUSE by itself: the engine does without, and nothing else changes.

import (
	"testing"

	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/tests/kernel/lab"
)

func TestColdWithoutPassthrough(t *testing.T) {
	t.Parallel()
	m := lab.BootScratch(t, lab.NewDisk(t, "cache", 8<<30))
	if _, err := m.Run(t.Context(), "modprobe", "fuse"); err != nil {
		t.Fatal(err)
	}
	device, err := m.Device(t.Context(), "cache")
	if err != nil {
		t.Fatal(err)
	}
	// The rest of the machine is in its memory.
	if _, err := m.Run(t.Context(), "sh", "-ec", "mkfs.ext4 -q "+device+"; mkdir /cache; ln -s /proc/self/fd /dev/fd; mount -t ext4 "+device+" /cache"); err != nil {
		t.Fatal(err)
	}
	if err := m.PutFile(t.Context(), "/tmp/s3", s3test.Program(t)); err != nil {
		t.Fatal(err)
	}
	// Of posixtest not OpenSymlinkRace, which makes thousands of objects and takes an emulated machine a quarter of an hour, and not those that tests/skips.txt has.
	lab.RunTests(t, m, "./pkg/coldfs", "^(TestAKernelWithoutPassthrough|TestPosix|TestFSX)$/^([^OTX]|Open[^S]|Trunc)", "TMPDIR=/cache", s3test.ProgramEnv+"=/tmp/s3", "STRATA_FSX_OPS=1000")
}
