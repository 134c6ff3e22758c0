package node

// What the tests of local volumes have in common: a node with two tiers, of which one keeps its volumes on the node's own disks.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/tier/tiertest"
	"github.com/strata-csi/strata/pkg/volume"
)

const local = "scratch:a"

// inlineVolume is an id as kubelet makes it.
var inlineVolume = "csi-" + strings.Repeat("0a", 32)

// localFixture is a fixture whose node has a tier of local disks too.
type localFixture struct {
	*fixture
	disks *tiertest.Local
}

func newLocalFixture(t *testing.T) *localFixture {
	t.Helper()
	f := &localFixture{fixture: newFixture(t)}
	f.disks = tiertest.NewLocal(t.TempDir())
	f.again(t)
	t.Cleanup(func() { // no loop device may outlive the test
		ids, err := f.disks.Volumes()
		if err != nil {
			t.Error(err)
		}
		for _, id := range ids {
			if err := f.disks.Unstage(t.Context(), volume.ID(id), f.staging); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		}
	})
	return f
}

// again replaces the Server by one that knows nothing of what it did.
func (f *localFixture) again(t *testing.T) {
	t.Helper()
	nodes := tier.Nodes{}
	nodes.Register(volume.Warm, f.stager)
	nodes.Register(volume.Scratch, f.disks)
	s, err := New(Config{NodeID: "n1", Tiers: nodes, Locks: new(keylock.Locks), Unmounter: mountpoint.NewUnmounter(mountpoint.NewProber(0))})
	if err != nil {
		t.Fatal(err)
	}
	f.Server = s
}

// nothing checks that neither a volume nor a mount nor a target is left.
func (f *localFixture) nothing(t *testing.T, paths ...string) {
	t.Helper()
	if ids, err := f.disks.Volumes(); err != nil || len(ids) > 0 {
		t.Errorf("volumes left: %q, %v", ids, err)
	}
	for _, p := range append(paths, f.target) {
		if stacked(t, p) > 0 {
			t.Errorf("a mount is left at %s", p)
		}
		if _, err := os.Lstat(p); !os.IsNotExist(err) {
			t.Errorf("%s is left: %v", p, err)
		}
	}
}

func (f *localFixture) inlineRequest() *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{
		VolumeId: inlineVolume, TargetPath: f.target, VolumeCapability: capability(csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER),
		VolumeContext: map[string]string{
			ephemeral: "true", podName: "p", podNamespace: "ns", podUID: "u", serviceAccount: "default", tokens: "eyJ-secret", "size": "2097152",
		},
	}
}

func block(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

const rwo = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER

func (f *localFixture) blockStage() *csi.NodeStageVolumeRequest {
	return &csi.NodeStageVolumeRequest{
		VolumeId: local, StagingTargetPath: f.staging, VolumeCapability: block(rwo), VolumeContext: map[string]string{"size": "2097152"},
	}
}

func (f *localFixture) blockPublish() *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{
		VolumeId: local, StagingTargetPath: f.staging, TargetPath: f.target, VolumeCapability: block(rwo), VolumeContext: map[string]string{"size": "2097152"},
	}
}

func (f *localFixture) stageWith(t *testing.T, r *csi.NodeStageVolumeRequest) error {
	t.Helper()
	_, err := f.NodeStageVolume(t.Context(), r)
	return err
}

func (f *localFixture) publishWith(t *testing.T, r *csi.NodePublishVolumeRequest) error {
	t.Helper()
	_, err := f.NodePublishVolume(t.Context(), r)
	return err
}

func (f *localFixture) unstage(t *testing.T, id string) error {
	t.Helper()
	_, err := f.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: f.staging})
	return err
}

func write(t *testing.T, path string) error {
	t.Helper()
	return os.WriteFile(filepath.Join(path, "x"), []byte("x"), 0o600)
}
