//go:build e2e

package e2e

import (
	"strings"
	"testing"
)

// A pod's own volume has its size and no more, is empty, and goes with the pod.
func TestInlineScratch(t *testing.T) {
	t.Parallel()
	for _, class := range []string{"default", "loop"} {
		t.Run(class, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			p := s.run("own", k.nodes[0], inline(class, "320Mi", "/scratch"))
			p.sh("dd if=/dev/zero of=/scratch/fits bs=1M count=200 2>&1")
			p.fails("dd if=/dev/zero of=/scratch/more bs=1M count=200 2>&1", "No space left on device", "quota exceeded")
			if !strings.Contains(s.records(p.node), p.uid) {
				t.Error("the journal of the node has no record of the volume")
			}
			p.remove()
			s.unmounted(p.node, p.uid)
			next := s.run("own", k.nodes[0], inline(class, "320Mi", "/scratch"))
			if got := next.sh("ls -A /scratch | grep -v '^lost+found$' || true"); got != "" {
				t.Errorf("the next pod finds %q", got)
			}
		})
	}
}

// What a pod may not ask for keeps it from starting, and its event says why.
func TestInlineScratchRefused(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.create(s.pod("large", "", inline("loop", "50Gi", "/scratch")))
	s.create(s.pod("unknown", "", inline("nosuch", "100Mi", "/scratch")))
	path := inline("default", "100Mi", "/scratch")
	path.volume.CSI.VolumeAttributes["path"] = "/etc"
	s.create(s.pod("path", "", path))
	s.event("large", "FailedMount", "50Gi", "4Gi")
	s.event("unknown", "FailedMount", "nosuch")
	s.event("path", "FailedMount", `"path"`)
}

// A generic ephemeral volume comes and goes with its pod, and has its limit.
func TestGenericEphemeral(t *testing.T) {
	t.Parallel()
	for name, class := range map[string]string{"warm": warm, "scratch": scratch} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSpace(t)
			p := s.run("own", "", generic(class, "100Mi", "/data"))
			p.sh("echo x > /data/file")
			volume := s.bound("own-v0").Name
			p.fails("dd if=/dev/zero of=/data/more bs=1M count=400 2>&1", "No space left on device", "quota exceeded")
			p.remove()
			s.volumeGone(volume)
		})
	}
}
