package main

// Starting, ending and signalling one daemon: how tests inject faults.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// daemonTimeout bounds what is done to one daemon.
const daemonTimeout = 2 * time.Minute

// runDaemonVerb does start, stop and kill of one daemon.
func runDaemonVerb(ctx context.Context, l Layout, say *Progress, verb string, words []string) error {
	d, err := parseDaemon(words[0])
	if err != nil {
		return err
	}
	if _, err := l.readMarker(); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if _, err := os.Stat(l.ready()); err != nil {
		return fmt.Errorf("there is no complete cluster in %s: start it first: %w", l.Dir, err)
	}
	if verb == "start" {
		return startOne(ctx, l, say, d)
	}
	sig := unix.SIGKILL
	if len(words) == 2 {
		if sig, err = parseSignal(words[1]); err != nil {
			return err
		}
	}
	running, err := runningDaemons(l)
	if err != nil {
		return err
	}
	p, ok := running[d]
	var h Handle
	if ok {
		if h, ok, err = grab(l, p); err != nil {
			return err
		}
	}
	if !ok {
		say.Step("%s isn't running", d)
		return nil
	}
	defer h.release()
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	if verb == "stop" {
		if err := h.end(ctx, 30*time.Second); err != nil {
			return err
		}
		say.Step("%s (process %d) stopped", d, h.PID)
		return nil
	}
	if err := h.send(sig); err != nil {
		return err
	}
	if sig == unix.SIGKILL {
		if err := h.wait(ctx); err != nil {
			return err
		}
	}
	say.Step("%s (process %d): %s sent", d, h.PID, unix.SignalName(sig))
	return nil
}

// startOne starts a daemon and waits until it does its work.
func startOne(ctx context.Context, l Layout, say *Progress, d Daemon) error {
	release, err := lockCluster(ctx, l, say)
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, daemonTimeout)
	defer cancel()
	started, err := startDaemons(ctx, l, d)
	if err != nil {
		return err
	}
	if len(started) == 0 {
		say.Step("%s is running already", d)
	} else {
		say.Step("%s started", d)
	}
	if err := watching(ctx, l, []Daemon{d}, func(ctx context.Context) error { return waitDaemon(ctx, l, d) }); err != nil {
		return err
	}
	say.Step("%s is at work", d)
	return nil
}

// waitDaemon waits until one daemon does its work, whatever the state of the others.
func waitDaemon(ctx context.Context, l Layout, d Daemon) error {
	switch {
	case d.Kind == "mon":
		return waitMon(ctx, l)
	case d.Kind == "mgr":
		return waitMgr(ctx, l, d)
	case d == gateway:
		return waitRGW(ctx, l)
	}
	return waitState(ctx, l, d)
}

// waitState waits until an OSD or MDS says on its admin socket that it takes part in the cluster.
func waitState(ctx context.Context, l Layout, d Daemon) error {
	return poll(ctx, 200*time.Millisecond, func() (bool, string, error) {
		state, err := daemonState(ctx, l, d)
		if err != nil {
			return false, fmt.Sprintf("%s (%v; see %s)", d, err, l.Output(d)), nil
		}
		return slices.Contains([]string{"active", "up:active", "up:standby"}, state), fmt.Sprintf("%s (now %s)", d, state), nil
	})
}

// daemonState returns an OSD's or MDS's own view: "booting", "active"; "up:replay", "up:standby", ...
func daemonState(ctx context.Context, l Layout, d Daemon) (string, error) {
	b, err := adminSocket(ctx, l, d, "status")
	if err != nil {
		return "", err
	}
	var s struct {
		State string `json:"state"`
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return "", fmt.Errorf("%s: status: %w", d, err)
	}
	return s.State, nil
}

// parseSignal takes "KILL", "kill" and "SIGKILL".
func parseSignal(s string) (unix.Signal, error) {
	if sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(s), "SIG")); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("no signal %q; for example KILL, STOP, CONT, TERM", s)
}
