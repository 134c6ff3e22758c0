//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// machine reaches what the API of Kubernetes doesn't: the nodes themselves, through hack/kube.
type machine struct{ tool string }

// onNode runs a shell script as root in the namespaces of a node.
func (m machine) onNode(ctx context.Context, node, script string) (string, error) {
	return m.run(ctx, "node", node, "--", "sh", "-euc", script)
}

// kubelet kills or starts ("kill", "start") the kubelet of a node; its containers stay.
func (m machine) kubelet(ctx context.Context, node, verb string) error {
	_, err := m.run(ctx, verb, "kubelet-"+node)
	return err
}

func (m machine) run(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return command(ctx, m.tool, args...)
}

// command runs a program and returns what it printed.
func command(ctx context.Context, name string, args ...string) (string, error) {
	var out, errs bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}
