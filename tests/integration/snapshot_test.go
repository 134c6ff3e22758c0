package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/strata-csi/strata/tests/harness"
)

func TestSnapshots(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	root := ceph.RootMount(t)

	t.Run("one name is one snapshot, wherever it is asked for", func(t *testing.T) {
		a := create(t, c, harness.Request("pvc-a", 64*mib))
		b := create(t, c, harness.Request("pvc-b", 32*mib, "team", "blue"))
		first := snapshot(t, c, "snap-1", a)
		if again := snapshot(t, c, "snap-1", a); !proto.Equal(first, again) {
			t.Errorf("the repeated request got %v, the first %v", again, first)
		}
		if first.GetSizeBytes() != 64*mib || first.GetSourceVolumeId() != a.GetVolumeId() || first.GetCreationTime().AsTime().IsZero() {
			t.Errorf("got %v", first)
		}
		_, err := c.CreateSnapshot(call(t), snapshotRequest("snap-1", b))
		wantCode(t, err, codes.AlreadyExists)
		wantText(t, err, a.GetVolumeId())
		if group, name := place(b); len(ceph.Snapshots(t, group, name)) > 0 {
			t.Error("the refused request took a snapshot")
		}
		got, err := c.GetSnapshot(call(t), &csi.GetSnapshotRequest{SnapshotId: first.GetSnapshotId()})
		if err != nil || !proto.Equal(got.GetSnapshot(), first) {
			t.Errorf("get: %v, %v", got, err)
		}
		unsnapshot(t, c, first, first)
		_, err = c.GetSnapshot(call(t), &csi.GetSnapshotRequest{SnapshotId: first.GetSnapshotId()})
		wantCode(t, err, codes.NotFound)
		// The name is free again, for any source.
		second := snapshot(t, c, "snap-1", b)
		unsnapshot(t, c, first) // names nothing: the other volume's snapshot must not go
		if _, err := c.GetSnapshot(call(t), &csi.GetSnapshotRequest{SnapshotId: second.GetSnapshotId()}); err != nil {
			t.Error(err)
		}
		unsnapshot(t, c, second)
		remove(t, c, a, b)
	})

	t.Run("a list is by id, by source, or of all", func(t *testing.T) {
		a := create(t, c, harness.Request("pvc-a", 64*mib))
		b := create(t, c, harness.Request("pvc-b", 64*mib, "team", "blue"))
		s1, s2, s3 := snapshot(t, c, "s1", a), snapshot(t, c, "s2", b), snapshot(t, c, "s3", a)
		for _, tt := range []struct {
			what string
			req  *csi.ListSnapshotsRequest
			want []*csi.Snapshot
		}{
			{"all", &csi.ListSnapshotsRequest{}, []*csi.Snapshot{s1, s2, s3}},
			{"by source", &csi.ListSnapshotsRequest{SourceVolumeId: a.GetVolumeId()}, []*csi.Snapshot{s1, s3}},
			{"by id", &csi.ListSnapshotsRequest{SnapshotId: s2.GetSnapshotId()}, []*csi.Snapshot{s2}},
			{"by id and its source", &csi.ListSnapshotsRequest{SnapshotId: s2.GetSnapshotId(), SourceVolumeId: b.GetVolumeId()}, []*csi.Snapshot{s2}},
			{"by id and another source", &csi.ListSnapshotsRequest{SnapshotId: s2.GetSnapshotId(), SourceVolumeId: a.GetVolumeId()}, nil},
			{"by an id that names nothing", &csi.ListSnapshotsRequest{SnapshotId: s2.GetSnapshotId() + "x"}, nil},
			{"by a source that names nothing", &csi.ListSnapshotsRequest{SourceVolumeId: a.GetVolumeId() + "x"}, nil},
			{"by source, in pages", &csi.ListSnapshotsRequest{SourceVolumeId: a.GetVolumeId(), MaxEntries: 1}, []*csi.Snapshot{s1, s3}},
		} {
			if got := listSnapshots(t, c, tt.req, nil); !slices.EqualFunc(got, tt.want, func(a, b *csi.Snapshot) bool { return proto.Equal(a, b) }) {
				t.Errorf("%s: got %v, want %v", tt.what, got, tt.want)
			}
		}
		_, err := c.ListSnapshots(call(t), &csi.ListSnapshotsRequest{StartingToken: "nonsense"})
		wantCode(t, err, codes.Aborted)
		_, err = c.ListSnapshots(call(t), &csi.ListSnapshotsRequest{MaxEntries: -1})
		wantCode(t, err, codes.InvalidArgument)
		unsnapshot(t, c, s1, s2, s3)
		remove(t, c, a, b)
	})

	t.Run("pages stay whole while snapshots come and go", func(t *testing.T) {
		v := create(t, c, harness.Request("pvc-pages", 64*mib))
		made := map[string]*csi.Snapshot{}
		for _, name := range []string{"b", "d", "f", "h", "j"} {
			made[name] = snapshot(t, c, name, v)
		}
		page := 0
		got := listSnapshots(t, c, &csi.ListSnapshotsRequest{MaxEntries: 2}, func() {
			if page++; page == 1 {
				// The page ended with d: its last entry goes, something comes before it and behind it.
				unsnapshot(t, c, made["d"])
				made["a"], made["e"] = snapshot(t, c, "a", v), snapshot(t, c, "e", v)
			}
		})
		var names []string
		for _, s := range got {
			names = append(names, s.GetSnapshotId()[strings.LastIndex(s.GetSnapshotId(), ":")+1:])
		}
		if fmt.Sprint(names) != "[b d e f h j]" {
			t.Errorf("the pages held %v", names)
		}
		delete(made, "d")
		for _, s := range made {
			unsnapshot(t, c, s)
		}
		remove(t, c, v)
	})

	t.Run("the snapshots of a deleted volume stay and can be restored", func(t *testing.T) {
		v := create(t, c, harness.Request("pvc-gone", 64*mib))
		fill(t, dataPath(root, v), 1)
		want := tree(t, dataPath(root, v))
		s := snapshot(t, c, "keep", v)
		remove(t, c, v, v)
		_, err := c.ControllerGetVolume(call(t), &csi.ControllerGetVolumeRequest{VolumeId: v.GetVolumeId()})
		wantCode(t, err, codes.NotFound)
		if got := listVolumes(t, c, &csi.ListVolumesRequest{}, nil); len(got) > 0 {
			t.Errorf("still listed: %v", got)
		}
		if got := listSnapshots(t, c, &csi.ListSnapshotsRequest{SourceVolumeId: v.GetVolumeId()}, nil); len(got) != 1 {
			t.Errorf("its snapshots: %v", got)
		}
		restored := create(t, c, from(harness.Request("pvc-back", 64*mib), s))
		wantTree(t, tree(t, dataPath(root, restored)), want)

		// Also under the name of the volume that is gone.
		same := create(t, c, harness.Request("pvc-gone", 96*mib))
		if entries, err := os.ReadDir(dataPath(root, same)); err != nil || len(entries) > 0 {
			t.Errorf("the new volume begins with %v, %v", entries, err)
		}
		if _, err := c.GetSnapshot(call(t), &csi.GetSnapshotRequest{SnapshotId: s.GetSnapshotId()}); err != nil {
			t.Errorf("the old volume's snapshot: %v", err)
		}
		remove(t, c, same, restored)
		if left := ceph.Subvolumes(t, c.Prefix); len(left) != 1 {
			t.Errorf("want the one that keeps the snapshot, there is %v", left)
		}
		unsnapshot(t, c, s)
	})

	t.Run("a snapshot doesn't change with its volume", func(t *testing.T) {
		v := create(t, c, harness.Request("pvc-change", 64*mib))
		fill(t, dataPath(root, v), 2)
		want := tree(t, dataPath(root, v))
		s := snapshot(t, c, "before", v)
		if err := os.RemoveAll(filepath.Join(dataPath(root, v), "d1")); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dataPath(root, v), "d0", "f0"), []byte("new"))
		restored := create(t, c, from(harness.Request("pvc-restored", 64*mib), s))
		wantTree(t, tree(t, dataPath(root, restored)), want)
		remove(t, c, v, restored)
		unsnapshot(t, c, s)
	})
	wantNothingLeft(t, ceph, root, c.Prefix)
}

