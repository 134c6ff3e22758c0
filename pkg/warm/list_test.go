package warm_test

import (
	"strings"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
)

// TestListsOfManyFileSystems: what a cluster holds beside ours must not hide our volumes, nor stand in their way.
func TestListsOfManyFileSystems(t *testing.T) {
	lists := func(t *testing.T, l *lab, want error, words ...string) {
		t.Helper()
		volumes, _, err := l.ListVolumes(t.Context(), 0, "")
		_, _, err2 := l.ListSnapshots(t.Context(), "", 0, "")
		for _, err := range []error{err, err2} {
			wantError(t, err, want)
			for _, w := range words {
				if err != nil && !strings.Contains(err.Error(), w) {
					t.Errorf("%v doesn't say %q", err, w)
				}
			}
		}
		if want == nil && len(volumes) != 1 {
			t.Errorf("listed: %v", volumes)
		}
	}
	// refuse makes the metadata servers of some file systems refuse our key.
	refuse := func(l *lab, names string) {
		l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
			if fs, _ := c.Args["fs"].(string); c.Kind == cephtest.Tree && strings.Contains(names, fs) {
				return cephtest.Action{Fail: syscall.EACCES}
			}
			return cephtest.Action{}
		})
	}
	newCluster := func(t *testing.T) *lab {
		l := newLab(t, options{})
		l.ceph.AddPool(cephtest.Pool{Name: "other-meta"})
		l.ceph.AddPool(cephtest.Pool{Name: "other-data"})
		l.ceph.AddFS("other", "other-meta", "other-data")
		l.create(spec("v", gib))
		return l
	}
	t.Run("an empty one", func(t *testing.T) { lists(t, newCluster(t), nil) })
	t.Run("one that our key may not enter", func(t *testing.T) {
		l := newCluster(t)
		refuse(l, "other")
		lists(t, l, nil)
	})
	t.Run("none that our key may enter", func(t *testing.T) {
		l := newCluster(t)
		refuse(l, "other warm")
		lists(t, l, volume.ErrPrecondition, "capability")
	})
	t.Run("one that is down", func(t *testing.T) {
		l := newCluster(t)
		l.ceph.SetMDS("other", false)
		b := l.another(options{})
		l.Backend = b // has not looked at the cluster before
		lists(t, l, volume.ErrUnavailable, "other", "`ceph fs status other`")
	})
}
