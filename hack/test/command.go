package main

// Running other programs: each in a process group of its own, so that the end of this one's terminal reaches them through
// us alone and nobody is missed.

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// patience is what an interrupted program gets to end by itself.
	patience = 20 * time.Second
	// silence is how long nothing is printed before we say what we wait for.
	silence = 30 * time.Second
)

// command makes a program that is interrupted with its whole process group when ctx ends.
func (r *Run) command(ctx context.Context, ceph bool, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = r.root
	cmd.Env = r.env(ceph)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return unix.Kill(-cmd.Process.Pid, unix.SIGINT) }
	cmd.WaitDelay = patience
	return cmd
}

// finish waits for the program. After an interruption it ends what is left of its process group; what is left otherwise is
// for checkLeftovers to see.
func finish(ctx context.Context, cmd *exec.Cmd) error {
	err := cmd.Wait()
	if ctx.Err() == nil {
		return err
	}
	if kerr := unix.Kill(-cmd.Process.Pid, unix.SIGKILL); kerr != nil && !errors.Is(kerr, unix.ESRCH) {
		err = errors.Join(err, kerr)
	}
	return err
}

// tool runs a program and shows its output line by line.
func (r *Run) tool(ctx context.Context, name string, args ...string) error {
	cmd := r.command(ctx, false, name, args...)
	reader, writer, err := os.Pipe()
	if err != nil {
		return err
	}
	defer reader.Close()
	cmd.Stdout, cmd.Stderr = writer, writer
	err = cmd.Start()
	writer.Close()
	if err != nil {
		return err
	}
	done := r.heartbeat(func() string { return filepath.Base(name) + " " + strings.Join(args, " ") })
	defer done()
	// A daemon that the program starts could keep the pipe open; the program's end is what counts.
	ended := make(chan error, 1)
	go func() {
		ended <- finish(ctx, cmd)
		_ = reader.SetReadDeadline(time.Now().Add(time.Second))
	}()
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20)
	var last []string
	for lines.Scan() {
		r.say.Printf("   %s", lines.Text())
		if last = append(last, lines.Text()); len(last) > lastLines {
			last = last[1:]
		}
	}
	_, _ = io.Copy(io.Discard, reader) // after a line that was too long
	if err := <-ended; err != nil {
		return fmt.Errorf("%s %s: %w, after\n%s", filepath.Base(name), strings.Join(args, " "), err, strings.Join(last, "\n"))
	}
	return nil
}

// lastLines is how much of the output of a program that fails is in its error.
const lastLines = 40

// heartbeat says what is waited for whenever nothing has been printed for a while.
func (r *Run) heartbeat(what func() string) (stop func()) {
	end := make(chan struct{})
	go func() {
		t := time.NewTicker(silence / 3)
		defer t.Stop()
		for {
			select {
			case <-end:
				return
			case <-t.C:
				if r.say.quietFor() >= silence {
					r.say.Printf("   ... still at %s", what())
				}
			}
		}
	}()
	return func() { close(end) }
}
