// Package disktest is the suite that every disk.Disk passes, on real file systems and devices. It needs root, and fails without:
// a skipped test proves nothing. It needs no tool of its own, so a static test binary carries it into an emulated machine.
//
// Writing is done by a tenant: the test binary once more, as a user without any capability, who is handed the mounted volume.
// Root may be exempt from quotas and reserves; a pod is not.
package disktest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// Subject is a disk under test. Nothing else uses the place; 1 GiB to 4 GiB of it keep the suite short.
type Subject struct {
	// Open gives the Disk anew, as a process does that starts after another was killed. The suite closes it.
	Open func(t *testing.T) disk.Disk
	// FSTypes are the types that CheckSpec takes beside "".
	FSTypes []string
	// Block: the disk has block volumes.
	Block bool
	// Limit are the errors of a write beyond the size. Default ENOSPC and EDQUOT.
	Limit []unix.Errno
	// Grows: volumes grow while they are mounted.
	Grows bool
	// GrowFSType is the type of the volumes that are grown, of FSSize bytes; "": the disk's choice, of 64 MiB.
	GrowFSType string
	// CantGrow are types that don't grow as the process is, with volume.ErrPrecondition: ext4 without CAP_SYS_RESOURCE.
	CantGrow []string
	// FSSize is the size of the volumes with a named file system type; default 64 MiB. mkfs.xfs refuses less than 300 MiB.
	FSSize int64
	// Slack is by how many bytes Capacity may move with nothing leaked; default 16 MiB.
	Slack int64
	// Escapes are attacks that are known to get past the limit. They must succeed: what is documented as an escape is one.
	Escapes []Attack
	// Allocated, where the disk sets a volume's space aside when it is made, is how many bytes are set aside now. Nil: it doesn't.
	Allocated func(t *testing.T, name string) int64
	// Raw, where a volume has a device or an image of its own, is the path of it, to be searched for what the tenant before wrote.
	Raw func(t *testing.T, name string) string
	// Leftovers are what a Create that was killed leaves.
	Leftovers []Leftover
	// Leaks lists what there is on the machine of this disk beside List: devices, processes, records. It may be nil.
	Leaks func(t *testing.T) []string
}

// Leftover makes the state of a volume whose Create was killed.
type Leftover struct {
	Name string
	Make func(t *testing.T, name string)
}

// Conform checks what pkg/scratch relies on in every disk.
func Conform(t *testing.T, s Subject) {
	if os.Geteuid() != 0 {
		t.Fatal("disks are made by root; run the tests as root")
	}
	if len(s.Limit) == 0 {
		s.Limit = []unix.Errno{unix.ENOSPC, unix.EDQUOT}
	}
	if s.FSSize == 0 {
		s.FSSize = small
	}
	if s.Slack == 0 {
		s.Slack = 16 << 20
	}
	for _, c := range []struct {
		name string
		run  func(*fixture)
	}{
		{"a volume lives and goes, each call repeated", lifecycle},
		{"every file system type", fileSystems},
		{"a mounted volume can't be destroyed or made anew", busy},
		{"a volume outlives the process that made it", restart},
		{"what an interrupted Create left is made anew", leftovers},
		{"a Create that fails leaves nothing", failedCreate},
		{"what can't be is refused", refusals},
		{"what isn't there is not found", absent},
		{"Mounted knows its volume from everything else", identity},
		{"a read-only mount can't be written", readOnly},
		{"the limit is hard", hardLimit},
		{"a disk that is full refuses", full},
		{"what is promised to two volumes can be written in both", promise},
		{"usage is the volume's", usage},
		{"a mounted volume grows and never shrinks", grow},
		{"a new volume holds nothing of the one before", nothingBefore},
		{"every way to wipe", wipes},
		{"block volumes", blocks},
		{"eight volumes at once", atOnce},
		{"nothing leaks", churn},
		{"attacks from within", attacks},
	} {
		t.Run(c.name, func(t *testing.T) { newFixture(t, s, c.run) })
	}
}

const (
	small = 64 << 20
	large = 256 << 20
)
