package integration

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/strata-csi/strata/tests/harness"
)

// names are requests' names that no file system should be given as they are.
var names = []string{
	"pvc-0b1e7a3c-5d1e-4a52-9d1c-3f9e3f5a2b10",
	strings.Repeat("n", 128),
	strings.Repeat("n", 127) + "m",
	strings.Repeat("ü", 64),
	"../../etc/passwd", "..", ".", `a\b`, "-rf", "UPPER", "upper", "名前", "💾 volume", "line\nbreak", "\x01", "warm:dev:warm:x:y",
	"_deleting", "h-" + strings.Repeat("a", 26), "$(reboot)", `{"json":1}`,
}

func TestNames(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	root := ceph.RootMount(t)
	volumes, snapshots := map[string]string{}, map[string]string{}
	for _, name := range names {
		v := create(t, c, harness.Request(name, 8*mib))
		if other, ok := volumes[v.GetVolumeId()]; ok {
			t.Errorf("%q and %q are both volume %s", other, name, v.GetVolumeId())
		}
		volumes[v.GetVolumeId()] = name
		if again := create(t, c, harness.Request(name, 8*mib)); !proto.Equal(again, v) {
			t.Errorf("%q: the repeated request got %v, the first %v", name, again, v)
		}
		var rec struct{ Name string }
		base := filepath.Dir(dataPath(root, v))
		if err := json.Unmarshal([]byte(harness.Xattr(t, base, "user.strata")), &rec); err != nil || rec.Name != name {
			t.Errorf("%q: the record says %q, %v", name, rec.Name, err)
		}
		if group := filepath.Join(root, "volumes", string(c.Prefix)+".default"); filepath.Dir(base) != group {
			t.Errorf("%q lies in %s", name, base)
		}
	}
	of := create(t, c, harness.Request(names[0], 8*mib))
	for _, name := range names {
		s := snapshot(t, c, name, of)
		if other, ok := snapshots[s.GetSnapshotId()]; ok {
			t.Errorf("%q and %q are both snapshot %s", other, name, s.GetSnapshotId())
		}
		snapshots[s.GetSnapshotId()] = name
		if again := snapshot(t, c, name, of); !proto.Equal(again, s) {
			t.Errorf("%q: the repeated request got %v, the first %v", name, again, s)
		}
	}
	if got := listVolumes(t, c, &csi.ListVolumesRequest{MaxEntries: 7}, nil); len(got) != len(names) {
		t.Errorf("%d volumes are listed, %d were made", len(got), len(names))
	}
	for _, name := range []string{"", strings.Repeat("n", 129), strings.Repeat("💾", 40), "zero\x00byte"} {
		_, err := c.CreateVolume(call(t), harness.Request(name, 8*mib))
		wantCode(t, err, codes.InvalidArgument)
		_, err = c.CreateSnapshot(call(t), snapshotRequest(name, of))
		wantCode(t, err, codes.InvalidArgument)
	}
	for id := range snapshots {
		unsnapshot(t, c, &csi.Snapshot{SnapshotId: id})
	}
	for id := range volumes {
		remove(t, c, &csi.Volume{VolumeId: id})
	}
	wantNothingLeft(t, ceph, root, c.Prefix)
}

// strangers are ids that name nothing of this driver, or nothing of this Kubernetes cluster.
func strangers(real string) map[string]string {
	parts := strings.Split(real, ":") // warm, cluster, file system, group, name
	with := func(i int, v string) string {
		p := append([]string(nil), parts...)
		p[i] = v
		return strings.Join(p, ":")
	}
	return map[string]string{
		"one byte too long":         "warm:" + strings.Repeat("x", 124),
		"huge":                      "warm:" + strings.Repeat("x:", 500_000),
		"unicode":                   "warm:dev:warm:💾:ü",
		"a path":                    "../",
		"a path in a part":          "warm:../../x",
		"a path as the name":        with(4, "../../../etc"),
		"a dot":                     with(4, "."),
		"two dots":                  with(3, ".."),
		"an option":                 with(4, "-x"),
		"a newline":                 with(4, "a\nb"),
		"an empty part":             with(4, ""),
		"no tier":                   strings.TrimPrefix(real, "warm"),
		"an unknown tier":           "hot" + strings.TrimPrefix(real, "warm"),
		"a tier that isn't here":    "cold:x",
		"a tier alone":              "warm",
		"a tier and nothing":        "warm:",
		"too few parts":             "warm:dev:warm",
		"too many parts":            real + ":ro:ro",
		"another driver's":          "0001-0009-rook-ceph-0000000000000001-e4f1d2c3-8e6d-11ee-a1b2-0242ac120002",
		"a volume that isn't there": with(4, "gone"),
	}
}

// foreign are ids of volumes that may well exist, but are nothing that this controller may touch.
func foreign(real string) map[string]string {
	parts := strings.Split(real, ":")
	group, name := parts[3], parts[4]
	return map[string]string{
		"another Kubernetes cluster's": "warm:dev:warm:other." + strings.SplitN(group, ".", 2)[1] + ":" + name,
		"nobody's group":               "warm:dev:warm:csi:" + name,
		"an unknown Ceph cluster's":    "warm:other:warm:" + group + ":" + name,
	}
}

