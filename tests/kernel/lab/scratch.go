package lab

// A machine with disks, and the tests of a package run in it.

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
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

// NewDisk makes an empty disk of size bytes that takes only as much of the host as is written to it.
func NewDisk(t testing.TB, serial string, size int64) Disk {
	t.Helper()
	d := Disk{Image: filepath.Join(t.TempDir(), serial+".img"), Serial: serial}
	if err := os.WriteFile(d.Image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.Image, size); err != nil {
		t.Fatal(err)
	}
	return d
}

// BootScratch is BootScratchOn the kernel of the release.
func BootScratch(t testing.TB, disks ...Disk) *Machine {
	t.Helper()
	return BootScratchOn(t, Release, disks...)
}

// BootScratchOn boots a node that has disks and everything that makes scratch volumes of them: modules, loaded, and tools. When the
// test ends the machine is turned off; a fault of its kernel fails the test.
func BootScratchOn(t testing.TB, kernel Suite, disks ...Disk) *Machine {
	t.Helper()
	files := make(map[string]string)
	if err := hostTools(files, diskTools()); err != nil {
		t.Fatal(err)
	}
	m, err := Boot(t.Context(), Config{Dir: t.TempDir(), Kernel: kernel, Memory: 1536, CPUs: 2, Files: files, Modules: append(diskModules(), "fuse"), Disks: disks})
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
	if _, err := m.Run(t.Context(), append([]string{"modprobe", "-a"}, diskModules()...)...); err != nil {
		t.Fatal(err)
	}
	for _, d := range disks {
		if _, err := m.Device(t.Context(), d.Serial); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

// Device returns the device node of the disk with that serial number, waiting until the kernel has found it: the order
// in which it finds disks is its own.
func (m *Machine) Device(ctx context.Context, serial string) (string, error) {
	const script = `for i in $(seq 300); do for d in /sys/block/nvme*n1; do
		if [ "$(tr -d ' ' <$d/device/serial)" = "$0" ] && [ -b /dev/${d##*/} ]; then echo /dev/${d##*/}; exit 0; fi
	done; sleep 0.1; done; exit 1`
	dev, err := m.Run(ctx, "sh", "-c", script, serial)
	if err != nil {
		return "", fmt.Errorf("disk %s: %w", serial, err)
	}
	return dev, nil
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
