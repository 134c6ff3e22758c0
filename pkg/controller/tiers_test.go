package controller_test

// What the service makes of the interfaces that its tiers have, and of those that they lack.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/controller"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// plain is a tier that only makes volumes.
type plain struct {
	specs    []volume.Spec
	segments []volume.Segment // of every volume
}

func (p *plain) Create(_ context.Context, spec volume.Spec) (volume.Volume, error) {
	p.specs = append(p.specs, spec)
	return volume.Volume{ID: "scratch:a", Segments: p.segments}, nil
}
func (p *plain) Delete(context.Context, volume.ID) error { return nil }
func (p *plain) Get(_ context.Context, id volume.ID) (volume.Volume, error) {
	return volume.Volume{ID: id, Segments: p.segments}, nil
}
func (p *plain) CheckParameters(map[string]string) error { return nil }

// local is a tier of one node's disks: block devices too, nothing shared, room by segment.
type local struct {
	plain
	room map[string]volume.Capacity // by the value of tier.NodeKey, "" for all
}

func (l *local) CheckAccess(a volume.Access) error {
	if a.MultiNode {
		return fmt.Errorf("%w: one node at a time", volume.ErrInvalid)
	}
	return nil
}
func (l *local) Expand(_ context.Context, _ volume.ID, size volume.CapacityRange) (int64, bool, error) {
	return size.Required, true, nil
}
func (l *local) Capacity(_ context.Context, _ map[string]string, s volume.Segment) (volume.Capacity, error) {
	return l.room[s[tier.NodeKey]], nil
}

func serving(tiers map[volume.Tier]tier.Provisioner) *controller.Server {
	c := tier.Controllers{}
	for t, p := range tiers {
		c.Register(t, p)
	}
	return controller.New(c)
}

const (
	swo = csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER
	sro = csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY
	mwo = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
)

func asBlock(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

func asFiles(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

func request(c ...*csi.VolumeCapability) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{Name: "n", VolumeCapabilities: c, Parameters: map[string]string{"tier": "scratch"}}
}

func TestCapabilitiesAreThoseOfTheTiers(t *testing.T) {
	always := []string{"CREATE_DELETE_VOLUME", "GET_VOLUME", "SINGLE_NODE_MULTI_WRITER"}
	for _, c := range []struct {
		name  string
		tiers map[volume.Tier]tier.Provisioner
		want  []string
	}{
		{"only volumes", map[volume.Tier]tier.Provisioner{volume.Scratch: &plain{}}, always},
		{"room and growth", map[volume.Tier]tier.Provisioner{volume.Scratch: &local{}}, append([]string{"GET_CAPACITY", "EXPAND_VOLUME"}, always...)},
		{"two tiers", map[volume.Tier]tier.Provisioner{volume.Scratch: &local{}, volume.Warm: &backend{}},
			append([]string{"GET_CAPACITY", "EXPAND_VOLUME", "LIST_VOLUMES", "GET_VOLUME_HEALTH", "LIST_VOLUME_HEALTH"}, always...)},
		{"snapshots", map[volume.Tier]tier.Provisioner{volume.Warm: &snapshots{}},
			append([]string{"CREATE_DELETE_SNAPSHOT", "LIST_SNAPSHOTS", "GET_SNAPSHOT", "CLONE_VOLUME"}, always...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := serving(c.tiers).ControllerGetCapabilities(t.Context(), &csi.ControllerGetCapabilitiesRequest{})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, c := range got.GetCapabilities() {
				names = append(names, c.GetRpc().GetType().String())
			}
			slices.Sort(names)
			slices.Sort(c.want)
			if !slices.Equal(names, c.want) {
				t.Errorf("got %q, want %q", names, c.want)
			}
		})
	}
}

// snapshots is a tier whose volumes begin with something.
type snapshots struct {
	plain
	tier.Snapshotter
}

func TestWhatNoTierHasIsUnsupported(t *testing.T) {
	s := serving(map[volume.Tier]tier.Provisioner{volume.Scratch: &plain{}})
	ctx := t.Context()
	for name, call := range map[string]func() error{
		"ListVolumes":   func() error { _, err := s.ListVolumes(ctx, &csi.ListVolumesRequest{}); return err },
		"GetCapacity":   func() error { _, err := s.GetCapacity(ctx, &csi.GetCapacityRequest{}); return err },
		"ListSnapshots": func() error { _, err := s.ListSnapshots(ctx, &csi.ListSnapshotsRequest{}); return err },
		"the health of all": func() error {
			_, err := s.ControllerListVolumeHealth(ctx, &csi.ControllerListVolumeHealthRequest{})
			return err
		},
		"the health of one": func() error {
			_, err := s.ControllerGetVolumeHealth(ctx, &csi.ControllerGetVolumeHealthRequest{VolumeId: "scratch:a"})
			return err
		},
		"CreateSnapshot": func() error {
			_, err := s.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "n", SourceVolumeId: "scratch:a"})
			return err
		},
		"ControllerExpandVolume": func() error {
			_, err := s.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: "scratch:a", CapacityRange: &csi.CapacityRange{RequiredBytes: 1}})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			if err := call(); !errors.Is(err, volume.ErrUnsupported) {
				t.Errorf("got %v", err)
			}
		})
	}
	r := request(asFiles(swo))
	r.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: "scratch:b"}}}
	if _, err := s.CreateVolume(ctx, r); !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), "dataSource") {
		t.Errorf("a copy: got %v", err)
	}
}

