package main

// Finding, starting and ending processes.
//
// No process id is ever stored. A process is ours when it is a Ceph program whose command line names our ceph.conf, which
// /proc tells at any time: also of a daemon whose start was interrupted before anybody could have
// written its id down, and never of a stranger that got a recycled id.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a Ceph program that runs with our ceph.conf.
type Process struct {
	PID     int
	Program string   // base name of the program as it was called
	Args    []string // without the program
}

// is tells whether the process is the given daemon itself (not its mkfs run).
func (p Process) is(d Daemon, l Layout) bool {
	return p.Program == d.Program() && slices.Equal(p.Args, d.Args(l))
}

func (p Process) equal(q Process) bool {
	return p.PID == q.PID && p.Program == q.Program && slices.Equal(p.Args, q.Args)
}

// parseCmdline splits the content of /proc/PID/cmdline and tells whether it is a process of l: a
// program of Ceph with an argument "-c" followed by our ceph.conf. A zombie's command line is empty.
func parseCmdline(b []byte, l Layout) (program string, args []string, ours bool) {
	for f := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte{0}), []byte{0}) {
		args = append(args, string(f))
	}
	program, args = filepath.Base(args[0]), args[1:]
	if strings.HasPrefix(program, "python") && len(args) > 0 { // the ceph tool is a script
		program, args = filepath.Base(args[0]), args[1:]
	}
	if program != "ceph" && program != "rados" && !strings.HasPrefix(program, "ceph-") && !strings.HasPrefix(program, "radosgw") {
		return program, args, false
	}
	for i := range len(args) - 1 {
		if args[i] == "-c" && args[i+1] == l.Conf() {
			return program, args, true
		}
	}
	return program, args, false
}

func readProcess(pid int, l Layout) (Process, bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return Process{}, false
	}
	program, args, ours := parseCmdline(b, l)
	return Process{PID: pid, Program: program, Args: args}, ours
}

// processes lists the processes that run with our ceph.conf.
func processes(l Layout) ([]Process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var ps []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, ok := readProcess(pid, l); ok {
			ps = append(ps, p)
		}
	}
	return ps, nil
}

// paused tells whether a process is stopped by a signal (state T, proc_pid_stat(5)).
func (p Process) paused() bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil {
		return false
	}
	// The name before the state is in parentheses and may contain any character.
	i := bytes.LastIndexByte(b, ')')
	return i >= 0 && bytes.HasPrefix(b[i+1:], []byte(" T"))
}

// runningDaemons returns the daemons that run.
func runningDaemons(l Layout) (map[Daemon]Process, error) {
	ps, err := processes(l)
	if err != nil {
		return nil, err
	}
	running := map[Daemon]Process{}
	for _, p := range ps {
		for _, d := range allDaemons() {
			if p.is(d, l) {
				running[d] = p
			}
		}
	}
	return running, nil
}

// Handle holds on to one process: its id can't come to mean another one.
type Handle struct {
	Process
	fd int
}

// grab opens a handle and then looks whether the process still is the one that was found. It
// reports false when that process is gone.
func grab(l Layout, p Process) (Handle, bool, error) {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return Handle{}, false, nil
	}
	if err != nil {
		return Handle{}, false, fmt.Errorf("process %d: %w", p.PID, err)
	}
	if now, ok := readProcess(p.PID, l); !ok || !now.equal(p) {
		unix.Close(fd)
		return Handle{}, false, nil
	}
	return Handle{p, fd}, true, nil
}

func (h Handle) release() { unix.Close(h.fd) }

// send signals the process; one that has exited meanwhile isn't an error.
func (h Handle) send(sig unix.Signal) error {
	if err := unix.PidfdSendSignal(h.fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %s to process %d (%s): %w", unix.SignalName(sig), h.PID, h.Program, err)
	}
	return nil
}

// wait waits until the process and all its threads have exited, so that its ports and files are free. Whether
// its parent has collected it doesn't matter (pidfd_open(2)).
func (h Handle) wait(ctx context.Context) error {
	return poll(ctx, 10*time.Millisecond, func() (bool, string, error) {
		fds := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, "", fmt.Errorf("process %d: %w", h.PID, err)
		}
		return n == 1, fmt.Sprintf("%s (process %d) to exit", h.Program, h.PID), nil
	})
}

// end stops the process with SIGTERM and, when it doesn't go within grace, with SIGKILL.
func (h Handle) end(ctx context.Context, grace time.Duration) error {
	if err := h.send(unix.SIGTERM); err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if err := h.wait(short); err == nil || ctx.Err() != nil {
		return err
	}
	if err := h.send(unix.SIGKILL); err != nil {
		return err
	}
	return h.wait(ctx)
}

// spawn starts a daemon in a session of its own, so that neither ctrl-C nor the end of the
// terminal reaches it, with its output in a file.
func spawn(l Layout, d Daemon) error {
	out, err := os.OpenFile(l.Output(d), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(d.Program(), d.Args(l)...)
	cmd.Dir = "/"
	cmd.Env = cleanEnv()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", d, err)
	}
	// Collect it should it exit before this program does. How it exited is in its log.
	go cmd.Wait()
	return nil
}

// cleanEnv is the environment without what changes the meaning of Ceph's command lines.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"CEPH_CONF", "CEPH_ARGS", "CEPH_KEYRING", "CEPH_LIB", "CEPH_DEV"}, name)
	})
}
