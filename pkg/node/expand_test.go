package node

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

func (f *localFixture) expand(t *testing.T, r *csi.NodeExpandVolumeRequest) (int64, error) {
	t.Helper()
	got, err := f.NodeExpandVolume(t.Context(), r)
	return got.GetCapacityBytes(), err
}

func (f *localFixture) total(t *testing.T, id, path string) int64 {
	t.Helper()
	got, err := f.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: id, VolumePath: path})
	wantError(t, err, nil)
	return got.GetUsage()[0].GetTotal()
}

func TestExpand(t *testing.T) {
	to := &csi.CapacityRange{RequiredBytes: 4 << 20}
	for name, c := range map[string]*csi.VolumeCapability{"files": capability(rwo), "block": block(rwo)} {
		t.Run(name, func(t *testing.T) {
			f := newLocalFixture(t)
			stage, publish := f.blockStage(), f.blockPublish()
			stage.VolumeCapability, publish.VolumeCapability = c, c
			wantError(t, f.stageWith(t, stage), nil)
			wantError(t, f.publishWith(t, publish), nil)
			for _, given := range []*csi.VolumeCapability{nil, c} {
				n, err := f.expand(t, &csi.NodeExpandVolumeRequest{
					VolumeId: local, VolumePath: f.target, StagingTargetPath: f.staging, CapacityRange: to, VolumeCapability: given})
				if err != nil || n != 4<<20 || f.total(t, local, f.target) != 4<<20 {
					t.Errorf("got %d, %v", n, err)
				}
			}
			other := map[string]*csi.VolumeCapability{"files": block(rwo), "block": capability(rwo)}[name]
			_, err := f.expand(t, &csi.NodeExpandVolumeRequest{VolumeId: local, VolumePath: f.target, CapacityRange: to, VolumeCapability: other})
			wantError(t, err, volume.ErrInvalid)
			wantError(t, f.unpublish(t, local, f.target), nil)
			wantError(t, f.unstage(t, local), nil)
			f.nothing(t)
		})
	}
	t.Run("of a tier that grows by itself", func(t *testing.T) {
		f := newLocalFixture(t)
		f.stage(t)
		f.publish(t)
		n, err := f.expand(t, &csi.NodeExpandVolumeRequest{VolumeId: id, VolumePath: f.target, CapacityRange: to, VolumeCapability: capability(rwx)})
		if err != nil || n != 1<<20 {
			t.Errorf("got %d, %v", n, err)
		}
		_, err = f.expand(t, &csi.NodeExpandVolumeRequest{VolumeId: id, VolumePath: f.target, VolumeCapability: block(rwo)})
		wantError(t, err, volume.ErrInvalid)
	})
	t.Run("on a node without such a tier", func(t *testing.T) {
		f := newFixture(t)
		_, err := f.NodeExpandVolume(t.Context(), &csi.NodeExpandVolumeRequest{VolumeId: id, VolumePath: f.target})
		wantError(t, err, volume.ErrUnsupported)
	})
}

func TestExpandOfWhatIsNotThere(t *testing.T) {
	f := newLocalFixture(t)
	stage := f.blockStage()
	stage.VolumeCapability = capability(rwo)
	wantError(t, f.stageWith(t, stage), nil)
	stranger := t.TempDir()
	mountpointtest.TmpFS(t, stranger)
	for name, c := range map[string]struct {
		request *csi.NodeExpandVolumeRequest
		want    error
	}{
		"no id":                  {&csi.NodeExpandVolumeRequest{VolumePath: f.staging}, volume.ErrInvalid},
		"no path":                {&csi.NodeExpandVolumeRequest{VolumeId: local}, volume.ErrInvalid},
		"a relative path":        {&csi.NodeExpandVolumeRequest{VolumeId: local, VolumePath: "some/path"}, volume.ErrNotFound},
		"an id that can't be":    {&csi.NodeExpandVolumeRequest{VolumeId: "x", VolumePath: f.staging}, volume.ErrNotFound},
		"another volume":         {&csi.NodeExpandVolumeRequest{VolumeId: "scratch:b", VolumePath: f.staging}, volume.ErrNotFound},
		"nothing mounted":        {&csi.NodeExpandVolumeRequest{VolumeId: local, VolumePath: f.target}, volume.ErrNotFound},
		"a stranger's mount":     {&csi.NodeExpandVolumeRequest{VolumeId: local, VolumePath: stranger}, volume.ErrNotFound},
		"a limit below the size": {&csi.NodeExpandVolumeRequest{VolumeId: local, VolumePath: f.staging, CapacityRange: &csi.CapacityRange{RequiredBytes: 2, LimitBytes: 1}}, volume.ErrOutOfRange},
		"a negative size":        {&csi.NodeExpandVolumeRequest{VolumeId: local, VolumePath: f.staging, CapacityRange: &csi.CapacityRange{RequiredBytes: -1}}, volume.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.expand(t, c.request)
			wantError(t, err, c.want)
		})
	}
	if n := f.total(t, local, f.staging); n != 2<<20 {
		t.Errorf("the volume has %d bytes", n)
	}
	wantError(t, f.unstage(t, local), nil)
}

