package kernel

// What strata-node does with the kernel's client, by CSI calls.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/strata-csi/strata/tests/harness"
	"github.com/strata-csi/strata/tests/kernel/agent"
	"github.com/strata-csi/strata/tests/kernel/lab"
)

func TestStrataNode(t *testing.T) {
	c := openCluster(t)
	program, err := lab.Build(t.Context(), nodePackage, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	controller := harness.NewController(t, c.Ceph, harness.ControllerOptions{})
	n := &csiNode{node: bootNode(t, c, map[string]string{"/bin/strata-node": program}), controller: controller}
	n.sh(t, "mkdir -p /etc/strata /run/strata")
	config := fmt.Sprintf("clusters:\n- clusterID: %s\n  monitors: [%q]\n", harness.ClusterID, c.Monitor)
	if err := n.WriteFile(t.Context(), "/etc/strata/clusters.yaml", strings.NewReader(config), 0o600); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		log, err := n.Log(ctx, nodeName)
		if t.Failed() {
			lines := strings.Split(log, "\n")
			t.Logf("end of strata-node's log (%v):\n%s", err, strings.Join(lines[max(0, len(lines)-40):], "\n"))
		}
		if key := c.Key(t, "strata-node"); strings.Contains(log, key) {
			t.Error("the key is in strata-node's log")
		}
	})

	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		{"a volume is staged, published and taken back", n.testLife},
		{"the quota holds until the volume grows", n.testExpand},
		{"read-only is kept", n.testReadOnlyPublish},
		{"a snapshot is served from the snapshot", n.testSnapshotBacked},
		{"an eviction is reported and repaired", n.testEvictionRepaired},
		{"a kill of strata-node disturbs no mount", n.testKilled},
		{"a node with ceph-fuse writes at the same time", n.testBothKinds},
		{"mounter fuse is refused where there is no holder", n.testNoFuse},
	} {
		t.Run(test.name, test.run)
	}
}

func (n *csiNode) testLife(t *testing.T) {
	v := n.create(t, harness.Request("life", 64*mib, "maxFiles", "1000"))
	v.use(t, false)
	for range 2 { // the second time nothing changes
		if err := v.stage(t); err != nil {
			t.Fatal(err)
		}
		if err := v.publish(t, false); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{v.staging, v.target} {
		if got := n.fsType(t, path); got != "ceph" {
			t.Errorf("%s is of type %q: mounter auto did not take the kernel's client", path, got)
		}
	}
	if got := n.sh(t, "grep -c "+filepath.Dir(v.staging)+" /proc/self/mounts"); got != "2" {
		t.Errorf("%s mounts", got)
	}
	n.sh(t, "echo data >"+v.target+"/f; sync")
	stats, err := n.NodeGetVolumeStats(bounded(t), &csi.NodeGetVolumeStatsRequest{VolumeId: v.GetVolumeId(), VolumePath: v.target, StagingTargetPath: v.staging})
	if err != nil {
		t.Fatal(err)
	}
	units := map[csi.VolumeUsage_Unit]*csi.VolumeUsage{}
	for _, u := range stats.GetUsage() {
		units[u.GetUnit()] = u
	}
	if got := units[csi.VolumeUsage_BYTES].GetTotal(); got != 64*mib {
		t.Errorf("%d bytes in all, want the quota, %d", got, 64*mib)
	}
	if got := units[csi.VolumeUsage_INODES].GetTotal(); got != 1000 {
		t.Errorf("%d files in all, want maxFiles, 1000", got)
	}
	if err := v.release(t); err != nil {
		t.Fatal(err)
	}
	if got := n.sh(t, "grep -c "+filepath.Dir(v.staging)+" /proc/self/mounts || true; ls "+filepath.Dir(v.target)); got != "0" {
		t.Errorf("left behind: %s", got)
	}
	v.use(t, false)
	if got := n.sh(t, "cat "+v.target+"/f"); got != "data" {
		t.Errorf("the data came back as %q", got)
	}
}

func (n *csiNode) testExpand(t *testing.T) {
	v := n.create(t, harness.Request("expand", 16*mib, "mounter", "kernel"))
	v.use(t, false)
	n.fails(t, "dd if=/dev/zero of="+v.target+"/big bs=1M count=64 conv=fsync", "Disk quota exceeded")
	resp, err := n.controller.ControllerExpandVolume(bounded(t), &csi.ControllerExpandVolumeRequest{
		VolumeId: v.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: 64 * mib}, VolumeCapability: harness.Capability(v.mode),
	})
	if err != nil || resp.GetNodeExpansionRequired() {
		t.Fatalf("expand: %v, %v", resp, err)
	}
	harness.Eventually(t, "the new size arrives", harness.Patience, func() error {
		if got := n.size(t, v.target); got != 64*mib {
			return fmt.Errorf("size %d", got)
		}
		return nil
	})
	n.sh(t, "dd if=/dev/zero of="+v.target+"/big bs=1M count=32 conv=fsync 2>&1")
}

