package integration

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"github.com/strata-csi/strata/tests/harness"
)

func TestVolumeIsMadeOnceAndLeavesNothing(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	req := harness.Request("pvc-one", 64*mib, "team", "red", "maxFiles", "1000", "stripeUnit", "1Mi", "stripeCount", "2", "objectSize", "8Mi")
	made, err := c.CreateVolume(call(t), req)
	if err != nil {
		t.Fatal(err)
	}
	v := made.GetVolume()
	if v.GetCapacityBytes() != 64*mib {
		t.Errorf("capacity %d", v.GetCapacityBytes())
	}
	again, err := c.CreateVolume(call(t), req)
	if err != nil {
		t.Fatal(err)
	}
	if again.GetVolume().String() != v.String() {
		t.Errorf("the repeated request got %v, the first %v", again.GetVolume(), v)
	}

	path := v.GetVolumeContext()["path"]
	root := ceph.RootMount(t)
	for attr, want := range map[string]string{
		"ceph.quota.max_bytes":           "67108864",
		"ceph.quota.max_files":           "1000",
		"ceph.dir.layout.pool":           harness.ECPool,
		"ceph.dir.layout.pool_namespace": "fsvolumens__" + string(c.Prefix) + ".red_pvc-one",
		"ceph.dir.layout.stripe_unit":    "1048576",
		"ceph.dir.layout.stripe_count":   "2",
		"ceph.dir.layout.object_size":    "8388608",
	} {
		if got := harness.Xattr(t, root+path, attr); got != want {
			t.Errorf("%s is %q, want %q", attr, got, want)
		}
	}
	if rec := harness.Xattr(t, root+path[:strings.LastIndex(path, "/")], "user.strata"); !strings.Contains(rec, `"name":"pvc-one"`) {
		t.Errorf("the record doesn't name the volume: %s", rec)
	}

	bigger := harness.Request("pvc-one", 128*mib, "team", "red")
	_, err = c.CreateVolume(call(t), bigger)
	wantCode(t, err, codes.AlreadyExists)

	for range 2 {
		if _, err := c.DeleteVolume(call(t), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()}); err != nil {
			t.Fatal(err)
		}
	}
	if left := ceph.Subvolumes(t, c.Prefix); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}
