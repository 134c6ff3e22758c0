package main

// Starting one daemon, or a node: a small program goes inside, starts it there and ends, so that what it started belongs to the
// first process in there and to nobody outside.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// start starts a daemon unless it runs, and tells whether it did.
func (l Layout) start(ctx context.Context, d Daemon) (bool, error) {
	pids, err := findProcesses(d.commandLine())
	if err != nil || len(pids) > 0 {
		return false, err
	}
	return true, l.spawn(ctx, d.Node, d.Name)
}

// startNode makes a node's namespaces unless they are there.
func (l Layout) startNode(ctx context.Context, n Node) error {
	if _, err := l.holder(n.Name); !errors.Is(err, errNotRunning) {
		return err
	}
	return l.spawn(ctx, "", n.Name)
}

// spawn calls spawnMain inside.
func (l Layout) spawn(ctx context.Context, inside, what string) error {
	command, err := l.enter(inside, "/")
	if err != nil {
		return err
	}
	rest, err := again(l.spawnCommand(what))
	if err != nil {
		return err
	}
	command = append(command, rest...)
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("start %s: %w: %s", what, err, bytes.TrimSpace(out.Bytes()))
	}
	return nil
}

func spawnMain(l Layout, what string) error {
	if n, err := findNode(what); err == nil {
		return l.hold(l.nodeCommand(n), nodeFlags, l.Log(n.Name))
	}
	d, err := findDaemon(l, what)
	if err != nil {
		return err
	}
	for _, dir := range []string{l.tmp(), filepath.Dir(l.Log(d.Name))} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	log, err := os.OpenFile(l.Log(d.Name), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command(d.Program, d.Args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = "/", l.environment(), log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd.Start()
}
