package integration

import (
	"encoding/json"
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

// TestVolumes: what a controller tells of volumes, and how they grow.
func TestVolumes(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	root := ceph.RootMount(t)

	t.Run("pages stay whole while volumes come and go", func(t *testing.T) {
		made := map[string]*csi.Volume{}
		for _, name := range []string{"b", "d", "f", "h"} {
			made[name] = create(t, c, harness.Request(name, 8*mib, "team", "red"))
		}
		made["z"] = create(t, c, harness.Request("z", 8*mib, "team", "blue"))
		taken := snapshot(t, c, "taken", made["b"])
		made["view"] = create(t, c, readOnly(from(harness.Request("view", 0), taken)))
		page := 0
		got := listVolumes(t, c, &csi.ListVolumesRequest{MaxEntries: 2}, func() {
			if page++; page == 1 {
				// The page held z of blue and b of red: its last entry goes, something comes before it and behind it.
				remove(t, c, made["b"])
				made["a"] = create(t, c, harness.Request("a", 8*mib, "team", "red"))
				made["e"] = create(t, c, harness.Request("e", 8*mib, "team", "red"))
			}
		})
		var names []string
		for _, v := range got {
			_, name := place(v)
			names = append(names, name)
		}
		if fmt.Sprint(names) != "[z b d e f h view]" {
			t.Errorf("the pages held %v", names)
		}
		whole := listVolumes(t, c, &csi.ListVolumesRequest{}, nil)
		if len(whole) != 7 {
			t.Errorf("in one page: %v", whole)
		}
		for _, token := range []string{"nonsense", "cold:a:b", taken.GetSnapshotId()} {
			_, err := c.ListVolumes(call(t), &csi.ListVolumesRequest{StartingToken: token})
			wantCode(t, err, codes.Aborted)
		}
		_, err := c.ListVolumes(call(t), &csi.ListVolumesRequest{MaxEntries: -1})
		wantCode(t, err, codes.InvalidArgument)
		delete(made, "b")
		for _, v := range made {
			remove(t, c, v)
		}
		unsnapshot(t, c, taken)
	})

	t.Run("a volume grows and never shrinks", func(t *testing.T) {
		v := create(t, c, harness.Request("pvc-grow", 64*mib))
		for _, tt := range []struct {
			required, limit int64
			want            int64
			code            codes.Code
		}{
			{128 * mib, 0, 128 * mib, codes.OK},
			{128 * mib, 0, 128 * mib, codes.OK},
			{64 * mib, 0, 128 * mib, codes.OK},
			{129 * mib, 200 * mib, 132 * mib, codes.OK}, // in whole blocks of statfs
			{134 * mib, 134 * mib, 134 * mib, codes.OK}, // as the limit wants it
			{64 * mib, 100 * mib, 0, codes.OutOfRange},
			{300 * mib, 200 * mib, 0, codes.OutOfRange},
			{-1, 0, 0, codes.InvalidArgument},
		} {
			resp, err := c.ControllerExpandVolume(call(t), &csi.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId(),
				CapacityRange: &csi.CapacityRange{RequiredBytes: tt.required, LimitBytes: tt.limit}})
			wantCode(t, err, tt.code)
			if resp.GetCapacityBytes() != tt.want || resp.GetNodeExpansionRequired() {
				t.Errorf("%d to %d bytes: got %v", tt.required, tt.limit, resp)
			}
		}
		if got := harness.Xattr(t, dataPath(root, v), "ceph.quota.max_bytes"); got != fmt.Sprint(134*mib) {
			t.Errorf("the quota is %s", got)
		}
		got, err := c.ControllerGetVolume(call(t), &csi.ControllerGetVolumeRequest{VolumeId: v.GetVolumeId()})
		if err != nil || got.GetVolume().GetCapacityBytes() != 134*mib {
			t.Errorf("get: %v, %v", got, err)
		}
		// The request that made it is still fulfilled by it, and one that it is too large for is not.
		if again := create(t, c, harness.Request("pvc-grow", 64*mib)); again.GetCapacityBytes() != 134*mib {
			t.Errorf("the repeated request got %v", again)
		}
		small := harness.Request("pvc-grow", 64*mib)
		small.CapacityRange.LimitBytes = 100 * mib
		_, err = c.CreateVolume(call(t), small)
		wantCode(t, err, codes.AlreadyExists)
		_, err = c.ControllerExpandVolume(call(t), &csi.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId()})
		wantCode(t, err, codes.InvalidArgument)
		remove(t, c, v)
		_, err = c.ControllerExpandVolume(call(t), &csi.ControllerExpandVolumeRequest{VolumeId: v.GetVolumeId(),
			CapacityRange: &csi.CapacityRange{RequiredBytes: 128 * mib}})
		wantCode(t, err, codes.NotFound)
	})

	t.Run("capabilities are confirmed of volumes that exist", func(t *testing.T) {
		v := create(t, c, harness.Request("pvc-caps", 8*mib))
		block := harness.Capability(harness.RWX)
		block.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		ask := func(id string, parameters map[string]string, caps ...*csi.VolumeCapability) (*csi.ValidateVolumeCapabilitiesResponse, error) {
			return c.ValidateVolumeCapabilities(call(t), &csi.ValidateVolumeCapabilitiesRequest{VolumeId: id,
				VolumeCapabilities: caps, VolumeContext: v.GetVolumeContext(), Parameters: parameters})
		}
		var all []*csi.VolumeCapability
		for _, m := range []csi.VolumeCapability_AccessMode_Mode{
			csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY,
			csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER, csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER,
			csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY, csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER,
		} {
			all = append(all, harness.Capability(m))
		}
		resp, err := ask(v.GetVolumeId(), harness.Parameters(), all...)
		if err != nil || len(resp.GetConfirmed().GetVolumeCapabilities()) != len(all) {
			t.Errorf("got %v, %v", resp, err)
		}
		for _, tt := range []struct {
			what       string
			parameters map[string]string
			caps       []*csi.VolumeCapability
			say        string
		}{
			{"a block device", nil, []*csi.VolumeCapability{block}, "volumeMode: Filesystem"},
			{"one that isn't offered", nil, []*csi.VolumeCapability{all[0], harness.Capability(csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER)}, "MULTI_NODE_SINGLE_WRITER"},
			{"a wrong parameter", harness.Parameters("poool", "x"), all, `"pool"`},
		} {
			resp, err := ask(v.GetVolumeId(), tt.parameters, tt.caps...)
			if err != nil || resp.GetConfirmed() != nil || !strings.Contains(resp.GetMessage(), tt.say) {
				t.Errorf("%s: got %v, %v", tt.what, resp, err)
			}
		}
		_, err = ask(v.GetVolumeId()+"x", nil, all...)
		wantCode(t, err, codes.NotFound)
		_, err = ask(v.GetVolumeId(), nil)
		wantCode(t, err, codes.InvalidArgument)
		remove(t, c, v)
	})

	t.Run("a block device is refused", func(t *testing.T) {
		req := harness.Request("pvc-block", 8*mib)
		req.VolumeCapabilities[0].AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		_, err := c.CreateVolume(call(t), req)
		wantCode(t, err, codes.InvalidArgument)
		wantText(t, err, "volumeMode: Filesystem")
	})

	t.Run("capacity is what the pool can take", func(t *testing.T) {
		for _, pool := range []string{harness.ECPool, harness.DataPool} {
			resp, err := c.GetCapacity(call(t), &csi.GetCapacityRequest{Parameters: harness.Parameters("pool", pool)})
			if err != nil {
				t.Fatal(err)
			}
			want := available(t, ceph, pool)
			if got := resp.GetAvailableCapacity(); got < want*9/10 || got > want*11/10 {
				t.Errorf("pool %s: %d bytes, `ceph df` says %d", pool, got, want)
			}
		}
		all, err := c.GetCapacity(call(t), &csi.GetCapacityRequest{})
		if err != nil || all.GetAvailableCapacity() == 0 {
			t.Errorf("without parameters: %v, %v", all, err)
		}
		_, err = c.GetCapacity(call(t), &csi.GetCapacityRequest{Parameters: harness.Parameters("pool", "none")})
		wantCode(t, err, codes.FailedPrecondition)
		block := harness.Capability(harness.RWX)
		block.AccessType = &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}
		none, err := c.GetCapacity(call(t), &csi.GetCapacityRequest{Parameters: harness.Parameters(), VolumeCapabilities: []*csi.VolumeCapability{block}})
		if err != nil || none.GetAvailableCapacity() != 0 {
			t.Errorf("of block devices: %v, %v", none, err)
		}
	})

	t.Run("health tells of a full volume", func(t *testing.T) {
		v := create(t, c, harness.Request("pvc-full", 8*mib))
		health := func() []string {
			resp, err := c.ControllerGetVolumeHealth(call(t), &csi.ControllerGetVolumeHealthRequest{VolumeId: v.GetVolumeId()})
			if err != nil {
				t.Fatal(err)
			}
			var reasons []string
			for _, s := range resp.GetVolumeHealth().GetHealthStatuses() {
				reasons = append(reasons, s.GetStatus().String()+" "+s.GetReason())
			}
			return reasons
		}
		if got := health(); len(got) > 0 {
			t.Errorf("a new volume: %v", got)
		}
		path := filepath.Join(dataPath(root, v), "full")
		writeFile(t, path, nil)
		if err := os.Truncate(path, 8*mib); err != nil {
			t.Fatal(err)
		}
		harness.Eventually(t, "the volume is full", harness.Patience, func() error {
			if got := health(); !slices.Equal(got, []string{"DEGRADED QuotaReached"}) {
				return fmt.Errorf("health %v", got)
			}
			return nil
		})
		list, err := c.ControllerListVolumeHealth(call(t), &csi.ControllerListVolumeHealthRequest{})
		if err != nil || len(list.GetEntries()) != 1 || list.GetEntries()[0].GetVolumeId() != v.GetVolumeId() {
			t.Errorf("listed: %v, %v", list, err)
		}
		remove(t, c, v)
		_, err = c.ControllerGetVolumeHealth(call(t), &csi.ControllerGetVolumeHealthRequest{VolumeId: v.GetVolumeId()})
		wantCode(t, err, codes.NotFound)
	})

	t.Run("a conflicting request is refused", func(t *testing.T) {
		v := create(t, c, harness.Request("pvc-one", 64*mib))
		taken := snapshot(t, c, "taken", v)
		for what, req := range map[string]*csi.CreateVolumeRequest{
			"larger":      harness.Request("pvc-one", 128*mib),
			"pool":        harness.Request("pvc-one", 64*mib, "pool", harness.DataPool),
			"source":      from(harness.Request("pvc-one", 64*mib), taken),
			"served from": readOnly(from(harness.Request("pvc-one", 0), taken)),
		} {
			_, err := c.CreateVolume(call(t), req)
			wantCode(t, err, codes.AlreadyExists)
			if err == nil {
				t.Error(what)
			}
		}
		if again := create(t, c, harness.Request("pvc-one", 64*mib)); !proto.Equal(again, v) {
			t.Errorf("got %v, want %v", again, v)
		}
		unsnapshot(t, c, taken)
		remove(t, c, v)
	})
	wantNothingLeft(t, ceph, root, c.Prefix)
}

// available is what `ceph df` says of a pool.
func available(t testing.TB, ceph *harness.Ceph, pool string) int64 {
	t.Helper()
	var df struct {
		Pools []struct {
			Name  string
			Stats struct {
				Available json.Number `json:"max_avail"`
			}
		}
	}
	ceph.JSON(t, &df, "df")
	for _, p := range df.Pools {
		if p.Name == pool {
			n, err := p.Stats.Available.Int64()
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("`ceph df` knows no pool %s", pool)
	return 0
}
