package integration

import (
	"fmt"
	"strconv"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/strata-csi/strata/tests/harness"
)

// TestSameCallTenTimesAtOnce: ten identical calls at once make one thing and get one answer.
func TestSameCallTenTimesAtOnce(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	root := ceph.RootMount(t)
	createOnce := func(req *csi.CreateVolumeRequest) *csi.Volume {
		t.Helper()
		return tenAtOnce(t, "create "+req.GetName(), func() (*csi.CreateVolumeResponse, error) {
			return patiently(t, func() (*csi.CreateVolumeResponse, error) { return c.CreateVolume(call(t), req) })
		}).GetVolume()
	}
	v := createOnce(harness.Request("pvc", 64*mib))
	taken := tenAtOnce(t, "snapshot", func() (*csi.CreateSnapshotResponse, error) {
		return c.CreateSnapshot(call(t), snapshotRequest("taken", v))
	}).GetSnapshot()
	restored := createOnce(from(harness.Request("restored", 64*mib), taken))
	cloned := createOnce(from(harness.Request("cloned", 64*mib), v))
	view := createOnce(readOnly(from(harness.Request("view", 0), taken)))
	grown := tenAtOnce(t, "grow", func() (*csi.ControllerExpandVolumeResponse, error) {
		return c.ControllerExpandVolume(call(t), &csi.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId(),
			CapacityRange: &csi.CapacityRange{RequiredBytes: 128 * mib}})
	})
	if grown.GetCapacityBytes() != 128*mib {
		t.Errorf("grown to %v", grown)
	}
	if got := ceph.Subvolumes(t, c.Prefix); len(got) != 3 {
		t.Errorf("subvolumes %v, want three", got)
	}
	if group, name := place(v); len(ceph.Snapshots(t, group, name)) != 1 {
		t.Errorf("snapshots %v, want one", ceph.Snapshots(t, group, name))
	}
	tenAtOnce(t, "list", func() (*csi.ListVolumesResponse, error) { return c.ListVolumes(call(t), &csi.ListVolumesRequest{}) })
	tenAtOnce(t, "list snapshots", func() (*csi.ListSnapshotsResponse, error) {
		return c.ListSnapshots(call(t), &csi.ListSnapshotsRequest{})
	})
	tenAtOnce(t, "get", func() (*csi.ControllerGetVolumeResponse, error) {
		return c.ControllerGetVolume(call(t), &csi.ControllerGetVolumeRequest{VolumeId: v.GetVolumeId()})
	})
	tenAtOnce(t, "get snapshot", func() (*csi.GetSnapshotResponse, error) {
		return c.GetSnapshot(call(t), &csi.GetSnapshotRequest{SnapshotId: taken.GetSnapshotId()})
	})
	tenAtOnce(t, "health", func() (*csi.ControllerGetVolumeHealthResponse, error) {
		return c.ControllerGetVolumeHealth(call(t), &csi.ControllerGetVolumeHealthRequest{VolumeId: v.GetVolumeId()})
	})
	tenAtOnce(t, "validate", func() (*csi.ValidateVolumeCapabilitiesResponse, error) {
		return c.ValidateVolumeCapabilities(call(t), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: v.GetVolumeId(),
			VolumeCapabilities: harness.Capabilities(harness.RWX)})
	})
	for _, gone := range []*csi.Volume{view, restored, cloned, v} {
		tenAtOnce(t, "delete", func() (*csi.DeleteVolumeResponse, error) {
			return patiently(t, func() (*csi.DeleteVolumeResponse, error) {
				return c.DeleteVolume(call(t), &csi.DeleteVolumeRequest{VolumeId: gone.GetVolumeId()})
			})
		})
	}
	tenAtOnce(t, "delete snapshot", func() (*csi.DeleteSnapshotResponse, error) {
		return patiently(t, func() (*csi.DeleteSnapshotResponse, error) {
			return c.DeleteSnapshot(call(t), &csi.DeleteSnapshotRequest{SnapshotId: taken.GetSnapshotId()})
		})
	})
	wantNothingLeft(t, ceph, root, c.Prefix)
}

