package warm_test

import (
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestPreflight(t *testing.T) {
	for _, tt := range []struct {
		name       string
		parameters []string
		spoil      func(c *cephtest.Cluster)
		want       error
		say        []string
	}{
		{"no such file system", []string{"fsName", "cold"}, nil, volume.ErrPrecondition, []string{`"cold"`, "there are: warm", "`ceph fs new cold"}},
		{"no such pool", []string{"pool", "fast"}, nil, volume.ErrPrecondition, []string{"`ceph osd pool create fast`", "warm-data, warm-ec"}},
		{"a pool of something else", []string{"pool", "warm-meta"}, nil, volume.ErrPrecondition, []string{"`ceph fs add_data_pool warm warm-meta`"}},
		{"no overwrites", nil, func(c *cephtest.Cluster) { c.AddPool(cephtest.Pool{Name: "warm-ec", Erasure: true}) },
			volume.ErrPrecondition, []string{"`ceph osd pool set warm-ec allow_ec_overwrites true`"}},
		{"first data pool erasure-coded", nil, func(c *cephtest.Cluster) {
			c.AddPool(cephtest.Pool{Name: "warm-data", Erasure: true, Overwrites: true})
		}, volume.ErrPrecondition, []string{"warm-data", "replicated"}},
		{"no metadata server", nil, func(c *cephtest.Cluster) { c.SetMDS("warm", false) }, volume.ErrPrecondition, []string{"`ceph fs status warm`"}},
		{"several file systems and none named", []string{"fsName", ""}, func(c *cephtest.Cluster) {
			c.AddPool(cephtest.Pool{Name: "m2"})
			c.AddPool(cephtest.Pool{Name: "d2"})
			c.AddFS("second", "m2", "d2")
		}, volume.ErrInvalid, []string{"fsName", "second, warm"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t, options{})
			if tt.spoil != nil {
				tt.spoil(l.ceph)
			}
			_, err := l.Create(t.Context(), spec("v", gib, tt.parameters...))
			wantError(t, err, tt.want)
			_, err2 := l.Capacity(t.Context(), spec("v", gib, tt.parameters...).Parameters, nil)
			wantError(t, err2, tt.want)
			for _, w := range tt.say {
				if err != nil && !strings.Contains(err.Error(), w) {
					t.Errorf("doesn't say %q: %v", w, err)
				}
			}
			if n := l.ceph.Counts().Mgr; n > 0 {
				t.Errorf("%d commands to the manager", n)
			}
		})
	}
}

// TestRepairedClusterIsSeen: a class that was refused works as soon as its cluster does.
func TestRepairedClusterIsSeen(t *testing.T) {
	l := newLab(t, options{})
	l.ceph.AddPool(cephtest.Pool{Name: "warm-ec", Erasure: true})
	_, err := l.Create(t.Context(), spec("v", gib))
	wantError(t, err, volume.ErrPrecondition)
	l.ceph.AddPool(cephtest.Pool{Name: "warm-ec", Erasure: true, Overwrites: true})
	eventually(t, "the repair is seen", func() error {
		_, err := l.Create(t.Context(), spec("v", gib))
		return err
	})
}

// TestSilentCluster: every call answers before its caller's deadline when Ceph doesn't, and says that it is not there.
func TestSilentCluster(t *testing.T) {
	for _, kind := range []cephtest.Kind{cephtest.Mgr, cephtest.Tree} {
		for _, op := range operations {
			if kind == cephtest.Mgr && (op.name == "grow" || strings.Contains(op.name, "from a snapshot")) {
				continue // needs no manager
			}
			t.Run(string(kind)+"/"+op.name, func(t *testing.T) {
				t.Parallel()
				l := newLab(t, options{})
				w := newWorld(l)
				awake := make(chan struct{})
				defer close(awake)
				l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
					if c.Kind == kind {
						return cephtest.Action{Hang: true, Until: awake}
					}
					return cephtest.Action{}
				})
				b := l.another(options{lease: time.Second})
				err := op.do(within(t, 100*time.Millisecond), b, w)
				wantError(t, err, volume.ErrUnavailable)
			})
		}
	}
}
