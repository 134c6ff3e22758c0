package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestParseCmdline(t *testing.T) {
	l := Layout{Dir: "/d", PortBase: 20000}
	for _, c := range []struct {
		name, cmdline string
		ours          bool
		daemon        string
	}{
		{"an OSD", "/usr/bin/ceph-osd -f -c /d/ceph.conf -n osd.3", true, "osd.3"},
		{"the gateway", "radosgw -f -c /d/ceph.conf -n client.rgw", true, "rgw"},
		{"mkfs of an OSD is ours and no daemon", "ceph-osd --mkfs -c /d/ceph.conf -n osd.3", true, ""},
		{"the ceph tool", "/usr/bin/python3 /usr/bin/ceph -c /d/ceph.conf status", true, ""},
		{"a client", "ceph-fuse -c /d/ceph.conf /mnt", true, ""},
		{"another cluster", "ceph-osd -f -c /d/ceph.conf2 -n osd.3", false, ""},
		{"a cluster in a directory below", "ceph-osd -f -c /d/d/ceph.conf -n osd.3", false, ""},
		{"a host's own OSD", "ceph-osd -f --cluster ceph --id 3", false, ""},
		{"an editor", "vim -c /d/ceph.conf", false, ""},
		{"a script of somebody", "python3 run.py -c /d/ceph.conf", false, ""},
		{"the name as another option's value", "ceph-osd -f -x /d/ceph.conf -n osd.3", false, ""},
		{"nothing after -c", "ceph-osd -c", false, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			program, args, ours := parseCmdline([]byte(strings.ReplaceAll(c.cmdline, " ", "\x00")+"\x00"), l)
			if ours != c.ours {
				t.Fatalf("ours: %v, want %v", ours, c.ours)
			}
			found := ""
			for _, d := range allDaemons() {
				if ours && (Process{Program: program, Args: args}).is(d, l) {
					found = d.String()
				}
			}
			if found != c.daemon {
				t.Errorf("daemon %q, want %q", found, c.daemon)
			}
		})
	}
}

// startFake starts a process that looks like the daemon, and is collected only when the test ends.
func startFake(t *testing.T, l Layout, d Daemon) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := &exec.Cmd{Path: exe, Args: append([]string{d.Program()}, d.Args(l)...), Env: append(os.Environ(), fakeDaemon+"=1")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // gone already
		_ = cmd.Wait()         // says that it was killed
	})
	err = poll(t.Context(), time.Millisecond, func() (bool, string, error) {
		running, err := runningDaemons(l)
		_, ok := running[d]
		return ok, d.String(), err
	})
	if err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestKillAllEndsOurProcessesOnly(t *testing.T) {
	ours, other := testLayout(t), testLayout(t)
	a, b := Daemon{"osd", "1"}, Daemon{"mon", "a"}
	startFake(t, ours, a)
	startFake(t, ours, b)
	startFake(t, other, a)
	if err := killAll(t.Context(), ours, newProgress(t.Output())); err != nil {
		t.Fatal(err)
	}
	if running, err := runningDaemons(ours); err != nil || len(running) != 0 {
		t.Errorf("still running: %v, %v", running, err)
	}
	if running, err := runningDaemons(other); err != nil || len(running) != 1 {
		t.Errorf("of the other cluster run: %v, %v; want osd.1", running, err)
	}
}

func TestGrabRefusesAProcessThatTookTheID(t *testing.T) {
	l, d := testLayout(t), Daemon{"osd", "1"}
	cmd := startFake(t, l, d)
	found := Process{PID: cmd.Process.Pid, Program: d.Program(), Args: Daemon{"osd", "2"}.Args(l)}
	if h, ok, err := grab(l, found); ok || err != nil {
		t.Errorf("got %v, %v, %v; want nothing", h, ok, err)
	}
	found.Args = d.Args(l)
	h, ok, err := grab(l, found)
	if err != nil || !ok {
		t.Fatalf("the right one wasn't found: %v, %v", ok, err)
	}
	defer h.release()
	if err := h.send(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := h.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	// It is a zombie now, since nobody has collected it.
	if _, ok, err := grab(l, found); ok || err != nil {
		t.Errorf("a dead process was found: %v", err)
	}
}

func TestPausedDaemonIsSeenAndGoesOn(t *testing.T) {
	l, d := testLayout(t), Daemon{"osd", "1"}
	cmd := startFake(t, l, d)
	p := Process{PID: cmd.Process.Pid, Program: d.Program(), Args: d.Args(l)}
	if p.paused() {
		t.Fatal("paused from the start")
	}
	if err := cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	state := func(want bool) error {
		return poll(t.Context(), time.Millisecond, func() (bool, string, error) { return p.paused() == want, "the state", nil })
	}
	if err := state(true); err != nil {
		t.Fatal(err)
	}
	started, err := startDaemons(t.Context(), l, d)
	if err != nil || len(started) != 1 {
		t.Fatalf("started %v, %v", started, err)
	}
	if err := state(false); err != nil {
		t.Fatal(err)
	}
}

func TestWatchingEndsTheWaitForADeadDaemon(t *testing.T) {
	l, d := testLayout(t), Daemon{"osd", "1"}
	if err := writeFiles(l, "00000000-0000-4000-8000-000000000000", nil); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.Output(d), []byte("its last words\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := watching(t.Context(), l, []Daemon{d}, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	if err == nil || !strings.Contains(err.Error(), "osd.1 has exited") || !strings.Contains(err.Error(), "its last words") {
		t.Errorf("error %v", err)
	}
	startFake(t, l, d)
	if err := watching(t.Context(), l, []Daemon{d}, func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}

func TestParallelCancelsTheOthersAndReturnsTheFirstError(t *testing.T) {
	first := errors.New("first")
	err := parallel(t.Context(), 3,
		func(context.Context) error { return first },
		func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() })
	if !errors.Is(err, first) {
		t.Errorf("error %v", err)
	}
	if err := parallel(t.Context(), 1, func(context.Context) error { return nil }); err != nil {
		t.Errorf("error %v without a reason", err)
	}
}
