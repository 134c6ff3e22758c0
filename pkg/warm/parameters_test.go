package warm_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/volume"
)

func TestParameters(t *testing.T) {
	for _, tt := range []struct {
		name, value string
		say         string // of the refusal; "" when it is accepted
	}{
		{"fsName", "warm", ""},
		{"fsName", "-rf", "begin with '-'"},
		{"pool", "warm-ec", ""},
		{"pool", "a/b", "letters, digits"},
		{"team", "red", ""},
		{"team", "${pvc.namespace}", ""},
		{"team", "${pvc.name}", "${pvc.namespace}"},
		{"team", "Red", "lower-case"},
		{"team", strings.Repeat("r", 64), "1 to 63"},
		{"team", "..", "lower-case"},
		{"teamQuota", "500Gi", ""},
		{"teamQuota", "2Ti", ""},
		{"teamQuota", "4194304", ""},
		{"teamQuota", "1Mi", "from 4Mi"},
		{"teamQuota", "0", "from 4Mi"},
		{"teamQuota", "1025Pi", "1024Pi"},
		{"teamQuota", "1.5Ti", "such as 500Gi"},
		{"mounter", "auto", ""},
		{"mounter", "kernel", ""},
		{"mounter", "fuse", ""},
		{"mounter", "nfs", "auto, kernel, fuse"},
		{"fuseMountOptions", "a b", "comma-separated"},
		{"fuseMountOptions", strings.Repeat("x", 1025), "1024"},
		{"kernelMountOptions", "a;b", "comma-separated"},
		{"uid", "0", ""},
		{"uid", "2147483648", "2147483647"},
		{"gid", "root", "2147483647"},
		{"mode", "0770", ""},
		{"mode", "770", ""},
		{"mode", "0888", "octal"},
		{"mode", "u+rwx", "octal"},
		{"volumeNamePrefix", "ml", ""},
		{"volumeNamePrefix", "-ml", "inner '-'"},
		{"volumeNamePrefix", strings.Repeat("m", 21), "1 to 20"},
		{"snapshotNamePrefix", "nightly", ""},
		{"snapshotNamePrefix", "a.b", "inner '-'"},
		{"maxFiles", "1", ""},
		{"maxFiles", "0", "at least 1"},
		{"maxFiles", "many", "at least 1"},
		{"stripeCount", "4", ""},
		{"stripeCount", "0", "at least 1"},
		{"stripeUnit", "64Ki", ""},
		{"stripeUnit", "65536", ""},
		{"stripeUnit", "100Ki", "multiple of 64Ki"},
		{"stripeUnit", "192Ki", "divisor"},
		{"objectSize", "8Mi", ""},
		{"objectSize", "1Gi", ""},
		{"objectSize", "2Gi", "up to 1Gi"},
		{"objectSize", "-4Mi", "up to 1Gi"},
		{"objectSize", "9999999999999Gi", "up to 1Gi"},
		{"poool", "x", `did you mean "pool"`},
		{"maxfiles", "x", `did you mean "maxFiles"`},
		{"nothing-like-it", "x", "it has tier, clusterID"},
	} {
		l := newLab(t, options{})
		err := l.CheckParameters(map[string]string{"tier": "warm", tt.name: tt.value})
		switch {
		case tt.say == "" && err != nil:
			t.Errorf("%s=%s: %v", tt.name, tt.value, err)
		case tt.say != "" && (!errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), tt.name) || !strings.Contains(err.Error(), tt.say)):
			t.Errorf("%s=%.40s: got %v, want %q", tt.name, tt.value, err, tt.say)
		}
	}
}

// TestParametersReachTheVolume: what a class says is what its volumes are.
func TestParametersReachTheVolume(t *testing.T) {
	l := newLab(t, options{})
	s := spec("v", gib, "team", "${pvc.namespace}", "volumeNamePrefix", "ml", "maxFiles", "100", "stripeUnit", "1Mi", "stripeCount", "2",
		"objectSize", "8Mi", "mounter", "fuse", "fuseMountOptions", "client_oc_size=1048576")
	s.Owner = volume.Owner{Namespace: "blue", PVC: "data", PV: "pv-1"}
	v := l.create(s)
	if v.ID != "warm:lab:warm:dev.blue:ml.v" {
		t.Errorf("id %s", v.ID)
	}
	for name, want := range map[string]string{"clusterID": "lab", "fsName": "warm", "mounter": "fuse", "fuseMountOptions": "client_oc_size=1048576", "tier": "warm"} {
		if v.Context[name] != want {
			t.Errorf("context %s=%q, want %q", name, v.Context[name], want)
		}
	}
	for name, want := range map[string]string{
		"ceph.quota.max_bytes": "1073741824", "ceph.quota.max_files": "100", "ceph.dir.layout.pool": "warm-ec",
		"ceph.dir.layout.pool_namespace": "fsvolumens__dev.blue_ml.v", "ceph.dir.layout.stripe_unit": "1048576",
		"ceph.dir.layout.stripe_count": "2", "ceph.dir.layout.object_size": "8388608",
	} {
		if got := l.xattr(v.Context["path"], name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	rec := l.xattr("/volumes/dev.blue/ml.v", "user.strata")
	for _, want := range []string{`"name":"v"`, `"pv":"pv-1"`, `"pvc":"data"`, `"namespace":"blue"`, `"cluster":"dev"`} {
		if !strings.Contains(rec, want) {
			t.Errorf("the record doesn't say %s: %s", want, rec)
		}
	}
	s.Owner.Namespace = ""
	_, err := l.Create(t.Context(), s)
	wantError(t, err, volume.ErrInvalid)
}

// TestNamesThatDontFit: parts whose id would be too long are refused before anything is made.
func TestNamesThatDontFit(t *testing.T) {
	l := newLab(t, options{})
	_, err := l.Create(t.Context(), spec(strings.Repeat("n", 128), gib, "team", strings.Repeat("t", 63), "volumeNamePrefix", strings.Repeat("p", 20)))
	wantError(t, err, volume.ErrInvalid)
	if err != nil && !strings.Contains(err.Error(), "at most 128") {
		t.Error(err)
	}
	l.wantEmpty()
}

func TestSizes(t *testing.T) {
	for _, tt := range []struct {
		required, limit int64
		want            int64
		err             error
	}{
		{0, 0, gib, nil},
		{0, 100 * mib, 100 * mib, nil},
		{64 * mib, 0, 64 * mib, nil},
		{1, 0, 4 * mib, nil}, // in whole blocks of statfs
		{1, 1, 1, nil},
		{65 * mib, 66 * mib, 65 * mib, nil},
		{65 * mib, 68 * mib, 68 * mib, nil},
		{2, 1, 0, volume.ErrOutOfRange},
		{-1, 0, 0, volume.ErrInvalid},
		{0, -1, 0, volume.ErrInvalid},
	} {
		l := newLab(t, options{})
		s := spec("v", 0)
		s.Capacity = volume.CapacityRange{Required: tt.required, Limit: tt.limit}
		v, err := l.Create(t.Context(), s)
		if !errors.Is(err, tt.err) || v.Capacity != tt.want {
			t.Errorf("%d to %d: got %d, %v; want %d, %v", tt.required, tt.limit, v.Capacity, err, tt.want, tt.err)
		}
	}
}
