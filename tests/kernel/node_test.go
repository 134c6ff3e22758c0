package kernel

// The emulated node and what the tests do on it.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/cephkernel"
	"github.com/strata-csi/strata/tests/harness"
	"github.com/strata-csi/strata/tests/kernel/agent"
	"github.com/strata-csi/strata/tests/kernel/lab"
)

type node struct {
	*lab.Machine
	cluster *cluster
}

// bootNode boots a machine that reaches the cluster, with programs in it (path there,
// path on the host).
func bootNode(t *testing.T, c *cluster, programs map[string]string) node {
	t.Helper()
	m, err := lab.Boot(t.Context(), lab.Config{Dir: t.TempDir(), PortBase: c.portBase, Ports: 200, Files: programs})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		faults, err := m.Faults()
		if err != nil || len(faults) > 0 {
			t.Errorf("the kernel is not well: %v %s", err, strings.Join(faults, "\n"))
		}
		if t.Failed() {
			t.Logf("console:\n%s", m.Console())
		}
		// Its kernel may wait for ever for an evicted client: what was tested has been by then.
		if err := m.Close(); errors.Is(err, lab.ErrKilled) {
			t.Logf("%v; its console ends:\n%s", err, m.Console())
		} else if err != nil {
			t.Error(err)
		}
	})
	return node{Machine: m, cluster: c}
}

// sh runs a shell script on the node; it must succeed.
func (n node) sh(t *testing.T, script string) string {
	t.Helper()
	out, err := n.Run(t.Context(), "sh", "-ec", script)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fails runs a shell script that must fail with want in what it says.
func (n node) fails(t *testing.T, script, want string) {
	t.Helper()
	r, err := n.Exec(t.Context(), agent.Command{Args: []string{"sh", "-ec", script}})
	if err != nil {
		t.Fatal(err)
	}
	if r.Code == 0 || !strings.Contains(string(r.Stderr), want) {
		t.Errorf("%s: exit code %d, said %q, want %q", script, r.Code, r.Stderr, want)
	}
}

// request is a mount of s at target, to be changed by the test.
func (n node) request(s subvolume, target string) agent.MountRequest {
	return agent.MountRequest{
		Mount:  cephkernel.Mount{Monitors: []string{n.cluster.monitor1}, User: s.user, FS: harness.FS, Path: s.path},
		Key:    s.key,
		Target: target,
	}
}

// call gives the request to pkg/cephkernel on the node.
func (n node) call(t *testing.T, req agent.MountRequest) agent.MountReply {
	t.Helper()
	n.sh(t, "mkdir -p "+req.Target)
	return n.callAsIs(t, req)
}

// callAsIs doesn't make the target first.
func (n node) callAsIs(t *testing.T, req agent.MountRequest) agent.MountReply {
	t.Helper()
	body, err := json.Marshal(req)
	if err != nil {
		t.Fatal(err)
	}
	r, err := n.Exec(t.Context(), agent.Command{Args: []string{"guest", "mount"}, Stdin: body})
	if err != nil {
		t.Fatal(err)
	}
	if r.Code != 0 {
		t.Fatalf("guest mount: exit code %d: %s", r.Code, r.Stderr)
	}
	var reply agent.MountReply
	if err := json.Unmarshal(r.Stdout, &reply); err != nil {
		t.Fatal(err)
	}
	if req.Key != "" && strings.Contains(string(r.Stdout), req.Key) {
		t.Error("the answer repeats the key")
	}
	return reply
}

// mount mounts; it must succeed. The mount ends with the test. It returns the target.
func (n node) mount(t *testing.T, req agent.MountRequest) string {
	t.Helper()
	if r := n.call(t, req); r.Kind != agent.KindNone {
		t.Fatalf("mount: %s: %s", r.Kind, r.Error)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := n.Run(ctx, "umount", "-l", req.Target); err != nil {
			t.Error(err)
		}
	})
	return req.Target
}

// mounted reports whether something is mounted at target.
func (n node) mounted(t *testing.T, target string) bool {
	t.Helper()
	b, err := n.ReadFile(t.Context(), "/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && f[4] == target {
			return true
		}
	}
	return false
}

// size is the size of the file system at target in bytes.
func (n node) size(t *testing.T, target string) int64 {
	t.Helper()
	var blocks, block int64
	out := n.sh(t, "stat -f -c '%b %S' "+target)
	if _, err := fmt.Sscan(out, &blocks, &block); err != nil {
		t.Fatalf("%q: %v", out, err)
	}
	return blocks * block
}

// target is a directory of its own for the test.
func target(t *testing.T) string {
	return "/mnt/" + strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '-'
	}, t.Name())
}
