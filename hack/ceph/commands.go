package main

// Ceph's command-line tools, called with our configuration.

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// commandTimeout bounds one call of a tool: they wait for ever for a monitor that doesn't answer.
const commandTimeout = 30 * time.Second

// tool runs a program and returns its standard output. The error carries the last lines of its standard error.
func tool(ctx context.Context, timeout time.Duration, name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = cleanEnv()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, lastLines(stderr.Bytes(), 5))
	}
	return stdout.Bytes(), nil
}

// ceph runs a command of the ceph tool as client.admin.
func ceph(ctx context.Context, l Layout, args ...string) ([]byte, error) {
	return tool(ctx, commandTimeout, "ceph", append([]string{"-c", l.Conf(), "-n", "client.admin"}, args...)...)
}

// cephJSON runs a command and decodes its answer.
func cephJSON(ctx context.Context, l Layout, into any, args ...string) error {
	out, err := ceph(ctx, l, append(args, "--format", "json")...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("ceph %s: %w", strings.Join(args, " "), err)
	}
	return nil
}
