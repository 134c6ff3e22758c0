package node

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/tier/tiertest"
	"github.com/strata-csi/strata/pkg/volume"
)

const id = "warm:lab:fs:team:vol"

// fixture is a Server on the real mount table with a fake backend, and a node's directories.
type fixture struct {
	*Server
	stager          *tiertest.Stager
	staging, target string
	secrets         map[string]string
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	mountpointtest.RequireRoot(t)
	dir := t.TempDir()
	f := &fixture{
		stager: tiertest.New(), staging: filepath.Join(dir, "globalmount"), target: filepath.Join(dir, "pod", "mount"),
		secrets: map[string]string{"token": "t"},
	}
	for _, d := range []string{f.staging, filepath.Dir(f.target)} {
		if err := os.Mkdir(d, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		table, err := mountpoint.Read()
		if err != nil {
			t.Error(err)
		}
		for _, p := range table.Below(dir).Paths() {
			if err := unix.Unmount(p, unix.MNT_DETACH); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	})
	f.Server = f.restart(t)
	return f
}

// restart returns a Server that knows nothing of what another one did.
func (f *fixture) restart(t *testing.T) *Server {
	t.Helper()
	nodes := tier.Nodes{}
	nodes.Register(volume.Warm, f.stager)
	s, err := New(Config{NodeID: "n1", Tiers: nodes, Locks: new(keylock.Locks), Unmounter: mountpoint.NewUnmounter(mountpoint.NewProber(0))})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func capability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

const rwx = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER

func (f *fixture) stageRequest() *csi.NodeStageVolumeRequest {
	return &csi.NodeStageVolumeRequest{VolumeId: id, StagingTargetPath: f.staging, VolumeCapability: capability(rwx), Secrets: f.secrets}
}

func (f *fixture) publishRequest() *csi.NodePublishVolumeRequest {
	return &csi.NodePublishVolumeRequest{VolumeId: id, StagingTargetPath: f.staging, TargetPath: f.target, VolumeCapability: capability(rwx)}
}

func (f *fixture) stage(t *testing.T) {
	t.Helper()
	if _, err := f.NodeStageVolume(t.Context(), f.stageRequest()); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) publish(t *testing.T) {
	t.Helper()
	if _, err := f.NodePublishVolume(t.Context(), f.publishRequest()); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) unpublish(t *testing.T, id, path string) error {
	t.Helper()
	_, err := f.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: id, TargetPath: path})
	return err
}

// stacked is how many mounts are at path.
func stacked(t *testing.T, path string) int {
	t.Helper()
	m, ok, err := mountpoint.Find(path)
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return 0
	}
	return m.Stacked
}

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if want == nil && err != nil || !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func TestLifeOfAVolume(t *testing.T) {
	f := newFixture(t)
	for range 3 {
		f.stage(t)
		f.Server = f.restart(t)
	}
	for range 3 {
		f.publish(t)
		f.Server = f.restart(t)
	}
	if n, m := stacked(t, f.staging), stacked(t, f.target); n != 1 || m != 1 {
		t.Errorf("%d mounts at the staging path and %d at the target", n, m)
	}
	if err := os.WriteFile(filepath.Join(f.target, "data"), []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(f.staging, "data")); err != nil || string(got) != "hello" {
		t.Errorf("read %q, %v through the staging path", got, err)
	}
	for range 3 {
		wantError(t, f.unpublish(t, id, f.target), nil)
		f.Server = f.restart(t)
	}
	if _, err := os.Lstat(f.target); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the target path is still there: %v", err)
	}
	for range 3 {
		_, err := f.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: f.staging})
		wantError(t, err, nil)
	}
	if stacked(t, f.staging) != 0 {
		t.Error("still staged")
	}
	if _, err := os.Stat(f.staging); err != nil {
		t.Errorf("the staging directory is the orchestrator's: %v", err)
	}
}

func TestTenIdenticalCallsAtOnceMakeOneMount(t *testing.T) {
	f := newFixture(t)
	atOnce := func(call func() error) {
		t.Helper()
		errs := make(chan error)
		for range 10 {
			go func() { errs <- call() }()
		}
		for range 10 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
	}
	atOnce(func() error { _, err := f.NodeStageVolume(t.Context(), f.stageRequest()); return err })
	atOnce(func() error { _, err := f.NodePublishVolume(t.Context(), f.publishRequest()); return err })
	if n, m := stacked(t, f.staging), stacked(t, f.target); n != 1 || m != 1 {
		t.Errorf("%d mounts at the staging path and %d at the target", n, m)
	}
	atOnce(func() error { return f.unpublish(t, id, f.target) })
}

func TestASecondOperationSaysWhichOneRuns(t *testing.T) {
	f := newFixture(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	f.stager.OnStage(func(context.Context) { close(entered); <-leave })
	done := make(chan error)
	go func() { _, err := f.NodeStageVolume(t.Context(), f.stageRequest()); done <- err }()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := f.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: id, StagingTargetPath: f.staging})
	wantError(t, err, volume.ErrPending)
	if !strings.Contains(err.Error(), "NodeStageVolume") {
		t.Errorf("%q doesn't name the operation", err)
	}
	// Another volume isn't held up, unless it is asked for at the same path.
	other := f.publishRequest()
	other.VolumeId = id + "2"
	_, err = f.NodePublishVolume(t.Context(), other)
	wantError(t, err, volume.ErrPrecondition)
	stage := f.stageRequest()
	stage.VolumeId = id + "2"
	ctx2, cancel2 := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel2()
	_, err = f.NodeStageVolume(ctx2, stage)
	wantError(t, err, volume.ErrPending)
	close(leave)
	wantError(t, <-done, nil)
}

func TestNodeInfo(t *testing.T) {
	f := newFixture(t)
	info, err := f.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
	if err != nil || info.GetNodeId() != "n1" {
		t.Errorf("got %v, %v", info, err)
	}
	for _, bad := range []string{"", strings.Repeat("n", MaxNodeIDLength+1)} {
		_, err := New(Config{NodeID: bad, Tiers: f.tiers, Locks: f.locks, Unmounter: f.unmounter})
		wantError(t, err, volume.ErrInvalid)
	}
	caps, err := f.NodeGetCapabilities(t.Context(), &csi.NodeGetCapabilitiesRequest{})
	if err != nil || len(caps.GetCapabilities()) != 5 {
		t.Errorf("got %v, %v", caps, err)
	}
}
