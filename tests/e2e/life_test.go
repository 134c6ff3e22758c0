//go:build e2e

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// What is in a warm volume outlives the pod that wrote it.
func TestWarmOutlivesItsPods(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", warm, "1Gi", corev1.ReadWriteMany)
	first := s.run("first", k.nodes[0], claimed("data", "/data"))
	sum := first.sh("dd if=/dev/urandom of=/data/file bs=1M count=16 2>/dev/null && sync && sha256sum < /data/file")
	if v := s.bound("data"); len(v.Spec.CSI.VolumeHandle) == 0 || v.Spec.CSI.Driver != driverName {
		t.Errorf("the volume is of driver %q, handle %q", v.Spec.CSI.Driver, v.Spec.CSI.VolumeHandle)
	}
	first.remove()
	again := s.run("first", k.nodes[0], claimed("data", "/data"))
	if got := again.sh("sha256sum < /data/file"); got != sum {
		t.Errorf("the next pod reads %s; %s was written", got, sum)
	}
	again.remove()
	elsewhere := s.run("elsewhere", k.nodes[1], claimed("data", "/data"))
	if got := elsewhere.sh("sha256sum < /data/file"); got != sum {
		t.Errorf("a pod on the other node reads %s; %s was written", got, sum)
	}
}

// A scratch claim is empty for every pod that mounts it anew, and stays on its node.
func TestScratchIsWiped(t *testing.T) {
	t.Parallel()
	for name, class := range map[string]string{"btrfs": scratch, "loop": scratchLoop} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			s.claim("data", class, "400Mi", corev1.ReadWriteOnce)
			first := s.run("first", "", claimed("data", "/data"))
			first.sh("echo secret > /data/file && sync")
			volume := s.bound("data").Name
			first.remove()
			s.unmounted(first.node, first.uid, volume)
			second := s.run("second", "", claimed("data", "/data"))
			if second.node != first.node {
				t.Errorf("the claim was on %s, and its next pod is on %s", first.node, second.node)
			}
			if got := second.sh("ls -A /data | grep -v '^lost+found$' || true"); got != "" {
				t.Errorf("the next pod finds %q", got)
			}
		})
	}
}

// The volume of a claim is what two pods on one node share.
func TestScratchClaimIsSharedOnItsNode(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", scratch, "200Mi", corev1.ReadWriteOnce)
	one := s.run("one", "", claimed("data", "/data"))
	two := s.run("two", "", claimed("data", "/data"))
	one.sh("echo hello > /data/file")
	if got := two.sh("cat /data/file"); got != "hello" {
		t.Errorf("the second pod reads %q", got)
	}
	one.remove()
	if got := two.sh("cat /data/file"); got != "hello" {
		t.Errorf("after the end of the first pod the second reads %q", got)
	}
}

// Pods on two nodes write one volume at once, and each reads what the other wrote.
func TestWarmSharedByTwoNodes(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", warm, "2Gi", corev1.ReadWriteMany)
	s.create(s.pod("a", k.nodes[0], claimed("data", "/data")))
	s.create(s.pod("b", k.nodes[1], claimed("data", "/data")))
	a, b := s.ready("a"), s.ready("b")
	if a.node == b.node {
		t.Fatalf("both pods are on %s", a.node)
	}
	const write = "mkdir /data/%s && for i in 1 2 3 4 5 6 7 8; do dd if=/dev/urandom of=/data/%s/$i bs=1M count=4 2>/dev/null || exit 1; done; sync; cat /data/%s/* | sha256sum"
	sums := map[string]string{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		out, _ := b.try(named(write, "b"))
		sums["b"] = trim(out)
	}()
	fromA := a.sh(named(write, "a"))
	<-done
	if got := b.sh("cat /data/a/* | sha256sum"); got != fromA {
		t.Errorf("%s reads %s of the files that %s wrote as %s", b.node, got, a.node, fromA)
	}
	if got := a.sh("cat /data/b/* | sha256sum"); got != sums["b"] {
		t.Errorf("%s reads %s of the files that %s wrote as %s", a.node, got, b.node, sums["b"])
	}
	// An append by one is seen by the other, in the order of the writes.
	for i, p := range []*running{a, b, a, b} {
		p.sh("echo " + string(rune('0'+i)) + " >> /data/log")
	}
	if got := a.sh("tr -d '\\n' < /data/log"); got != "0123" {
		t.Errorf("the log has %q; four appends in turn make 0123", got)
	}
}