func TestAccessThatATierDoesNotOffer(t *testing.T) {
	for _, c := range []struct {
		name  string
		asked *csi.VolumeCapability
		says  map[volume.Tier]string // "" for what is offered
	}{
		{"files", asFiles(swo), map[volume.Tier]string{volume.Warm: "", volume.Scratch: ""}},
		{"files to read", asFiles(sro), map[volume.Tier]string{volume.Warm: "", volume.Scratch: ""}},
		{"files for many nodes", asFiles(mwo), map[volume.Tier]string{volume.Warm: "", volume.Scratch: "one node at a time"}},
		{"block", asBlock(swo), map[volume.Tier]string{volume.Warm: "raw block volumes aren't offered: use volumeMode: Filesystem", volume.Scratch: ""}},
		{"block to read", asBlock(sro), map[volume.Tier]string{volume.Warm: "raw block", volume.Scratch: "read-only"}},
		{"block for many nodes", asBlock(mwo), map[volume.Tier]string{volume.Warm: "raw block", volume.Scratch: "one node at a time"}},
		{"a mode of no tier", asBlock(csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER),
			map[volume.Tier]string{volume.Warm: "raw block", volume.Scratch: "isn't offered"}},
		{"no access type", &csi.VolumeCapability{AccessMode: asBlock(swo).GetAccessMode()},
			map[volume.Tier]string{volume.Warm: "access type", volume.Scratch: "access type"}},
	} {
		for which, says := range c.says {
			t.Run(fmt.Sprintf("%s of %s", c.name, which), func(t *testing.T) {
				warm, scratch := &plain{}, &local{room: map[string]volume.Capacity{"": {Available: 7}}}
				s := serving(map[volume.Tier]tier.Provisioner{volume.Warm: warm, volume.Scratch: scratch})
				check := func(what string, err error, message string) {
					t.Helper()
					if says == "" && err != nil || says != "" && (!errors.Is(err, volume.ErrInvalid) || !strings.Contains(message, says)) {
						t.Errorf("%s: got %v, %q; want %q", what, err, message, says)
					}
				}
				r := request(c.asked)
				r.Parameters["tier"] = string(which)
				_, err := s.CreateVolume(t.Context(), r)
				check("create", err, fmt.Sprint(err))
				if says == "" {
					if specs := append(warm.specs, scratch.specs...); len(specs) != 1 || specs[0].Access.Block != (c.asked.GetBlock() != nil) {
						t.Errorf("the tier was asked for %+v", specs)
					}
				}
				id := string(which) + ":a"
				v, err := s.ValidateVolumeCapabilities(t.Context(), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: id, VolumeCapabilities: r.VolumeCapabilities})
				if err != nil || (v.GetConfirmed() != nil) != (says == "") || !strings.Contains(v.GetMessage(), says) {
					t.Errorf("validate: got %v, %v", v, err)
				}
				free, err := s.GetCapacity(t.Context(), &csi.GetCapacityRequest{VolumeCapabilities: r.VolumeCapabilities, Parameters: r.Parameters})
				if want := map[bool]int64{true: 7}[says == "" && which == volume.Scratch]; err != nil || free.GetAvailableCapacity() != want {
					t.Errorf("capacity: got %v, %v; want %d", free, err, want)
				}
				if which == volume.Scratch {
					_, err = s.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{
						VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 1}, VolumeCapability: c.asked})
					check("expand", err, fmt.Sprint(err))
				}
			})
		}
	}
}

func topologies(nodes ...string) (out []*csi.Topology) {
	for _, n := range nodes {
		out = append(out, &csi.Topology{Segments: map[string]string{tier.NodeKey: n}})
	}
	return out
}