func (n *csiNode) testReadOnlyPublish(t *testing.T) {
	v := n.create(t, harness.Request("readonly", 64*mib))
	v.use(t, false)
	n.sh(t, "echo data >"+v.target+"/f; sync")
	if err := v.release(t); err != nil {
		t.Fatal(err)
	}
	v.use(t, true)
	n.fails(t, "echo x >"+v.target+"/f", "Read-only file system")
	if err := v.release(t); err != nil {
		t.Fatal(err)
	}
	v.mode = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	v.use(t, false)
	n.fails(t, "echo x >"+v.target+"/f", "Read-only file system")
	n.fails(t, "echo x >"+v.staging+"/f", "Read-only file system")
	if got := n.sh(t, "cat "+v.target+"/f"); got != "data" {
		t.Errorf("read %q", got)
	}
}

func (n *csiNode) testSnapshotBacked(t *testing.T) {
	v := n.create(t, harness.Request("snapped", 64*mib))
	v.use(t, false)
	n.sh(t, "echo before >"+v.target+"/f; sync")
	snap, err := n.controller.CreateSnapshot(bounded(t), &csi.CreateSnapshotRequest{SourceVolumeId: v.GetVolumeId(), Name: "snap_of-it"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := n.controller.DeleteSnapshot(bounded(t), &csi.DeleteSnapshotRequest{SnapshotId: snap.GetSnapshot().GetSnapshotId()}); err != nil {
			t.Error(err)
		}
	})
	n.sh(t, "echo after >"+v.target+"/f; sync")

	req := harness.Request("shown", 64*mib)
	req.VolumeCapabilities = harness.Capabilities(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)
	req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snap.GetSnapshot().GetSnapshotId()},
	}}
	shown := n.create(t, req)
	shown.use(t, true)
	if got := n.sh(t, "cat "+shown.target+"/f; cat "+v.target+"/f"); got != "before\nafter" {
		t.Errorf("snapshot and volume hold %q", got)
	}
	n.fails(t, "echo x >"+shown.target+"/f", "Read-only file system")
	if got := n.fsType(t, shown.target); got != "ceph" {
		t.Errorf("type %q", got)
	}
	// Repeated calls find it as it is.
	if err := shown.stage(t); err != nil {
		t.Error(err)
	}
	if err := shown.publish(t, true); err != nil {
		t.Error(err)
	}
	if err := shown.release(t); err != nil {
		t.Error(err)
	}
	if got := n.sh(t, "grep -c "+filepath.Dir(shown.staging)+" /proc/self/mounts || true"); got != "0" {
		t.Errorf("%s mounts left", got)
	}
}

func (n *csiNode) testEvictionRepaired(t *testing.T) {
	v := n.create(t, harness.Request("evicted", 64*mib))
	v.use(t, false)
	n.sh(t, "echo kept >"+v.target+"/f; sync")
	if err := n.Start(t.Context(), "pod", agent.Command{Args: []string{"sh", "-c", "exec sleep 1000 <" + v.target + "/f"}}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Signal(t.Context(), "pod", 9); err != nil {
			t.Error(err)
		}
	}()
	health := func() (*csi.VolumeHealth, error) {
		resp, err := n.NodeGetVolumeHealth(bounded(t), &csi.NodeGetVolumeHealthRequest{VolumeId: v.GetVolumeId(), StagingTargetPath: v.staging, VolumePublishPath: v.target})
		return resp.GetVolumeHealth(), err
	}
	if h, err := health(); err != nil || len(h.GetHealthStatuses()) > 0 {
		t.Fatalf("before: %v, %v", h, err)
	}
	n.cluster.evictKernelClient(t, v.GetVolumeContext()["path"])
	n.sh(t, "i=0; while ls "+v.target+" >/dev/null 2>&1; do i=$((i+1)); [ $i -lt 200 ]; usleep 100000; done")
	if h, err := health(); err != nil || len(h.GetHealthStatuses()) == 0 {
		t.Errorf("health after the eviction: %v, %v", h, err)
	}

	if err := v.stage(t); err != nil {
		t.Fatalf("stage after the eviction: %v", err)
	}
	if got := n.sh(t, "cat "+v.staging+"/f"); got != "kept" {
		t.Errorf("at the staging path: %q", got)
	}
	if err := v.publish(t, false); err != nil {
		t.Fatalf("publish after the eviction: %v", err)
	}
	if got := n.sh(t, "cat "+v.target+"/f; echo new >"+v.target+"/g; sync; cat "+v.target+"/g"); got != "kept\nnew" {
		t.Errorf("at the pod's path: %q", got)
	}
	if got := n.sh(t, "grep -c "+filepath.Dir(v.staging)+" /proc/self/mounts"); got != "2" {
		t.Errorf("%s mounts: the dead ones are still there", got)
	}
	if h, err := health(); err != nil || len(h.GetHealthStatuses()) > 0 {
		t.Errorf("health after the repair: %v, %v", h, err)
	}
}

