//go:build failpoint

package failpoint

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// TestVictim is the process that the other test starts; on its own it passes three hits and ends well.
func TestVictim(t *testing.T) {
	for range 3 {
		Hit("step")
	}
	Hit("other")
}

func TestHitKillsTheProcess(t *testing.T) {
	for _, c := range []struct {
		name, setting string
		killed        bool
		exit          int
	}{
		{name: "no point", setting: ""},
		{name: "a point that is not passed", setting: "elsewhere"},
		{name: "the first time", setting: "step", killed: true},
		{name: "the third time", setting: "step=3", killed: true},
		{name: "a fourth time that doesn't come", setting: "step=4"},
		{name: "another point", setting: "other", killed: true},
		{name: "a count that is none", setting: "step=x", exit: 2},
		{name: "a count below one", setting: "step=0", exit: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-test.run=^TestVictim$")
			cmd.Env = append(os.Environ(), variable+"="+c.setting)
			out, err := cmd.CombinedOutput()
			exit := new(exec.ExitError)
			if err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if killed := status.Signaled() && status.Signal() == syscall.SIGKILL; killed != c.killed {
				t.Errorf("killed = %v, want %v\n%s", killed, c.killed, out)
			}
			if !c.killed && status.ExitStatus() != c.exit {
				t.Errorf("exit status %d, want %d\n%s", status.ExitStatus(), c.exit, out)
			}
			if c.killed && !strings.Contains(string(out), "failpoint") {
				t.Errorf("nothing said before the end: %q", out)
			}
		})
	}
}
