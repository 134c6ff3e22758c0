package main

// Finding and ending processes.
//
// No process id is ever stored. A process is ours when its command line is exactly one that we make, with paths of our
// directory in it: /proc tells so at any time, also of one whose start was interrupted, and never of a
// stranger that got a recycled id.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// commandLine reads what a process was started as. A zombie's is empty.
func commandLine(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || len(b) == 0 {
		return nil
	}
	var args []string
	for f := range bytes.SplitSeq(bytes.TrimSuffix(b, []byte{0}), []byte{0}) {
		args = append(args, string(f))
	}
	return args
}

// findProcesses returns the processes with this command line.
func findProcesses(want []string) ([]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var found []int
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil && slices.Equal(commandLine(pid), want) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// Handle holds on to one process: its id can't come to mean another one.
type Handle struct {
	PID int
	fd  int
}

// grab finds the process with a command line and opens a handle. It reports false when there is none.
func grab(want []string) (Handle, bool, error) {
	pids, err := findProcesses(want)
	if err != nil {
		return Handle{}, false, err
	}
	for _, pid := range pids {
		fd, err := unix.PidfdOpen(pid, 0)
		if errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return Handle{}, false, fmt.Errorf("process %d: %w", pid, err)
		}
		// It may have become another one before the handle was there.
		if slices.Equal(commandLine(pid), want) {
			return Handle{pid, fd}, true, nil
		}
		unix.Close(fd)
	}
	return Handle{}, false, nil
}

func (h Handle) release() { unix.Close(h.fd) }

// send signals the process; one that has exited meanwhile isn't an error.
func (h Handle) send(sig unix.Signal) error {
	if err := unix.PidfdSendSignal(h.fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal %s to process %d: %w", unix.SignalName(sig), h.PID, err)
	}
	return nil
}

// wait waits until the process and all its threads have exited, so that its ports and files are free; for the first process
// of a namespace that is when all others in it are gone, too (pid_namespaces(7)).
func (h Handle) wait(ctx context.Context, name string) error {
	return poll(ctx, 10*time.Millisecond, func() (bool, string, error) {
		fds := []unix.PollFd{{Fd: int32(h.fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false, "", fmt.Errorf("process %d: %w", h.PID, err)
		}
		return n == 1, fmt.Sprintf("%s (process %d) to exit", name, h.PID), nil
	})
}

// end kills whatever has this command line and waits until it is gone.
func end(ctx context.Context, name string, want []string) error {
	for {
		h, ok, err := grab(want)
		if err != nil || !ok {
			return err
		}
		err = h.send(unix.SIGKILL)
		if err == nil {
			err = h.wait(ctx, name)
		}
		h.release()
		if err != nil {
			return err
		}
	}
}
