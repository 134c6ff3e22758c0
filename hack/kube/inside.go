package main

// Going on inside of the machine, and running other programs there.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func inGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// insideMain is `up`, inside: WITH-CEPH START-TIME CRD...
func insideMain(l Layout, args []string) error {
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel() // whoever has called this is gone
	}()
	withCeph, err := strconv.ParseBool(args[0])
	if err != nil {
		return err
	}
	say := newProgress(os.Stderr)
	if say.start, err = time.Parse(time.RFC3339Nano, args[1]); err != nil {
		return err
	}
	return insideUp(ctx, l, withCeph, args[2:], say)
}

// isInside tells whether this process is in the machine already: in a test that `run` has started, for example.
func (l Layout) isInside() (bool, error) {
	pid, err := l.holder("")
	if err != nil {
		return false, err
	}
	ours, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return false, err
	}
	theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid))
	return ours == theirs, err
}

// inside calls f when this process is inside of the machine, and otherwise becomes one that is, with the same arguments.
func (l Layout) inside(args []string, f func() error) error {
	in, err := l.isInside()
	if err != nil {
		return err
	}
	if in {
		return f()
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return l.run("", append([]string{self, "--dir", l.Dir}, args...))
}

// run becomes a program in the machine or in a node.
func (l Layout) run(node string, argv []string) error {
	dir := "/"
	if node == "" {
		var err error
		if dir, err = os.Getwd(); err != nil {
			return err
		}
	}
	command, err := l.enter(node, dir)
	if err != nil {
		return err
	}
	nsenter, err := exec.LookPath(command[0])
	if err != nil {
		return err
	}
	env, err := l.programEnvironment()
	if err != nil {
		return err
	}
	return fmt.Errorf("%s: %w", nsenter, unix.Exec(nsenter, append(command, argv...), env))
}

// programEnvironment is ours, with what leads to the cluster.
func (l Layout) programEnvironment() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	path := os.Getenv("PATH")
	if !strings.HasPrefix(path, l.Bin()+":") {
		path = l.Bin() + ":" + path
	}
	set := []string{"KUBECONFIG=" + l.Kubeconfig(), "PATH=" + path, "STRATA_KUBE=" + self, "STRATA_KUBE_DIR=" + l.Dir}
	if m, err := l.readMarker(); err != nil {
		return nil, err
	} else if m.Ceph {
		set = append(set, "STRATA_CEPH_DIR="+l.Ceph())
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"KUBECONFIG", "PATH", "STRATA_KUBE", "STRATA_KUBE_DIR", "STRATA_CEPH_DIR", "STRATA_CEPH_PORT_BASE"}, name)
	})
	return append(env, set...), nil
}

// down is destroy, from outside.
func down(ctx context.Context, l Layout, say *Progress) error {
	if slices.Equal(commandLine(1), l.machineCommand()) {
		return errors.New("down would end this very program: call it outside of the cluster")
	}
	release, err := lock(ctx, l.lock(), "up or down of "+l.Dir, say)
	if err != nil {
		return err
	}
	defer release()
	return destroy(ctx, l, say)
}

// tool runs a program and shows its output.
func tool(ctx context.Context, dir string, _ *Progress, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, os.Stderr, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGINT) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w", filepath.Base(name), strings.Join(args, " "), err)
	}
	return nil
}
