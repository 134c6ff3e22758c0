package integration

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/strata-csi/strata/tests/harness"
)

// TestVolumeServedFromSnapshot: a read-only volume of a snapshot is the snapshot, not a copy of it.
func TestVolumeServedFromSnapshot(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	root := ceph.RootMount(t)
	source := create(t, c, harness.Request("pvc-source", 64*mib, "team", "red"))
	fill(t, dataPath(root, source), 4)
	want := tree(t, dataPath(root, source))
	taken := snapshot(t, c, "taken", source)
	before := ceph.Subvolumes(t, c.Prefix)

	req := readOnly(from(harness.Request("pvc-view", 0, "team", "red"), taken))
	view := create(t, c, req)
	if again := create(t, c, req); !proto.Equal(again, view) {
		t.Errorf("the repeated request got %v, the first %v", again, view)
	}
	if !strings.HasSuffix(view.GetVolumeId(), ":ro") || view.GetVolumeContext()["readOnly"] != "true" || view.GetCapacityBytes() != 64*mib {
		t.Errorf("got %v", view)
	}
	if got := ceph.Subvolumes(t, c.Prefix); !slices.Equal(got, before) {
		t.Errorf("subvolumes %v, before %v", got, before)
	}
	shown := func(t *testing.T) {
		t.Helper()
		wantTree(t, tree(t, dataPath(root, view)), want)
	}
	shown(t)
	if got, err := c.ControllerGetVolume(call(t), &csi.ControllerGetVolumeRequest{VolumeId: view.GetVolumeId()}); err != nil ||
		got.GetVolume().GetCapacityBytes() != view.GetCapacityBytes() || !proto.Equal(got.GetVolume().GetContentSource(), view.GetContentSource()) {
		t.Errorf("get: %v, %v", got, err)
	}

	t.Run("its name is taken", func(t *testing.T) {
		_, err := c.CreateVolume(call(t), harness.Request("pvc-view", 64*mib, "team", "red"))
		wantCode(t, err, codes.AlreadyExists)
		_, err = c.CreateVolume(call(t), readOnly(from(harness.Request("pvc-source", 0, "team", "red"), taken)))
		wantCode(t, err, codes.AlreadyExists)
		other := snapshot(t, c, "other", source)
		_, err = c.CreateVolume(call(t), readOnly(from(harness.Request("pvc-view", 0, "team", "red"), other)))
		wantCode(t, err, codes.AlreadyExists)
		unsnapshot(t, c, other)
	})
	t.Run("it neither grows nor is copied nor snapshotted", func(t *testing.T) {
		_, err := c.ControllerExpandVolume(call(t), &csi.ControllerExpandVolumeRequest{VolumeId: view.GetVolumeId(),
			CapacityRange: &csi.CapacityRange{RequiredBytes: 128 * mib}})
		wantCode(t, err, codes.InvalidArgument)
		_, err = c.CreateSnapshot(call(t), snapshotRequest("of-view", view))
		wantCode(t, err, codes.InvalidArgument)
		_, err = c.CreateVolume(call(t), from(harness.Request("of-view", 64*mib, "team", "red"), view))
		wantCode(t, err, codes.InvalidArgument)
		wantText(t, err, taken.GetSnapshotId())
	})
	t.Run("its snapshot can't be deleted", func(t *testing.T) {
		_, err := c.DeleteSnapshot(call(t), &csi.DeleteSnapshotRequest{SnapshotId: taken.GetSnapshotId()})
		wantCode(t, err, codes.FailedPrecondition)
		wantText(t, err, "pvc-view")
		shown(t)
	})
	t.Run("it outlives the volume the snapshot was taken of", func(t *testing.T) {
		remove(t, c, source)
		shown(t)
		resp, err := c.ValidateVolumeCapabilities(call(t), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: view.GetVolumeId(),
			VolumeCapabilities: harness.Capabilities(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)})
		if err != nil || resp.GetConfirmed() == nil {
			t.Errorf("got %v, %v", resp, err)
		}
		if got := listVolumes(t, c, &csi.ListVolumesRequest{}, nil); len(got) != 1 || got[0].GetVolumeId() != view.GetVolumeId() {
			t.Errorf("listed: %v", got)
		}
		second := create(t, c, readOnly(from(harness.Request("pvc-second", 0), taken)))
		remove(t, c, second, second)
		shown(t)
	})
	remove(t, c, view, view)
	if _, err := os.Stat(dataPath(root, view)); err != nil {
		t.Errorf("the snapshot went with the volume: %v", err)
	}
	unsnapshot(t, c, taken)
	wantNothingLeft(t, ceph, root, c.Prefix)
}
