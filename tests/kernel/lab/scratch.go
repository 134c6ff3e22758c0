package lab

// A machine with disks for a test, and the tests of a package run in it.

import (
	"crypto/rand"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/tests/kernel/agent"
)

// DeviceEnv begins the names of the variables by which RunTests tells a test where the machine's disks are: STRATA_LAB_DISK_0 is
// the device node of the first of Config.Disks.
const DeviceEnv = "STRATA_LAB_DISK_"

// TestTags are the build tags of what RunTests builds: lab is for tests that only run in a machine, as they destroy what is on its
// disks; failpoint lets them kill a process at a step.
const TestTags = "lab,failpoint"

// NewDisk is CreateDisk for as long as the test.
func NewDisk(t testing.TB, serial string, size int64) Disk {
	t.Helper()
	d, err := CreateDisk(t.TempDir(), serial, size)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// BootScratch is BootScratchOn the kernel of the release.
func BootScratch(t testing.TB, disks ...Disk) *Machine {
	t.Helper()
	return BootScratchOn(t, Release, disks...)
}

// BootScratchOn is BootNode for a test. When that ends the machine is turned off; a fault of its kernel fails the test.
func BootScratchOn(t testing.TB, kernel Suite, disks ...Disk) *Machine {
	t.Helper()
	m, err := BootNode(t.Context(), Config{Dir: t.TempDir(), Kernel: kernel, Disks: disks})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		faults, err := m.Faults()
		if err != nil || len(faults) > 0 {
			t.Errorf("the kernel is not well: %v %s", err, strings.Join(faults, "\n"))
		}
		if t.Failed() {
			t.Logf("console:\n%s", m.Console())
		}
		if err := m.Kill(); err != nil { // harmless when it is off
			t.Error(err)
		}
	})
	return m
}

// verdict is the line that ends a test in the output of -test.v.
var verdict = regexp.MustCompile(`(?m)^\s*--- (PASS|FAIL|SKIP): .*$`)

// RunTests runs the tests of pkg ("./pkg/scratch/xfs") in m, as root, built without cgo and with TestTags, and fails t when one of them fails or is skipped, or
// when none ran. run selects them as -test.run does, "" all of them; env is more of the environment, "NAME=VALUE". Their output is t's.
func RunTests(t testing.TB, m *Machine, pkg, run string, env ...string) {
	t.Helper()
	name := StartTests(t, m, pkg, run, env...)
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		code, err := m.Wait(t.Context(), name)
		ended <- end{code, err}
	}()
	var out string
	var code int
	for over := false; !over; {
		select {
		case e := <-ended:
			if e.err != nil {
				t.Fatalf("%s in the machine: %v", pkg, e.err)
			}
			over, code = true, e.code
		case <-time.After(2 * time.Second): // the pace of what is shown meanwhile
		}
		log, err := m.Log(t.Context(), name)
		if err != nil {
			t.Fatalf("%s in the machine: %v", pkg, err)
		}
		if log != out {
			t.Logf("%s in the machine:\n%s", pkg, log[len(out):])
		}
		out = log
	}
	if err := judge(out, code); err != nil {
		t.Fatalf("%s in the machine: %v", pkg, err)
	}
}

// StartTests is RunTests without the wait, for tests that end with the machine. Their output is what Machine.Log gives for name.
func StartTests(t testing.TB, m *Machine, pkg, run string, env ...string) (name string) {
	t.Helper()
	program := BuildTest(t, pkg)
	name = filepath.Base(program) + "." + rand.Text()
	if err := m.PutFile(t.Context(), "/tmp/"+name, program); err != nil {
		t.Fatal(err)
	}
	for i, d := range m.disks {
		dev, err := m.Device(t.Context(), d.Serial)
		if err != nil {
			t.Fatal(err)
		}
		env = append(env, DeviceEnv+strconv.Itoa(i)+"="+dev)
	}
	err := m.Start(t.Context(), name, agent.Command{Args: []string{"/tmp/" + name, "-test.v", "-test.timeout=14m", "-test.run=" + run}, Env: env, Dir: "/tmp"})
	if err != nil {
		t.Fatalf("%s in the machine: %v", pkg, err)
	}
	return name
}

// BuildTest compiles the tests of pkg for a machine and returns the program's path.
func BuildTest(t testing.TB, pkg string) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(t.TempDir(), filepath.Base(pkg)+".test")
	if _, err := output(t.Context(), root, "env", "CGO_ENABLED=0", "go", "test", "-c", "-tags", TestTags, "-o", program, pkg); err != nil {
		t.Fatal(err)
	}
	return program
}

// judge tells from the output and exit code of a test program whether it proved something.
func judge(out string, code int) error {
	count := make(map[string]int)
	var bad []string
	for _, m := range verdict.FindAllStringSubmatch(out, -1) {
		count[m[1]]++
		if m[1] != "PASS" {
			bad = append(bad, strings.TrimSpace(m[0]))
		}
	}
	switch {
	case code != 0 || len(bad) > 0:
		return fmt.Errorf("exit code %d, %d tests passed, not these: %s", code, count["PASS"], strings.Join(bad, "; "))
	case count["PASS"] == 0:
		return errors.New("no test ran")
	}
	return nil
}
