//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The tests of this file disturb the driver of a node, or of all, and run one by one, before the others.

const nodeContainer = "strata-node"

// The driver's processes on a node may be killed, replaced by another version, or crash at every start: pods of all tiers work on.
func TestDriverFailsWhilePodsWork(t *testing.T) {
	s := newSpace(t)
	var pods []busy
	for i, node := range k.nodes[:2] {
		suffix := string(rune('0' + i))
		pods = append(pods, s.busyPod("works-"+suffix, node, s.allKinds(suffix)...))
	}
	goOn := func(what string) {
		t.Helper()
		say("  pods work on: %s", what)
		for _, p := range pods {
			p.goesOn(3)
		}
	}
	goOn("before anything fails")

	for _, node := range k.nodes[:2] {
		s.killed(node)
	}
	goOn("strata-node was killed")

	holders := map[string]types.UID{}
	for _, node := range k.nodes {
		holders[node] = s.driverPod("strata-mountd", node).UID
	}
	if err := k.applyChart(s.ctx, nextTag); err != nil {
		t.Fatal(err)
	}
	if err := k.serves(s.ctx); err != nil {
		t.Fatal(err)
	}
	for _, node := range k.nodes {
		p := s.driverPod("strata-node", node)
		if image := p.Spec.Containers[0].Image; !strings.HasSuffix(image, ":"+nextTag) {
			t.Errorf("strata-node on %s has the image %s", node, image)
		}
		if s.driverPod("strata-mountd", node).UID != holders[node] {
			t.Errorf("strata-mountd on %s was replaced with strata-node: the mounts it holds would have gone", node)
		}
	}
	goOn("strata-node was upgraded")

	s.crashLoop(k.nodes[0], func() { goOn("strata-node crashes at every start") })
	goOn("strata-node is well again")

	// And the driver still takes them away.
	for _, p := range pods {
		p.remove()
		s.unmounted(p.node, p.uid)
	}
}

// killed ends strata-node on a node with SIGKILL and waits until it is ready again.
func (s *space) killed(node string) {
	s.Helper()
	before := s.driverPod("strata-node", node)
	script := fmt.Sprintf(`for p in /proc/[0-9]*; do
		if grep -q %s $p/cgroup 2>/dev/null && tr '\0' ' ' < $p/cmdline | grep -q '^[^ ]*strata-node '; then kill -9 ${p#/proc/}; echo killed; fi
	done`, before.UID)
	out, err := k.machine.onNode(s.ctx, node, script)
	if err != nil || !strings.Contains(out, "killed") {
		s.Fatalf("kill strata-node on %s: %v: %q", node, err, out)
	}
	s.wait("strata-node on "+node+" is back", patience, func(ctx context.Context) error {
		p, err := k.driverPod(ctx, "strata-node", node)
		if err != nil {
			return err
		}
		if p.UID != before.UID {
			return hopeless{errors.New("kubelet made another pod; a new container was expected")}
		}
		if restarts(p, nodeContainer) <= restarts(before, nodeContainer) {
			return errors.New("its container wasn't started anew yet")
		}
		return readiness(p)
	})
}