func TestCapabilitiesAndTopologyAreThoseOfTheTiers(t *testing.T) {
	f := newLocalFixture(t)
	one := func(t *testing.T, c Config, s tier.Stager) *Server {
		t.Helper()
		c.Tiers = tier.Nodes{}
		c.Tiers.Register(volume.Scratch, s)
		c.Locks, c.Unmounter = new(keylock.Locks), f.unmounter
		server, err := New(c)
		wantError(t, err, nil)
		return server
	}
	always := []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME, csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP,
	}
	looks := append(always[:3:3], csi.NodeServiceCapability_RPC_GET_VOLUME_STATS, csi.NodeServiceCapability_RPC_GET_VOLUME_HEALTH)
	for name, c := range map[string]struct {
		server   *Server
		has      []csi.NodeServiceCapability_RPC_Type
		topology map[string]string
	}{
		"a tier that only stages":     {one(t, Config{NodeID: "n:1"}, bare{f.stager}), always, nil},
		"one that looks":              {one(t, Config{NodeID: "n1"}, f.stager), looks, nil},
		"with topology":               {one(t, Config{NodeID: "n1", Topology: true}, f.stager), looks, map[string]string{tier.NodeKey: "n1"}},
		"local disks and another one": {f.Server, append(looks[:5:5], csi.NodeServiceCapability_RPC_EXPAND_VOLUME), map[string]string{tier.NodeKey: "n1", "csi.strata.dev/scratch-loop": "true"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := c.server.NodeGetCapabilities(t.Context(), &csi.NodeGetCapabilitiesRequest{})
			wantError(t, err, nil)
			has := map[csi.NodeServiceCapability_RPC_Type]bool{}
			for _, c := range got.GetCapabilities() {
				has[c.GetRpc().GetType()] = true
			}
			for _, want := range c.has {
				if !has[want] {
					t.Errorf("%v isn't there", want)
				}
			}
			if len(has) != len(c.has) || len(got.GetCapabilities()) != len(has) {
				t.Errorf("got %v, want %v", got, c.has)
			}
			info, err := c.server.NodeGetInfo(t.Context(), &csi.NodeGetInfoRequest{})
			wantError(t, err, nil)
			segments := info.GetAccessibleTopology().GetSegments()
			if len(segments) != len(c.topology) || (info.GetAccessibleTopology() == nil) != (c.topology == nil) {
				t.Errorf("got %v, want %v", segments, c.topology)
			}
			for k, v := range c.topology {
				if segments[k] != v {
					t.Errorf("%s is %q, want %q", k, segments[k], v)
				}
			}
		})
	}
	for name, c := range map[string]Config{
		"an id that is no label":         {NodeID: "n:1", Tiers: f.tiers},
		"the same, with topology":        {NodeID: "n:1", Topology: true, Tiers: tier.Nodes{volume.Warm: f.tiers[volume.Warm]}},
		"a tier that says another node":  {NodeID: "n1", Tiers: tier.Nodes{volume.Scratch: {Stager: f.disks, SegmentReporter: segment{tier.NodeKey: "n2"}}}},
		"a key that is no topology's":    {NodeID: "n1", Tiers: tier.Nodes{volume.Scratch: {Stager: f.disks, SegmentReporter: segment{"a/b/c": "x"}}}},
		"two tiers that say two things":  {NodeID: "n1", Tiers: tier.Nodes{volume.Scratch: {Stager: f.disks, SegmentReporter: segment{"rack": "1"}}, volume.Cold: {Stager: f.disks, SegmentReporter: segment{"rack": "2"}}}},
		"an id that is long for a label": {NodeID: strings.Repeat("n", 64), Tiers: f.tiers},
	} {
		t.Run(name, func(t *testing.T) {
			c.Locks, c.Unmounter = f.locks, f.unmounter
			_, err := New(c)
			wantError(t, err, volume.ErrInvalid)
		})
	}
}

// bare hides what a Stager can do besides.
type bare struct{ tier.Stager }

// segment reports itself.
type segment volume.Segment

func (s segment) Segment() volume.Segment { return volume.Segment(s) }
