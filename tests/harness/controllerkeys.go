package harness

// The programs for the keys of volumes, as kubectl-strata runs them in the controller's container.

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/inspect"
)

// FencingUser makes a Ceph user with the capabilities of docs/security.md for fencing, once, and returns its name.
func (c *Ceph) FencingUser(t testing.TB) string {
	t.Helper()
	return c.user(t, "strata-fencing", ceph.FencingCapabilities(FS))
}

// Keys runs `strata-controller PROGRAM` with the controller's configuration, and returns what it says of the one volume that is named.
func (c *Controller) Keys(programName string, args ...string) inspect.Keys {
	c.t.Helper()
	var list inspect.KeyList
	c.change(&list, programName, args...)
	if len(list.Volumes) != 1 {
		c.t.Fatalf("strata-controller %s: %+v", programName, list)
	}
	return list.Volumes[0]
}

// FenceNode runs `strata-controller fence-node`, and returns what it says of the one cluster.
func (c *Controller) FenceNode(args ...string) inspect.ClusterFence {
	c.t.Helper()
	var f inspect.NodeFence
	c.change(&f, "fence-node", args...)
	if len(f.Clusters) != 1 {
		c.t.Fatalf("strata-controller fence-node: %+v", f)
	}
	return f.Clusters[0]
}

// change runs one of the controller's programs as kubectl-strata does, and decodes its answer.
func (c *Controller) change(into any, programName string, args ...string) {
	c.t.Helper()
	command := append([]string{programName}, args...)
	command = append(command, "--cluster-config", c.ConfigPath, "--timeout", Patience.String())
	if c.o.Kube != nil {
		command = append(command, "--kubeconfig", c.o.Kube.Kubeconfig, "--namespace", c.o.Kube.Namespace)
	}
	cmd := exec.Command(program(c.t, "strata-controller"), command...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		c.t.Fatalf("strata-controller %s: %v: %s", programName, err, errs.String())
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		c.t.Fatalf("strata-controller %s: %v: %s", programName, err, out.String())
	}
}