func TestTopologyOfANewVolume(t *testing.T) {
	p := &plain{segments: []volume.Segment{{tier.NodeKey: "n2"}}}
	s := serving(map[volume.Tier]tier.Provisioner{volume.Scratch: p})
	r := request(asFiles(swo))
	r.AccessibilityRequirements = &csi.TopologyRequirement{Requisite: topologies("n1", "n2", "n3"), Preferred: topologies("n2", "n3")}
	got, err := s.CreateVolume(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	want := []volume.Segment{{tier.NodeKey: "n2"}, {tier.NodeKey: "n3"}, {tier.NodeKey: "n1"}}
	if !reflect.DeepEqual(p.specs[0].Preferred, want) {
		t.Errorf("the tier was asked for %v", p.specs[0].Preferred)
	}
	read, err := s.ControllerGetVolume(t.Context(), &csi.ControllerGetVolumeRequest{VolumeId: "scratch:a"})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []*csi.Volume{got.GetVolume(), read.GetVolume()} {
		if a := v.GetAccessibleTopology(); len(a) != 1 || !maps.Equal(a[0].GetSegments(), p.segments[0]) {
			t.Errorf("accessible from %v", a)
		}
	}
	p.segments = nil
	for _, none := range []*csi.TopologyRequirement{nil, {}} {
		r.AccessibilityRequirements = none
		got, err := s.CreateVolume(t.Context(), r)
		if err != nil || len(got.GetVolume().GetAccessibleTopology()) != 0 || p.specs[len(p.specs)-1].Preferred != nil {
			t.Errorf("requirement %v: got %v, %v", none, got, err)
		}
	}
	asked := len(p.specs)
	for name, bad := range map[string]*csi.TopologyRequirement{
		"no segments":     {Requisite: []*csi.Topology{{}}},
		"a bad value":     {Preferred: topologies("a b")},
		"an empty value":  {Requisite: topologies("n1", "")},
		"a bad key":       {Requisite: []*csi.Topology{{Segments: map[string]string{"a/b/c": "x"}}}},
		"a nil in a list": {Requisite: []*csi.Topology{nil}},
	} {
		r.AccessibilityRequirements = bad
		if _, err := s.CreateVolume(t.Context(), r); !errors.Is(err, volume.ErrInvalid) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if len(p.specs) != asked {
		t.Error("a refused request reached the tier")
	}
}

func TestCapacityIsThatOfTheSegment(t *testing.T) {
	l := &local{room: map[string]volume.Capacity{"": {Available: 30, Largest: 20}, "n1": {Available: 10}, "n2": {Available: 20, Largest: 20}}}
	other := &local{room: map[string]volume.Capacity{"": {Available: 5, Largest: 3}}}
	s := serving(map[volume.Tier]tier.Provisioner{volume.Scratch: l, volume.Cold: other, volume.Warm: &plain{}})
	for _, c := range []struct {
		name           string
		request        *csi.GetCapacityRequest
		room, largest  int64
		largestIsUnset bool
	}{
		{name: "one node", request: &csi.GetCapacityRequest{AccessibleTopology: topologies("n2")[0]}, room: 20, largest: 20},
		{name: "one node that doesn't say how large", request: &csi.GetCapacityRequest{AccessibleTopology: topologies("n1")[0]}, room: 10, largestIsUnset: true},
		{name: "a node of nobody's", request: &csi.GetCapacityRequest{AccessibleTopology: topologies("n9")[0]}, largestIsUnset: true},
		{name: "the whole cluster", request: &csi.GetCapacityRequest{}, room: 30, largest: 20},
		{name: "an empty topology", request: &csi.GetCapacityRequest{AccessibleTopology: &csi.Topology{}}, room: 30, largest: 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.request.Parameters = map[string]string{"tier": "scratch"}
			got, err := s.GetCapacity(t.Context(), c.request)
			if err != nil || got.GetAvailableCapacity() != c.room || got.GetMaximumVolumeSize().GetValue() != c.largest ||
				(got.GetMaximumVolumeSize() == nil) != c.largestIsUnset {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	all, err := s.GetCapacity(t.Context(), &csi.GetCapacityRequest{VolumeCapabilities: []*csi.VolumeCapability{asBlock(swo)}})
	if err != nil || all.GetAvailableCapacity() != 35 || all.GetMaximumVolumeSize().GetValue() != 20 {
		t.Errorf("all tiers: got %v, %v", all, err)
	}
	none, err := s.GetCapacity(t.Context(), &csi.GetCapacityRequest{Parameters: map[string]string{"tier": "warm"}})
	if err != nil || none.GetAvailableCapacity() != 0 {
		t.Errorf("a tier that doesn't tell: got %v, %v", none, err)
	}
	for _, bad := range []*csi.GetCapacityRequest{
		{Parameters: map[string]string{"tier": "hot"}}, {AccessibleTopology: topologies("a b")[0]},
	} {
		if _, err := s.GetCapacity(t.Context(), bad); !errors.Is(err, volume.ErrInvalid) {
			t.Errorf("%v: got %v", bad, err)
		}
	}
}