func TestStrangeIDs(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	v := create(t, c, harness.Request("pvc-real", 8*mib))
	caps := harness.Capabilities(harness.RWX)

	// What each call answers to an id that names nothing, and to one that isn't ours to touch.
	calls := map[string]struct {
		nothing, foreign, missing codes.Code
		do                        func(id string) error
	}{
		"DeleteVolume": {codes.OK, codes.NotFound, codes.InvalidArgument, func(id string) error {
			_, err := c.DeleteVolume(call(t), &csi.DeleteVolumeRequest{VolumeId: id})
			return err
		}},
		"ControllerExpandVolume": {codes.NotFound, codes.NotFound, codes.InvalidArgument, func(id string) error {
			_, err := c.ControllerExpandVolume(call(t), &csi.ControllerExpandVolumeRequest{VolumeId: id, CapacityRange: &csi.CapacityRange{RequiredBytes: 16 * mib}})
			return err
		}},
		"ValidateVolumeCapabilities": {codes.NotFound, codes.NotFound, codes.InvalidArgument, func(id string) error {
			_, err := c.ValidateVolumeCapabilities(call(t), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: id, VolumeCapabilities: caps})
			return err
		}},
		"ControllerGetVolume": {codes.NotFound, codes.NotFound, codes.InvalidArgument, func(id string) error {
			_, err := c.ControllerGetVolume(call(t), &csi.ControllerGetVolumeRequest{VolumeId: id})
			return err
		}},
		"ControllerGetVolumeHealth": {codes.NotFound, codes.NotFound, codes.InvalidArgument, func(id string) error {
			_, err := c.ControllerGetVolumeHealth(call(t), &csi.ControllerGetVolumeHealthRequest{VolumeId: id})
			return err
		}},
		"CreateSnapshot": {codes.NotFound, codes.NotFound, codes.InvalidArgument, func(id string) error {
			_, err := c.CreateSnapshot(call(t), &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: id})
			return err
		}},
		"CreateVolume from it": {codes.NotFound, codes.NotFound, codes.NotFound, func(id string) error {
			_, err := c.CreateVolume(call(t), from(harness.Request("copy", 8*mib), &csi.Volume{VolumeId: id}))
			return err
		}},
		"CreateVolume from it as a snapshot": {codes.NotFound, codes.NotFound, codes.NotFound, func(id string) error {
			_, err := c.CreateVolume(call(t), from(harness.Request("copy", 8*mib), &csi.Snapshot{SnapshotId: id + ":s"}))
			return err
		}},
		"CreateVolume served from it": {codes.NotFound, codes.NotFound, codes.NotFound, func(id string) error {
			_, err := c.CreateVolume(call(t), readOnly(from(harness.Request("copy", 8*mib), &csi.Snapshot{SnapshotId: id + ":s"})))
			return err
		}},
		"GetSnapshot": {codes.NotFound, codes.NotFound, codes.NotFound, func(id string) error {
			_, err := c.GetSnapshot(call(t), &csi.GetSnapshotRequest{SnapshotId: id + ":s"})
			return err
		}},
		"DeleteSnapshot": {codes.OK, codes.NotFound, codes.OK, func(id string) error {
			_, err := c.DeleteSnapshot(call(t), &csi.DeleteSnapshotRequest{SnapshotId: id + ":s"})
			return err
		}},
		"ListSnapshots": {codes.OK, codes.OK, codes.OK, func(id string) error {
			resp, err := c.ListSnapshots(call(t), &csi.ListSnapshotsRequest{SnapshotId: id + ":s"})
			if len(resp.GetEntries()) > 0 {
				t.Errorf("%.80q has the snapshots %v", id, resp.GetEntries())
			}
			return err
		}},
		"ListSnapshots of it": {codes.OK, codes.OK, codes.OK, func(id string) error {
			if id == "" {
				return nil // of all volumes
			}
			resp, err := c.ListSnapshots(call(t), &csi.ListSnapshotsRequest{SourceVolumeId: id})
			if len(resp.GetEntries()) > 0 {
				t.Errorf("%.80q has the snapshots %v", id, resp.GetEntries())
			}
			return err
		}},
	}
	for name, rpc := range calls {
		t.Run(name, func(t *testing.T) {
			for what, id := range strangers(v.GetVolumeId()) {
				t.Run(what, func(t *testing.T) { wantCode(t, rpc.do(id), rpc.nothing) })
			}
			for what, id := range foreign(v.GetVolumeId()) {
				t.Run(what, func(t *testing.T) { wantCode(t, rpc.do(id), rpc.foreign) })
			}
			t.Run("none", func(t *testing.T) { wantCode(t, rpc.do(""), rpc.missing) })
		})
	}
	if log := c.Log(); strings.Contains(log, "Call panicked") {
		t.Error("a call panicked")
	}
	if got := listVolumes(t, c, &csi.ListVolumesRequest{}, nil); len(got) != 1 {
		t.Errorf("afterwards there is %v", got)
	}
	remove(t, c, v)
}

func TestWrongParameters(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	for _, tt := range []struct{ name, value, say string }{
		{"poool", "x", `"pool"`},
		{"Team", "x", `"team"`},
		{"fsname", "x", `"fsName"`},
		{"tier", "hot", "warm, cold, scratch"},
		{"tier", "cold", "cold"},
		{"clusterID", "prod", "dev"},
		{"team", "Über", "lower-case"},
		{"team", "../x", "lower-case"},
		{"team", "${pvc.namespace}", "--extra-create-metadata"},
		{"mounter", "nfs", "auto, kernel, fuse"},
		{"mode", "rwx", "0770"},
		{"uid", "-1", "2147483647"},
		{"maxFiles", "0", "at least 1"},
		{"stripeUnit", "1000", "64Ki"},
		{"objectSize", "100Ki", "64Ki"},
		{"stripeUnit", "192Ki", "divisor"},
	} {
		_, err := c.CreateVolume(call(t), harness.Request("v", 8*mib, tt.name, tt.value))
		wantCode(t, err, codes.InvalidArgument)
		wantText(t, err, tt.name, tt.say)
	}
	if left := ceph.Subvolumes(t, c.Prefix); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