// crashLoop gives strata-node on a node a flag that it doesn't know, until after during.
func (s *space) crashLoop(node string, during func()) {
	s.Helper()
	daemons := k.client.AppsV1().DaemonSets(driverNamespace)
	good, err := daemons.Get(s.ctx, "strata-node", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	change := func(args []string) {
		d, err := daemons.Get(s.ctx, "strata-node", metav1.GetOptions{})
		if err != nil {
			s.Fatal(err)
		}
		for i := range d.Spec.Template.Spec.Containers {
			if c := &d.Spec.Template.Spec.Containers[i]; c.Name == nodeContainer {
				c.Args = args
			}
		}
		if _, err := daemons.Update(s.ctx, d, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			s.Fatal(err)
		}
	}
	var args []string
	for _, c := range good.Spec.Template.Spec.Containers {
		if c.Name == nodeContainer {
			args = c.Args
		}
	}
	old := s.driverPod("strata-node", node)
	restored := false
	s.Cleanup(func() { // later tests need the driver, whatever became of this one
		if !restored {
			change(args)
		}
	})
	change(append(append([]string{}, args...), "--no-such-flag"))
	// The update takes one node at a time, and stops at the first that isn't ready; this one shall be among them.
	_ = k.client.CoreV1().Pods(driverNamespace).Delete(s.ctx, old.Name, metav1.DeleteOptions{})
	s.wait("strata-node on "+node+" crashes again and again", patience, func(ctx context.Context) error {
		p, err := k.driverPod(ctx, "strata-node", node)
		if err != nil {
			return err
		}
		if n := restarts(p, nodeContainer); p.UID == old.UID || n < 2 {
			return fmt.Errorf("it has crashed %d times", n)
		}
		return nil
	})
	during()
	change(args)
	restored = true
	// kubelet waits longer after every crash; a new pod has no such history.
	for _, n := range k.nodes {
		p, err := k.driverPod(s.ctx, "strata-node", n)
		if err == nil && readiness(p) != nil {
			_ = k.client.CoreV1().Pods(driverNamespace).Delete(s.ctx, p.Name, metav1.DeleteOptions{})
		}
	}
	if err := k.serves(s.ctx); err != nil {
		s.Fatal(err)
	}
}

// kubelet is killed, a pod is deleted meanwhile, kubelet comes back: everything is unmounted and nothing left.
func TestKubeletWasDownWhilePodsWereDeleted(t *testing.T) {
	s := newSpace(t)
	node := k.nodes[1]
	stays := s.busyPod("stays", node, s.allKinds("stays")...)
	goes := s.busyPod("goes", node, s.allKinds("goes")...)
	stays.goesOn(1)
	goes.goesOn(1)
	hash := stagingHash(s.bound("warm-goes").Spec.CSI.VolumeHandle)
	volume := s.bound("goes-v1").Spec.CSI.VolumeHandle
	if err := k.machine.kubelet(s.ctx, node, "kill"); err != nil {
		t.Fatal(err)
	}
	back := false
	t.Cleanup(func() {
		if !back {
			_ = k.machine.kubelet(s.ctx, node, "start")
		}
	})
	goes.delete()
	if found := s.mountsOn(node, goes.uid); len(found) == 0 {
		t.Error("the pod's mounts are gone although kubelet is down")
	}
	if err := k.machine.kubelet(s.ctx, node, "start"); err != nil {
		t.Fatal(err)
	}
	back = true
	goes.gone()
	s.unmounted(node, goes.uid, hash, volume)
	stays.goesOn(3)
	stays.remove()
	s.unmounted(node, stays.uid)
}

// When the holder dies, its ceph-fuse processes die with it: pods that have the volume get an error, which they see, and the next pod has
// the volume again. docs/operations.md says so. Scratch volumes and the other node notice nothing.
func TestHolderIsReplaced(t *testing.T) {
	s := newSpace(t)
	node, other := k.nodes[0], k.nodes[1]
	s.claim("data", warm, "1Gi", corev1.ReadWriteMany)
	p := s.run("writer", node, claimed("data", "/data"))
	p.sh("echo safe > /data/file && sync")
	elsewhere := s.busyPod("elsewhere", other, claimed("data", "/data"))
	local := s.busyPod("local", node, inline("default", "100Mi", "/btrfs"), inline("loop", "320Mi", "/loop"))
	elsewhere.goesOn(1)
	local.goesOn(1)
	s.replace("strata-mountd", node)
	p.fails("cat /data/file", "not connected")
	local.goesOn(3)
	elsewhere.goesOn(3)
	p.remove()
	again := s.run("writer", node, claimed("data", "/data"))
	if got := again.sh("cat /data/file"); got != "safe" {
		t.Errorf("the next pod reads %q", got)
	}
}

// A node that comes up anew gets its taint away from the driver, as it did when the driver was deployed.
func TestStartupTaint(t *testing.T) {
	s := newSpace(t)
	if !k.tainted && os.Getenv("STRATA_E2E_KEEP") == "" {
		t.Error("the nodes had no startup taint when the driver was deployed")
	}
	node := k.nodes[1]
	if err := k.taint(s.ctx, node); err != nil {
		t.Fatal(err)
	}
	s.replace("strata-node", node)
	s.wait("the taint is removed", patience, func(ctx context.Context) error { return k.untainted(ctx, node) })
	s.run("scheduled", node, inline("default", "100Mi", "/data"))
}
