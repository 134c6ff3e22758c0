package kernel

// Scratch volumes on what the host's kernel may not have: NVMe disks, device-mapper, project quotas.

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/tests/kernel/lab"
)

func TestScratchLVM(t *testing.T) {
	t.Parallel() // each machine is about one core's work
	m := lab.BootScratch(t, lab.NewDisk(t, "one", 1<<30), lab.NewDisk(t, "two", 1<<30))
	lab.RunTests(t, m, "./pkg/scratch/lvm", "")
}

// A node loses its power while volumes are made, written and destroyed: the next boot finds all of them, destroys them, has its space
// back, and shows nobody what was in them.
func TestScratchPowerCut(t *testing.T) {
	t.Parallel()
	disks := []lab.Disk{
		lab.NewDisk(t, "lvm-1", 256<<20), lab.NewDisk(t, "lvm-2", 256<<20), lab.NewDisk(t, "ext4", 512<<20), lab.NewDisk(t, "xfs", 512<<20),
	}
	const pkg = "./tests/kernel/powercut"
	m := lab.BootScratch(t, disks...)
	name := lab.StartTests(t, m, pkg, "^TestBefore$")
	out := logUntil(t, m, name, "ready for the end")
	var env []string
	for _, c := range regexp.MustCompile(`(?m)^capacity (\w+) (\d+)$`).FindAllStringSubmatch(out, -1) {
		env = append(env, fmt.Sprintf("STRATA_POWERCUT_CAPACITY_%s=%s", c[1], c[2]))
	}
	if len(env) != 3 {
		t.Fatalf("capacities of %d kinds, want 3:\n%s", len(env), out)
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	lab.RunTests(t, lab.BootScratch(t, disks...), pkg, "^(TestAfter|TestBtrfsIsRefused)$", env...)
}

// logUntil waits until a program of the machine says words, and returns what it said.
func logUntil(t *testing.T, m *lab.Machine, name, words string) string {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
		out, err := m.Log(t.Context(), name)
		switch {
		case err != nil:
			t.Fatal(err)
		case strings.Contains(out, words):
			return out
		case strings.Contains(out, "--- FAIL"), strings.Contains(out, "panic:"), time.Now().After(deadline):
			t.Fatalf("%s doesn't say %q:\n%s", name, words, out)
		}
	}
}
