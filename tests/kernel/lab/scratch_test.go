package lab

import (
	"strings"
	"testing"

	"github.com/strata-csi/strata/tests/kernel/agent"
)

func TestScratchNode(t *testing.T) {
	disks := []Disk{NewDisk(t, "one", 1<<30), NewDisk(t, "two", 1<<30)}
	m := BootScratch(t, disks...)
	const script = `
		lvm vgcreate -q strata "$0" "$1"
		lvm lvcreate -q -y --config 'activation{udev_sync=0 udev_rules=0}' -i 2 -L 128m -n a strata
		mkfs.ext4 -q /dev/strata/a && mkfs.xfs -V && btrfs --version
		mkdir /tmp/a && mount -t ext4 /dev/strata/a /tmp/a && grep -c /tmp/a /proc/mounts
		ls -l /dev/mapper`
	one, err := m.Device(t.Context(), "one")
	if err != nil {
		t.Fatal(err)
	}
	two, err := m.Device(t.Context(), "two")
	if err != nil {
		t.Fatal(err)
	}
	r, err := m.Exec(t.Context(), agent.Command{Args: []string{"sh", "-exc", script, one, two}})
	if err != nil || r.Code != 0 || one == two {
		t.Fatalf("%s and %s: exit code %d, %v\n%s%s", one, two, r.Code, err, r.Stdout, r.Stderr)
	}
	t.Logf("%s%s", r.Stdout, r.Stderr)
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name, out string
		code      int
		want      string // of the error; "" for none
	}{
		{"all pass", "=== RUN   TestA\n--- PASS: TestA (0.0s)\nPASS\n", 0, ""},
		{"a subtest was skipped", "--- PASS: TestA (0.0s)\n    --- SKIP: TestA/b (0.0s)\nPASS\n", 0, "TestA/b"},
		{"one failed", "--- FAIL: TestA (0.0s)\n--- PASS: TestB (0.0s)\nFAIL\n", 1, "TestA"},
		{"the program died", "=== RUN   TestA\npanic: no\n", 2, "exit code 2"},
		{"nothing ran", "testing: warning: no tests to run\nPASS\n", 0, "no test ran"},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := judge(c.out, c.code)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
