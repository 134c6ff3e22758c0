//go:build failpoint

package journal

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestVictim is the process that the other test kills: it changes one record, makes one and deletes one. On its own it does so in peace.
func TestVictim(t *testing.T) {
	dir := os.Getenv("JOURNAL_DIR")
	if dir == "" {
		dir = t.TempDir()
	}
	j := open(t, dir)
	put(t, j, "changed", record{"new", 2})
	put(t, j, "made", record{"made", 2})
	if err := j.Delete("deleted"); err != nil {
		t.Fatal(err)
	}
	expect(t, j, map[string]record{"changed": {"new", 2}, "made": {"made", 2}})
}

func TestDeathBetweenAnyTwoSteps(t *testing.T) {
	const old, made = "old", "made"
	for _, c := range []struct {
		point         string
		changed, made string // what the record `changed` says, and whether `made` is there
		deleted       bool
	}{
		{point: "journal/put/after-create", changed: "old"},
		{point: "journal/put/after-write", changed: "old"},
		{point: "journal/put/after-sync", changed: "old"},
		{point: "journal/put/after-rename", changed: "new"},
		{point: "journal/put/after-sync-directory", changed: "new"},
		{point: "journal/put/after-create=2", changed: "new"},
		{point: "journal/put/after-write=2", changed: "new"},
		{point: "journal/put/after-sync=2", changed: "new"},
		{point: "journal/put/after-rename=2", changed: "new", made: made},
		{point: "journal/put/after-sync-directory=2", changed: "new", made: made},
		{point: "journal/delete/after-unlink", changed: "new", made: made, deleted: true},
		{point: "journal/delete/after-sync-directory", changed: "new", made: made, deleted: true},
	} {
		t.Run(c.point, func(t *testing.T) {
			dir := t.TempDir()
			j := open(t, dir)
			put(t, j, "changed", record{old, 1})
			put(t, j, "deleted", record{"deleted", 1})
			put(t, j, "other", record{"other", 1})
			if err := j.Delete("other"); err != nil {
				t.Fatal(err)
			}
			if err := j.Close(); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
			cmd.Env = append(os.Environ(), "JOURNAL_DIR="+dir, "STRATA_FAILPOINT="+c.point)
			out, err := cmd.CombinedOutput()
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL || !strings.Contains(string(out), "failpoint") {
				t.Fatalf("it was not killed: %v\n%s", err, out)
			}

			want := map[string]record{"changed": {"new", 2}}
			if c.changed == old {
				want["changed"] = record{old, 1}
			}
			if c.made != "" {
				want["made"] = record{made, 2}
			}
			if !c.deleted {
				want["deleted"] = record{"deleted", 1}
			}
			again := open(t, dir)
			expect(t, again, want)

			// The repetition ends where the victim would have.
			put(t, again, "changed", record{"new", 2})
			put(t, again, "made", record{"made", 2})
			if err := again.Delete("deleted"); err != nil {
				t.Fatal(err)
			}
			expect(t, again, map[string]record{"changed": {"new", 2}, "made": {"made", 2}})
		})
	}
}
