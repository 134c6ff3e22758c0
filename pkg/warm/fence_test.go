package warm_test

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

func TestFence(t *testing.T) {
	l := newLab(t, options{})
	v, other := l.create(own(spec("pvc-1", gib))), l.create(own(spec("pvc-2", gib)))
	path := v.Context["path"]
	a := l.ceph.AddSession("warm", session, "10.0.0.1", "n1", path)
	l.ceph.AddSession("warm", "strata.dev.volume.default.warm.pvc-2", "10.0.0.1", "n1", other.Context["path"])
	l.rotate(v.ID)
	b := l.ceph.AddSession("warm", "strata.dev.volume-1.default.warm.pvc-1", "10.0.0.2", "n2", path+"/below")
	old := l.ceph.Key(second)

	f, err := l.Fence(t.Context(), v.ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(f.ShutOut) != 2 || f.ShutOut[0].Address != a || f.ShutOut[1].Address != b || f.ShutOut[1].Host != "n2" || len(f.Keys.Retired) != 2 || !f.Keys.Fenced {
		t.Errorf("fenced: %+v", f)
	}
	if left := l.ceph.Sessions("warm"); !slices.Equal(left, []string{"strata.dev.volume.default.warm.pvc-2"}) {
		t.Errorf("sessions left: %v", left)
	}
	if list := l.ceph.Blocklist(); len(list) != 2 || time.Until(list[a]) < 300*24*time.Hour {
		t.Errorf("blocklist: %v", list)
	}
	if users := l.ceph.Users(); len(users) != 1 {
		t.Errorf("identities: %v", users)
	}
	if _, there := l.secrets.get("pvc-1"); there {
		t.Error("the secret is there")
	}
	// Nothing gives it a key but undoing it.
	l.create(own(spec("pvc-1", gib)))
	_, err = l.Rotate(t.Context(), v.ID)
	wantError(t, err, volume.ErrPrecondition)
	if err != nil && !strings.Contains(err.Error(), "--undo") {
		t.Error(err)
	}
	_, err = l.Retire(t.Context(), v.ID, true)
	wantError(t, err, volume.ErrPrecondition)
	if _, there := l.secrets.get("pvc-1"); there || len(l.ceph.Users()) != 1 {
		t.Error("it has a key again")
	}
	// A thief with a ticket from before.
	late := l.ceph.AddSession("warm", session, "10.0.0.3", "n3", path)
	if f, err = l.Fence(t.Context(), v.ID); err != nil || len(f.ShutOut) != 1 || f.ShutOut[0].Address != late {
		t.Errorf("fenced again: %+v, %v", f, err)
	}

	for range 2 {
		keys, err := l.Unfence(t.Context(), v.ID)
		if err != nil || "client."+keys.User != third || len(keys.Former) != 0 {
			t.Fatalf("undone: %+v, %v", keys, err)
		}
		l.wantIdentity("pvc-1", third, caps1(v))
	}
	if l.ceph.Key(third) == old || len(l.ceph.Blocklist()) != 3 {
		t.Error("the old key is back, or an old client")
	}
	for _, id := range []volume.ID{v.ID, other.ID} {
		if err := l.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	l.wantEmpty()
}

func TestFenceWithoutAUserForIt(t *testing.T) {
	l := newLab(t, options{noFencer: true})
	v := l.create(own(spec("pvc-1", gib)))
	_, err := l.Fence(t.Context(), v.ID)
	wantError(t, err, warm.ErrNoFencing)
	l.wantIdentity("pvc-1", first, caps1(v))
}

func TestFenceOfNothing(t *testing.T) {
	l := newLab(t, options{})
	_, err := l.Fence(t.Context(), l.create(spec("shared", gib)).ID)
	wantError(t, err, warm.ErrNoIdentity)
	_, err = l.Fence(t.Context(), "warm:lab:warm:dev.default:none")
	wantError(t, err, volume.ErrNotFound)
}

// TestFenceThatCantBeFinished: the keys are gone, and it says that clients may be there.
func TestFenceThatCantBeFinished(t *testing.T) {
	for _, op := range []string{"session ls", "osd blocklist", "fs get"} {
		t.Run(op, func(t *testing.T) {
			l := newLab(t, options{})
			v := l.create(own(spec("pvc-1", gib)))
			l.ceph.AddSession("warm", session, "10.0.0.1", "n1", v.Context["path"])
			l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
				if c.Op == op {
					return cephtest.Action{Fail: syscall.EACCES}
				}
				return cephtest.Action{}
			})
			if f, err := l.Fence(t.Context(), v.ID); err == nil {
				t.Errorf("it says that it is done: %+v", f)
			}
			l.ceph.Intercept(nil)
			if len(l.ceph.Users()) != 0 {
				t.Errorf("identities: %v", l.ceph.Users())
			}
			if f, err := l.Fence(t.Context(), v.ID); err != nil || len(f.ShutOut) != 1 {
				t.Errorf("repeated: %+v, %v", f, err)
			}
		})
	}
}

// TestFenceThatClientsEscape: it isn't done while sessions are there.
func TestFenceThatClientsEscape(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(own(spec("pvc-1", gib)))
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if c.Op != "session ls" {
			return cephtest.Action{}
		}
		return cephtest.Action{Before: func() { l.ceph.AddSession("warm", session, "10.0.0.1", "n1", v.Context["path"]) }}
	})
	f, err := l.Fence(within(t, time.Second), v.ID)
	wantError(t, err, volume.ErrPending)
	if len(f.ShutOut) < 2 {
		t.Errorf("shut out: %+v", f.ShutOut)
	}
	l.ceph.Intercept(nil)
	if _, err := l.Fence(t.Context(), v.ID); err != nil {
		t.Error(err)
	}
}
