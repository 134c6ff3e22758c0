package kernel

// Scratch volumes on what the host's kernel may not have: NVMe disks, device-mapper, project quotas.

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/tests/kernel/lab"
)

// essential are the cases of the suite of disks that run on an emulated disk in every `make test`; `make lab` runs all of them, in a quarter of an hour.
const essential = "^(a_volume_lives_and_goes,_each_call_repeated|the_limit_is_hard|a_disk_that_is_full_refuses|a_mounted_volume_grows_and_never_shrinks|" +
	"a_new_volume_holds_nothing_of_the_one_before|block_volumes)$"

// selection is -test.run for what is asked for: tests, of which TestDisk, the suite, is cut down to what is essential, or all.
func selection(tests string) string {
	if os.Getenv("STRATA_LAB") == "full" {
		return ""
	}
	return tests + "/" + essential
}

func TestScratchLVM(t *testing.T) {
	t.Parallel() // each machine is about one core's work
	m := lab.BootScratch(t, lab.NewDisk(t, "one", 1<<30), lab.NewDisk(t, "two", 1<<30))
	lab.RunTests(t, m, "./pkg/scratch/lvm", selection("^(TestDisk|TestStriping|TestGrownSpaceReadsZeros|TestForeignVolumesStay)$"))
}

// A node loses its power while volumes are made, written and destroyed: the next boot finds all of them, destroys them, has its space
// back, and shows nobody what was in them.
func TestScratchPowerCut(t *testing.T) {
	t.Parallel()
	powerCut(t, lab.Release, []string{"lvm", "loop", "xfs"}, "^(TestAfter|TestBtrfsIsRefused)$",
		lab.NewDisk(t, "lvm-1", 256<<20), lab.NewDisk(t, "lvm-2", 256<<20), lab.NewDisk(t, "ext4", 512<<20), lab.NewDisk(t, "xfs", 512<<20))
}

// The same of kind btrfs, on a kernel that has simple quotas.
func TestScratchBtrfsPowerCut(t *testing.T) {
	t.Parallel()
	powerCut(t, lab.Backports, []string{"btrfs"}, "^TestAfter$", lab.NewDisk(t, "btrfs", 1<<30))
}

// powerCut runs the first test of tests/kernel/powercut for kinds, kills its machine, and runs those of after in another with the same disks.
func powerCut(t *testing.T, kernel lab.Suite, kinds []string, after string, disks ...lab.Disk) {
	t.Helper()
	const pkg = "./tests/kernel/powercut"
	env := []string{"STRATA_POWERCUT_KINDS=" + strings.Join(kinds, ",")}
	m := lab.BootScratchOn(t, kernel, disks...)
	name := lab.StartTests(t, m, pkg, "^TestBefore$", env...)
	out := logUntil(t, m, name, "ready for the end")
	for _, kind := range kinds {
		for _, what := range []string{"capacity", "left"} {
			said := regexp.MustCompile(`(?m)^` + what + ` ` + kind + ` (\S+)$`).FindStringSubmatch(out)
			if said == nil {
				t.Fatalf("nothing is said of %s of kind %s:\n%s", what, kind, out)
			}
			env = append(env, fmt.Sprintf("STRATA_POWERCUT_%s_%s=%s", strings.ToUpper(what), kind, said[1]))
		}
	}
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	lab.RunTests(t, lab.BootScratchOn(t, kernel, disks...), pkg, after, env...)
}

// logUntil waits until a program of the machine says words, and returns what it said.
func logUntil(t *testing.T, m *lab.Machine, name, words string) string {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Minute); ; time.Sleep(500 * time.Millisecond) {
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