func (n *csiNode) testKilled(t *testing.T) {
	v := n.create(t, harness.Request("killed", 64*mib))
	v.use(t, false)
	if err := n.Start(t.Context(), "writer", agent.Command{Args: []string{"sh", "-ec", "i=0; while [ ! -e /tmp/stop ]; do echo $i >>" + v.target + "/log; sync; i=$((i+1)); done"}}); err != nil {
		t.Fatal(err)
	}
	lines := func() string { return n.sh(t, "wc -l <"+v.target+"/log") }
	harness.Eventually(t, "the writer writes", harness.Patience, func() error { _, err := n.Run(t.Context(), "test", "-s", v.target+"/log"); return err })
	if err := n.Signal(t.Context(), nodeName, 9); err != nil {
		t.Fatal(err)
	}
	if code, err := n.Wait(t.Context(), nodeName); err != nil || code != 137 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	before := lines()
	harness.Eventually(t, "the writer goes on", harness.Patience, func() error {
		if now := lines(); now == before {
			return fmt.Errorf("still %s lines", now)
		}
		return nil
	})
	n.start(t)
	if err := v.stage(t); err != nil {
		t.Errorf("stage again: %v", err)
	}
	if err := v.publish(t, false); err != nil {
		t.Errorf("publish again: %v", err)
	}
	n.sh(t, "touch /tmp/stop")
	if code, err := n.Wait(t.Context(), "writer"); err != nil || code != 0 {
		log, _ := n.Log(t.Context(), "writer")
		t.Errorf("the writer ended with %d, %v: %s", code, err, log)
	}
}

// testBothKinds has writers on one volume on a node with the kernel's client and on one with ceph-fuse.
func (n *csiNode) testBothKinds(t *testing.T) {
	v := n.create(t, harness.Request("both", 512*mib))
	v.use(t, false)
	// The host's kernel may have the client too.
	fused := proto.CloneOf(v.Volume)
	fused.VolumeContext["mounter"] = "fuse"
	other := harness.NewNode(t, n.cluster.Ceph, "fuse-node")
	host := other.Mount(fused, "both", harness.RWX)
	defer other.Unmount(fused, "both")

	const writers, rounds = 4, 5
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			r, err := n.Exec(t.Context(), agent.Command{Args: []string{"sh", "-ec",
				fmt.Sprintf("for i in $(seq %d); do dd if=/dev/urandom bs=64k count=16 conv=fsync 2>/dev/null >>%s/kernel-%d; done", rounds, v.target, w)}})
			if err != nil || r.Code != 0 {
				t.Errorf("writer %d with the kernel's client: %v %s", w, err, r.Stderr)
			}
		})
		wg.Go(func() {
			if err := appendBlocks(filepath.Join(host, fmt.Sprintf("fuse-%d", w)), rounds, mib); err != nil {
				t.Errorf("writer %d with ceph-fuse: %v", w, err)
			}
		})
	}
	wg.Wait()
	for w := range writers {
		for _, name := range []string{fmt.Sprintf("kernel-%d", w), fmt.Sprintf("fuse-%d", w)} {
			here := sha256File(t, filepath.Join(host, name))
			out := n.sh(t, fmt.Sprintf("sha256sum %s/%s; stat -c %%s %[1]s/%[2]s", v.target, name))
			if !strings.HasPrefix(out, here) || !strings.HasSuffix(out, fmt.Sprint(rounds*mib)) {
				t.Errorf("%s: ceph-fuse reads %s, the kernel's client %s", name, here, out)
			}
		}
	}
}

func (n *csiNode) testNoFuse(t *testing.T) {
	v := n.create(t, harness.Request("fuse", 64*mib, "mounter", "fuse"))
	err := v.stage(t)
	if c := status.Code(err); c != codes.FailedPrecondition && c != codes.Unavailable {
		t.Errorf("code %s", c)
	}
	if err == nil || !strings.Contains(err.Error(), "mountd") {
		t.Errorf("the error does not name what is missing: %v", err)
	}
}

// appendBlocks appends rounds blocks of size bytes, each made of the hash of its number.
func appendBlocks(path string, rounds, size int) error {
	for i := range rounds {
		f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(fmt.Sprint(path, i)))
		block := strings.Repeat(hex.EncodeToString(sum[:]), size/64)
		if _, err := f.WriteString(block); err != nil {
			_ = f.Close()
			return err
		}
		if err := f.Close(); err != nil {
			return err
		}
	}
	return nil
}
