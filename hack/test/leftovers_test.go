package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestWhatATestLeavesIsFoundAndRemoved(t *testing.T) {
	r, said := checkout(t, map[string]string{})
	mine := exec.Command("sleep", "600")
	mine.Env = r.env(false)
	other := exec.Command("sleep", "600")
	other.Env = append(os.Environ(), marker+"="+r.root+"/deeper")
	for _, cmd := range []*exec.Cmd{mine, other} {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
	}
	ended := make(chan error, 2)
	go func() { ended <- mine.Wait() }()

	outer, inner := filepath.Join(r.tmpDir(), "a"), filepath.Join(r.tmpDir(), "a", "b c")
	for _, dir := range []string{outer, inner} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=4k"); err != nil {
			t.Fatalf("mount (the tests run as root): %v", err)
		}
		t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	}
	image := filepath.Join(r.tmpDir(), "image")
	if err := os.WriteFile(image, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("losetup", "--find", image).CombinedOutput(); err != nil {
		t.Fatalf("losetup: %v\n%s", err, out)
	}

	r.checkLeftovers(t.Context(), "suite")
	if got := names(r.results.failed); len(got) != 1 || got[0] != "suite left something behind" {
		t.Errorf("counted as failed: %q", got)
	}
	for _, w := range []string{"sleep 600", "mount " + inner, "1 processes, 2 mounts, 1 loop devices"} {
		if !strings.Contains(said(), w) {
			t.Errorf("%q was not said:\n%s", w, said())
		}
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the process lives")
	}
	if ms, err := r.mounts(); err != nil || len(ms) > 0 {
		t.Errorf("mounts %q, %v", ms, err)
	}
	if ls, err := r.loops(); err != nil || len(ls) > 0 {
		t.Errorf("loop devices %q, %v", ls, err)
	}
	if err := unix.Kill(other.Process.Pid, 0); err != nil {
		t.Errorf("another's process was ended: %v", err)
	}

	before := len(r.results.failed)
	r.checkLeftovers(t.Context(), "suite")
	if len(r.results.failed) != before {
		t.Error("nothing is left and it is counted")
	}
}

func TestCleanUpNeverRemovesWhatIsMounted(t *testing.T) {
	r, _ := checkout(t, map[string]string{"volume/precious": "data"})
	target := filepath.Join(r.tmpDir(), "target")
	if err := os.Mkdir(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(r.path("volume"), target, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("mount (the tests run as root): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	if err := r.cleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.tmpDir()); !os.IsNotExist(err) {
		t.Errorf("the directory is left: %v", err)
	}
	if b, err := os.ReadFile(r.path("volume", "precious")); err != nil || string(b) != "data" {
		t.Errorf("the volume's file: %q, %v", b, err)
	}
}

func TestASecondRunIsKeptOut(t *testing.T) {
	r, _ := checkout(t, map[string]string{})
	unlock, err := r.lock()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.lock(); err == nil || !strings.Contains(err.Error(), "another run") {
		t.Errorf("got %v", err)
	}
	unlock()
	unlock, err = r.lock()
	if err != nil {
		t.Fatalf("after the first has ended: %v", err)
	}
	unlock()
}

func TestAnInterruptedToolEndsWithItsChildren(t *testing.T) {
	r, _ := checkout(t, map[string]string{})
	started := r.path("started")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for { // until the script has its child
			if _, err := os.Stat(started); err == nil || ctx.Err() != nil {
				cancel()
				return
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	// The shell ends by the interruption; its child ignores it.
	script := "(trap '' INT; exec sleep 600) & while ! kill -0 $!; do :; done; touch " + started + "; wait"
	if err := r.tool(ctx, "sh", "-c", script); err == nil {
		t.Error("no error")
	}
	if l, err := r.leftovers(t.Context(), grace); err != nil || len(l.processes) > 0 {
		t.Errorf("left: %v, %v", l, err)
	}
}

func TestARunLeavesAnotherCheckoutAlone(t *testing.T) {
	ours, _ := checkout(t, map[string]string{})
	other, _ := checkout(t, map[string]string{})
	if err := other.makeTmp(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(other.tmpDir()); err != nil {
			t.Error(err)
		}
	})
	theirs := exec.Command("sleep", "600")
	theirs.Env = other.env(false)
	if err := theirs.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- theirs.Wait() }()
	t.Cleanup(func() { _ = theirs.Process.Kill() })
	mnt := filepath.Join(other.tmpDir(), "a")
	if err := os.Mkdir(mnt, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", mnt, "tmpfs", 0, "size=4k"); err != nil {
		t.Fatalf("mount (the tests run as root): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(mnt, unix.MNT_DETACH) })
	if l, err := ours.leftovers(t.Context(), 0); err != nil || l.count() != 0 {
		t.Errorf("we have %v, %v", l, err)
	}
	l, err := other.leftovers(t.Context(), 0)
	if err != nil || len(l.processes) != 1 || len(l.mounts) != 1 {
		t.Fatalf("the other has %v, %v", l, err)
	}
	if err := other.remove(t.Context(), l); err != nil {
		t.Error(err)
	}
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Error("the process lives")
	}
}