// outcome is what one of several rivals got.
type outcome[T any] struct {
	value T
	err   error
}

// rivals make calls at once and return what each got.
func rivals[T any](calls ...func() (T, error)) []outcome[T] {
	out := make([]outcome[T], len(calls))
	var group sync.WaitGroup
	begin := make(chan struct{})
	for i, f := range calls {
		group.Go(func() {
			<-begin
			out[i].value, out[i].err = f()
		})
	}
	close(begin)
	group.Wait()
	return out
}

// TestTwoControllers: two controllers with one name prefix, as in a fail-over, stay right without talking to each other.
func TestTwoControllers(t *testing.T) {
	ceph := harness.NewCeph(t)
	a := harness.NewController(t, ceph, harness.ControllerOptions{})
	b := harness.NewController(t, ceph, harness.ControllerOptions{Prefix: a.Prefix})
	root := ceph.RootMount(t)
	const rounds = 3
	creating := func(c *harness.Controller, req *csi.CreateVolumeRequest) func() (*csi.CreateVolumeResponse, error) {
		return func() (*csi.CreateVolumeResponse, error) {
			return patiently(t, func() (*csi.CreateVolumeResponse, error) { return c.CreateVolume(call(t), req) })
		}
	}
	snapping := func(c *harness.Controller, req *csi.CreateSnapshotRequest) func() (*csi.CreateSnapshotResponse, error) {
		return func() (*csi.CreateSnapshotResponse, error) { return c.CreateSnapshot(call(t), req) }
	}

	t.Run("the same request gets the same answer", func(t *testing.T) {
		for i := range rounds {
			req := harness.Request(fmt.Sprint("same-", i), 64*mib)
			got := rivals(creating(a, req), creating(b, req), creating(a, req), creating(b, req))
			for _, o := range got {
				if o.err != nil || !proto.Equal(o.value, got[0].value) {
					t.Errorf("got %v, %v; another %v", o.value, o.err, got[0].value)
				}
			}
			remove(t, a, got[0].value.GetVolume())
		}
	})

	t.Run("of two sizes one wins, and its quota stands", func(t *testing.T) {
		for i := range rounds {
			name := fmt.Sprint("size-", i)
			exactly := func(size int64) *csi.CreateVolumeRequest {
				req := harness.Request(name, size)
				req.CapacityRange.LimitBytes = size
				return req
			}
			won := wantOneWinner(t, rivals(creating(a, exactly(64*mib)), creating(b, exactly(128*mib))))
			if won == nil {
				continue
			}
			v := won.GetVolume()
			if got := harness.Xattr(t, dataPath(root, v), "ceph.quota.max_bytes"); got != strconv.FormatInt(v.GetCapacityBytes(), 10) {
				t.Errorf("the winner was told %d bytes, the quota is %s", v.GetCapacityBytes(), got)
			}
			for _, c := range []*harness.Controller{a, b} {
				if again := create(t, c, harness.Request(name, v.GetCapacityBytes())); !proto.Equal(again, v) {
					t.Errorf("asked again: %v, then: %v", again, v)
				}
			}
			remove(t, b, v)
		}
	})

	t.Run("of two sources one wins", func(t *testing.T) {
		for i := range rounds {
			one, two := create(t, a, harness.Request("one", 8*mib)), create(t, b, harness.Request("two", 8*mib, "team", "red"))
			name := fmt.Sprint("snap-", i)
			won := wantOneWinner(t, rivals(snapping(a, snapshotRequest(name, one)), snapping(b, snapshotRequest(name, two))))
			list := listSnapshots(t, b, &csi.ListSnapshotsRequest{}, nil)
			if len(list) != 1 || won != nil && !proto.Equal(list[0], won.GetSnapshot()) {
				t.Errorf("listed: %v, the winner got %v", list, won)
			}
			unsnapshot(t, a, list...)
			for _, v := range []*csi.Volume{one, two} {
				if group, name := place(v); len(ceph.Snapshots(t, group, name)) > 0 {
					t.Errorf("%s keeps the snapshots %v", name, ceph.Snapshots(t, group, name))
				}
			}
			remove(t, b, one, two)
		}
	})

	t.Run("the same copy is made once", func(t *testing.T) {
		source := create(t, a, harness.Request("source", 64*mib))
		fill(t, dataPath(root, source), 5)
		want := tree(t, dataPath(root, source))
		req := from(harness.Request("copy", 96*mib), source)
		got := rivals(creating(a, req), creating(b, req))
		for _, o := range got {
			if o.err != nil || !proto.Equal(o.value, got[0].value) {
				t.Fatalf("got %v, %v; another %v, %v", o.value, o.err, got[0].value, got[0].err)
			}
		}
		copied := got[0].value.GetVolume()
		wantTree(t, tree(t, dataPath(root, copied)), want)
		if group, name := place(source); len(ceph.Snapshots(t, group, name)) > 0 {
			t.Errorf("temporary snapshots: %v", ceph.Snapshots(t, group, name))
		}
		wantGroupsBare(t, ceph, root, a.Prefix)
		remove(t, a, source, copied)
	})

	t.Run("growing to two sizes ends with the larger", func(t *testing.T) {
		v := create(t, a, harness.Request("grow", 8*mib))
		for i := range int64(rounds) {
			small, large := (16+i*16)*mib, (24+i*16)*mib
			growing := func(c *harness.Controller, size int64) func() (*csi.ControllerExpandVolumeResponse, error) {
				return func() (*csi.ControllerExpandVolumeResponse, error) {
					return c.ControllerExpandVolume(call(t), &csi.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: size}})
				}
			}
			for _, o := range rivals(growing(a, small), growing(b, large)) {
				if o.err != nil {
					t.Error(o.err)
				}
			}
			if got := harness.Xattr(t, dataPath(root, v), "ceph.quota.max_bytes"); got != strconv.FormatInt(large, 10) {
				t.Errorf("grown to %d and %d at once, the quota is %s", small, large, got)
			}
		}
		remove(t, b, v)
	})

	t.Run("deleting while making leaves one or nothing", func(t *testing.T) {
		for i := range rounds {
			req := harness.Request(fmt.Sprint("race-", i), 8*mib)
			id := fmt.Sprintf("warm:%s:%s:%s.default:%s", harness.ClusterID, harness.FS, a.Prefix, req.GetName())
			rivals(creating(a, req), func() (*csi.CreateVolumeResponse, error) {
				_, err := b.DeleteVolume(call(t), &csi.DeleteVolumeRequest{VolumeId: id})
				return nil, err
			})
			// Whatever came first, repeating the request gives a whole volume.
			v := create(t, b, req)
			if got := harness.Xattr(t, dataPath(root, v), "ceph.quota.max_bytes"); got != strconv.FormatInt(8*mib, 10) {
				t.Errorf("the quota is %s", got)
			}
			remove(t, a, v)
		}
	})
	wantNothingLeft(t, ceph, root, a.Prefix)
}

// wantOneWinner returns the answer of the only rival that was not told AlreadyExists.
func wantOneWinner[T any](t testing.TB, got []outcome[T]) T {
	t.Helper()
	var won []T
	for _, o := range got {
		switch status.Code(o.err) {
		case codes.OK:
			won = append(won, o.value)
		case codes.AlreadyExists:
		default:
			t.Errorf("got %v", o.err)
		}
	}
	if len(won) != 1 {
		t.Errorf("%d of %d rivals won", len(won), len(got))
		var none T
		return none
	}
	return won[0]
}