// listSnapshots collects every page; between is called after each that isn't the last.
func listSnapshots(t testing.TB, c csi.ControllerClient, req *csi.ListSnapshotsRequest, between func()) []*csi.Snapshot {
	t.Helper()
	req = proto.Clone(req).(*csi.ListSnapshotsRequest)
	var out []*csi.Snapshot
	for {
		resp, err := c.ListSnapshots(call(t), req)
		if err != nil {
			t.Fatal(err)
		}
		if max := int(req.GetMaxEntries()); max > 0 && len(resp.GetEntries()) > max {
			t.Fatalf("a page of %d entries, at most %d were asked for", len(resp.GetEntries()), max)
		}
		for _, e := range resp.GetEntries() {
			out = append(out, e.GetSnapshot())
		}
		if req.StartingToken = resp.GetNextToken(); req.StartingToken == "" {
			return out
		}
		if between != nil {
			between()
		}
	}
}

// listVolumes is listSnapshots for volumes.
func listVolumes(t testing.TB, c csi.ControllerClient, req *csi.ListVolumesRequest, between func()) []*csi.Volume {
	t.Helper()
	req = proto.Clone(req).(*csi.ListVolumesRequest)
	var out []*csi.Volume
	for {
		resp, err := c.ListVolumes(call(t), req)
		if err != nil {
			t.Fatal(err)
		}
		if max := int(req.GetMaxEntries()); max > 0 && len(resp.GetEntries()) > max {
			t.Fatalf("a page of %d entries, at most %d were asked for", len(resp.GetEntries()), max)
		}
		for _, e := range resp.GetEntries() {
			out = append(out, e.GetVolume())
		}
		if req.StartingToken = resp.GetNextToken(); req.StartingToken == "" {
			return out
		}
		if between != nil {
			between()
		}
	}
}
