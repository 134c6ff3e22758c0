//go:build e2e

package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// A snapshot keeps what was there; it can be restored, and served read-only to many pods without a copy; a claim can be cloned.
func TestSnapshotRestoreCloneAndServe(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", warm, "1Gi", corev1.ReadWriteMany)
	p := s.run("writer", k.nodes[0], claimed("data", "/data"))
	sum := p.sh("mkdir -p /data/a/b && dd if=/dev/urandom of=/data/a/b/file bs=1M count=8 2>/dev/null && ln -s a/b/file /data/link && sync && sha256sum < /data/link")
	s.snapshot("before", "data")
	after := p.sh("dd if=/dev/urandom of=/data/a/b/file bs=1M count=8 2>/dev/null && sync && sha256sum < /data/link")
	s.from("VolumeSnapshot", "before", "restored", warm, "1Gi", corev1.ReadWriteMany)
	s.from("VolumeSnapshot", "before", "served", warm, "1Gi", corev1.ReadOnlyMany)
	s.from("PersistentVolumeClaim", "data", "cloned", warm, "2Gi", corev1.ReadWriteMany)
	served := []*running{}
	for _, node := range k.nodes[:2] {
		served = append(served, s.run("reader-"+node, node, claimed("served", "/data")))
	}
	for _, r := range served {
		if got := r.sh("sha256sum < /data/link"); got != sum {
			t.Errorf("a reader of the snapshot on %s gets %s; it was %s", r.node, got, sum)
		}
		r.fails("echo x > /data/new", "Read-only file system")
	}
	if got, err := k.subvolumes(s.name); err != nil || len(got) != 3 {
		t.Errorf("Ceph has the subvolumes %v (%v); the source, the restored and the cloned one are expected, and none for the one that is served from the snapshot", got, err)
	}
	copies := s.run("copies", k.nodes[1], claimed("restored", "/restored"), claimed("cloned", "/cloned"))
	if got := copies.sh("sha256sum < /restored/link"); got != sum {
		t.Errorf("restored: %s; the snapshot had %s", got, sum)
	}
	if got := copies.sh("sha256sum < /cloned/link"); got != after {
		t.Errorf("cloned: %s; the source had %s", got, after)
	}
	copies.sh("echo x > /restored/new && echo y > /cloned/new")
	if got := p.sh("ls /data"); got != "a\nlink" {
		t.Errorf("writing to the copies changed the source: %q", got)
	}
}
