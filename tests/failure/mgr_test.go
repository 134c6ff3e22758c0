package failure

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/tests/harness"
)

// patience is a caller's deadline; that of external-provisioner is 15 s too.
const patience = 15 * time.Second

// TestManagerLost: without the manager nothing new is made, and everything that exists works.
func TestManagerLost(t *testing.T) {
	ceph := harness.NewCeph(t)
	whole(t, ceph)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	n := harness.NewNode(t, ceph, "node-a")
	within := func(d time.Duration) context.Context {
		ctx, cancel := context.WithTimeout(context.Background(), d)
		t.Cleanup(cancel)
		return ctx
	}
	// Nothing that works may seem not to because the machine is busy.
	ask := func() context.Context { return within(2 * time.Minute) }
	must := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	made, err := c.CreateVolume(ask(), harness.Request("before", 64*mib))
	must("create", err)
	v := made.GetVolume()
	at := n.Mount(v, "before", harness.RWX)
	must("write", durable(filepath.Join(at, "file"), []byte("before")))
	n.Unmount(v, "before")
	taken, err := c.CreateSnapshot(ask(), &csi.CreateSnapshotRequest{Name: "before", SourceVolumeId: v.GetVolumeId()})
	must("snapshot", err)

	ceph.Daemon(t, "kill", "mgr.x")
	t.Cleanup(func() { ceph.Daemon(t, "start", "mgr.x") })

	// What needs the manager says so while its caller still listens.
	unavailable := func(what string, err error) {
		t.Helper()
		if status.Code(err) != codes.Unavailable {
			t.Errorf("%s without a manager: %v, want %s", what, err, codes.Unavailable)
		}
	}
	_, err = c.CreateVolume(within(patience), harness.Request("during", 64*mib))
	unavailable("create", err)
	_, err = c.CreateSnapshot(within(patience), &csi.CreateSnapshotRequest{Name: "during", SourceVolumeId: v.GetVolumeId()})
	unavailable("snapshot", err)

	// An existing volume is staged and published, measured, grown, listed, and looked at.
	at = n.Mount(v, "before", harness.RWX)
	if got, err := os.ReadFile(filepath.Join(at, "file")); err != nil || string(got) != "before" {
		t.Errorf("read %q, %v", got, err)
	}
	must("write", durable(filepath.Join(at, "during"), make([]byte, mib)))
	_, err = n.NodeGetVolumeStats(ask(), &csi.NodeGetVolumeStatsRequest{VolumeId: v.GetVolumeId(), VolumePath: at})
	must("stats", err)
	n.Unmount(v, "before")
	_, err = c.ControllerExpandVolume(ask(), &csi.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: 128 * mib}})
	must("grow", err)
	again, err := c.CreateVolume(ask(), harness.Request("before", 64*mib))
	must("the request that made it", err)
	if again.GetVolume().GetVolumeId() != v.GetVolumeId() {
		t.Errorf("got %v", again)
	}
	list, err := c.ListVolumes(ask(), &csi.ListVolumesRequest{})
	must("list", err)
	if len(list.GetEntries()) != 1 {
		t.Errorf("listed: %v", list)
	}
	view := harness.Request("view", 0)
	view.VolumeCapabilities = harness.Capabilities(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)
	view.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: taken.GetSnapshot().GetSnapshotId()}}}
	served, err := c.CreateVolume(ask(), view)
	must("serve the snapshot", err)

	ceph.Daemon(t, "start", "mgr.x")
	var during *csi.Volume
	harness.Eventually(t, "volumes are made again", recovery, func() error {
		resp, err := c.CreateVolume(ask(), harness.Request("during", 64*mib))
		during = resp.GetVolume()
		return err
	})
	// A sidecar repeats what was unavailable: it may have been done since.
	harness.Eventually(t, "snapshots are taken again", recovery, func() error {
		_, err := c.CreateSnapshot(ask(), &csi.CreateSnapshotRequest{Name: "during", SourceVolumeId: v.GetVolumeId()})
		return err
	})
	for _, gone := range []*csi.Volume{served.GetVolume(), during, v} {
		_, err := c.DeleteVolume(ask(), &csi.DeleteVolumeRequest{VolumeId: gone.GetVolumeId()})
		must("delete", err)
	}
	snapshots, err := c.ListSnapshots(ask(), &csi.ListSnapshotsRequest{})
	must("list snapshots", err)
	for _, s := range snapshots.GetEntries() {
		_, err := c.DeleteSnapshot(ask(), &csi.DeleteSnapshotRequest{SnapshotId: s.GetSnapshot().GetSnapshotId()})
		must("delete the snapshot", err)
	}
	whole(t, ceph)
	harness.Eventually(t, "nothing is left", recovery, func() error {
		if left := ceph.Subvolumes(t, c.Prefix); len(left) > 0 {
			return fmt.Errorf("there are %v", left)
		}
		return nil
	})
}
