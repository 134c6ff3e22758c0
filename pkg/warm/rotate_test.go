package warm_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

const (
	pvc1    = volume.ID("warm:lab:warm:dev.default:pvc-1")
	first   = "client.strata.dev.volume.default.warm.pvc-1"
	second  = "client.strata.dev.volume-1.default.warm.pvc-1"
	third   = "client.strata.dev.volume-2.default.warm.pvc-1"
	session = "strata.dev.volume.default.warm.pvc-1" // the user of first
)

// caps1 are what the identities of pvc-1 may do.
func caps1(v volume.Volume) map[string]string {
	return map[string]string{"mon": "allow r fsname=warm", "mgr": "allow command none", "mds": "allow rw fsname=warm path=" + v.Context["path"],
		"osd": "allow rw pool=warm-ec namespace=fsvolumens__dev.default_pvc-1"}
}

func (l *lab) rotate(id volume.ID) warm.Keys {
	l.t.Helper()
	keys, err := l.Rotate(l.t.Context(), id)
	if err != nil {
		l.t.Fatal(err)
	}
	return keys
}

func (l *lab) retire(id volume.ID) warm.Keys {
	l.t.Helper()
	keys, err := l.Retire(l.t.Context(), id, false)
	if err != nil {
		l.t.Fatal(err)
	}
	return keys
}

func TestRotateAndRetire(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(own(spec("pvc-1", gib)))
	l.ceph.AddSession("warm", session, "10.0.0.1", "n1", v.Context["path"])
	old := l.ceph.Key(first)
	if keys := l.rotate(v.ID); "client."+keys.User != second || len(keys.Former) != 1 || keys.Former[0] != session {
		t.Errorf("rotated: %+v", keys)
	}
	l.wantIdentity("pvc-1", second, caps1(v))
	if l.ceph.Key(first) != old || l.ceph.Key(second) == old {
		t.Error("the old key isn't as it was, or the new one isn't new")
	}
	// A request that is repeated stays with the new one.
	if again := l.create(own(spec("pvc-1", gib))); again.ID != v.ID {
		t.Errorf("repeated: %v", again)
	}
	l.wantIdentity("pvc-1", second, caps1(v))

	_, err := l.Retire(t.Context(), v.ID, false)
	wantError(t, err, warm.ErrInUse)
	if err != nil && (!strings.Contains(err.Error(), "n1") || !strings.Contains(err.Error(), "10.0.0.1")) {
		t.Error(err)
	}
	if len(l.ceph.Users()) != 2 {
		t.Fatal("it removed a key that is in use")
	}
	l.rotate(v.ID)
	l.ceph.RemoveSessions("warm", session)
	if keys := l.retire(v.ID); len(keys.Retired) != 2 || len(keys.Former) != 0 || "client."+keys.User != third {
		t.Errorf("retired: %+v", keys)
	}
	l.wantIdentity("pvc-1", third, caps1(v))
	if users := l.ceph.Users(); len(users) != 1 {
		t.Errorf("identities: %v", users)
	}
	if keys := l.retire(v.ID); len(keys.Retired) != 0 {
		t.Errorf("retired again: %+v", keys)
	}
	l.rotate(v.ID)
	for range 2 {
		if err := l.Delete(t.Context(), v.ID); err != nil {
			t.Fatal(err)
		}
		l.wantEmpty()
	}
}

// TestRetireWithoutLooking: whoever may not see the clients decides himself.
func TestRetireWithoutLooking(t *testing.T) {
	l := newLab(t, options{noFencer: true})
	v := l.create(own(spec("pvc-1", gib)))
	l.ceph.AddSession("warm", session, "10.0.0.1", "n1", v.Context["path"])
	l.rotate(v.ID)
	_, err := l.Retire(t.Context(), v.ID, false)
	wantError(t, err, warm.ErrNoFencing)
	if len(l.ceph.Users()) != 2 {
		t.Fatal("it removed a key")
	}
	if _, err := l.Retire(t.Context(), v.ID, true); err != nil {
		t.Fatal(err)
	}
	l.wantIdentity("pvc-1", second, caps1(v))
	if len(l.ceph.Users()) != 1 {
		t.Errorf("identities: %v", l.ceph.Users())
	}
}

func TestRotateWhatIsServedFromASnapshot(t *testing.T) {
	l := newLab(t, options{})
	source := l.create(spec("source", gib))
	snap := l.snapshot("snap", source)
	s := own(spec("pvc-2", 0))
	s.Source, s.Access = volume.Source{Snapshot: snap.ID}, volume.Access{ReadOnly: true}
	backed := l.create(s)
	l.rotate(backed.ID)
	l.wantIdentity("pvc-2", "client.strata.dev.snapshot-1.default.warm.pvc-2", map[string]string{
		"mon": "allow r fsname=warm", "mgr": "allow command none", "mds": "allow r fsname=warm path=/volumes/dev.default/source", "osd": "allow r pool=warm-ec namespace=fsvolumens__dev.default_source"})
	if keys := l.retire(backed.ID); len(keys.Retired) != 1 {
		t.Errorf("retired: %+v", keys)
	}
	l.rotate(backed.ID)
	for _, id := range []volume.ID{backed.ID, source.ID} {
		if err := l.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.DeleteSnapshot(t.Context(), snap.ID); err != nil {
		t.Fatal(err)
	}
	l.wantEmpty()
}

func TestRotateWhatHasNoIdentity(t *testing.T) {
	l := newLab(t, options{})
	shared := l.create(spec("shared", gib))
	_, err := l.Rotate(t.Context(), shared.ID)
	wantError(t, err, warm.ErrNoIdentity)
	_, err = l.Rotate(t.Context(), "warm:lab:warm:dev.default:none")
	wantError(t, err, volume.ErrNotFound)
	_, err = l.another(options{noKeeper: true}).Rotate(t.Context(), l.create(own(spec("pvc-1", gib))).ID)
	wantError(t, err, volume.ErrPrecondition)
}

// steps counts the calls that something makes to the cluster, and interrupt makes one of them fail, with or without having taken effect.
func (l *lab) steps(do func()) int {
	var n atomic.Int32
	l.ceph.Intercept(func(cephtest.Call) cephtest.Action { n.Add(1); return cephtest.Action{} })
	do()
	l.ceph.Intercept(nil)
	return int(n.Load())
}

func (l *lab) interrupt(step int, lost bool) {
	var mu sync.Mutex
	n := 0
	l.ceph.Intercept(func(cephtest.Call) cephtest.Action {
		mu.Lock()
		defer mu.Unlock()
		n++
		switch {
		case n != step:
			return cephtest.Action{}
		case lost:
			return cephtest.Action{Lose: syscall.ETIMEDOUT}
		}
		return cephtest.Action{Fail: syscall.ETIMEDOUT}
	})
}

// TestKeysFinishedByRepetition: whatever call of a rotation, a retirement, a fence or its undoing fails, with or without having taken
// effect: the repetition finishes it, a request for the volume that is repeated in between changes nothing, and a deletion leaves nothing.
func TestKeysFinishedByRepetition(t *testing.T) {
	for name, change := range map[string]struct {
		before, do func(*lab) error
		fenced     bool
	}{
		"rotate": {do: func(l *lab) error { _, err := l.Rotate(t.Context(), pvc1); return err }},
		"retire": {before: func(l *lab) error { _, err := l.Rotate(t.Context(), pvc1); return err },
			do: func(l *lab) error { _, err := l.Retire(t.Context(), pvc1, false); return err }},
		"fence": {do: func(l *lab) error { _, err := l.Fence(t.Context(), pvc1); return err }, fenced: true},
		"undo": {before: func(l *lab) error { _, err := l.Fence(t.Context(), pvc1); return err },
			do: func(l *lab) error { _, err := l.Unfence(t.Context(), pvc1); return err }},
	} {
		begin := func(t *testing.T) *lab {
			l := newLab(t, options{lease: 1e8}) // a lock whose release fails is free again soon
			l.create(own(spec("pvc-1", gib)))
			if change.before != nil {
				if err := change.before(l); err != nil {
					t.Fatal(err)
				}
			}
			return l
		}
		l := begin(t)
		steps := l.steps(func() {
			if err := change.do(l); err != nil {
				t.Fatal(err)
			}
		})
		for step := 1; step <= steps; step++ {
			for _, lost := range []bool{false, true} {
				for _, deleted := range []bool{false, true} {
					t.Run(fmt.Sprintf("%s/%d/lost=%t/deleted=%t", name, step, lost, deleted), func(t *testing.T) {
						l := begin(t)
						l.interrupt(step, lost)
						_ = change.do(l) // that it fails isn't said: the call may be one whose failure doesn't matter
						l.ceph.Intercept(nil)
						if !deleted {
							v := l.create(own(spec("pvc-1", gib)))
							eventually(t, "it is repeated", func() error { return change.do(l) })
							users := l.ceph.Users()
							if _, secret := l.secrets.get("pvc-1"); change.fenced {
								if len(users) != 0 || secret {
									t.Errorf("fenced: identities %v, a secret: %t", users, secret)
								}
							} else {
								s, _ := l.secrets.get("pvc-1")
								l.wantIdentity("pvc-1", "client."+s.fields["userID"], caps1(v))
								if len(l.ceph.Users()) > 1 && name != "rotate" {
									t.Errorf("identities: %v", users)
								}
							}
						}
						if err := l.Delete(t.Context(), pvc1); err != nil {
							t.Fatal(err)
						}
						eventually(t, "locks end", func() error {
							if n := len(l.ceph.Locks()); n > 0 {
								return fmt.Errorf("%d locks", n)
							}
							return nil
						})
						l.wantEmpty()
					})
				}
			}
		}
	}
}

// TestDeletedWhileItsKeyIsRotated: a deletion that comes between the steps of a rotation, or of undoing a fence, leaves nothing, whichever
// of the two is the last.
func TestDeletedWhileItsKeyIsRotated(t *testing.T) {
	for name, change := range map[string]struct{ before, do func(*lab) error }{
		"rotate": {before: func(*lab) error { return nil }, do: func(l *lab) error { _, err := l.Rotate(t.Context(), pvc1); return err }},
		"undo": {before: func(l *lab) error { _, err := l.Fence(t.Context(), pvc1); return err },
			do: func(l *lab) error { _, err := l.Unfence(t.Context(), pvc1); return err }},
	} {
		l := newLab(t, options{})
		l.create(own(spec("pvc-1", gib)))
		if err := change.before(l); err != nil {
			t.Fatal(err)
		}
		steps := l.steps(func() {
			if err := change.do(l); err != nil {
				t.Fatal(err)
			}
		})
		for step := 1; step <= steps; step++ {
			t.Run(fmt.Sprintf("%s/%d", name, step), func(t *testing.T) {
				l := newLab(t, options{})
				l.create(own(spec("pvc-1", gib)))
				if err := change.before(l); err != nil {
					t.Fatal(err)
				}
				n := 0
				l.ceph.Intercept(func(cephtest.Call) cephtest.Action {
					if n++; n != step {
						return cephtest.Action{}
					}
					return cephtest.Action{Before: func() {
						if err := l.Delete(t.Context(), pvc1); err != nil {
							t.Error(err)
						}
					}}
				})
				err := change.do(l)
				l.ceph.Intercept(nil)
				if err != nil && !errors.Is(err, volume.ErrNotFound) && !errors.Is(err, volume.ErrPending) {
					t.Error(err)
				}
				l.wantEmpty()
			})
		}
	}
}

// TestRotatedWhileItIsMadeTwice: a request that was late, and has stored the first key after the rotation, takes that back.
func TestRotatedWhileItIsMadeTwice(t *testing.T) {
	l := newLab(t, options{})
	var v volume.Volume
	overtaken := false
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if overtaken || c.Op != "auth get-or-create" {
			return cephtest.Action{}
		}
		overtaken = true // the first request waits here, while another finishes the volume and its key is rotated
		return cephtest.Action{Before: func() {
			v = l.create(own(spec("pvc-1", gib)))
			l.rotate(v.ID)
		}}
	})
	if late := l.create(own(spec("pvc-1", gib))); late.ID != v.ID {
		t.Errorf("two volumes: %v, %v", late, v)
	}
	l.ceph.Intercept(nil)
	l.wantIdentity("pvc-1", second, caps1(v))
}

// TestKeyThatSomebodyChanged: capabilities that were changed by hand are no reason to take keys from what runs.
func TestKeyThatSomebodyChanged(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(own(spec("pvc-1", gib)))
	l.rotate(v.ID)
	conn := l.ceph.Conn()
	defer conn.Close()
	for _, command := range []map[string]any{{"prefix": "auth rm", "entity": second}, {"prefix": "auth get-or-create", "entity": second, "caps": []string{"mon", "allow r"}}} {
		if _, err := conn.Mon(t.Context(), command); err != nil {
			t.Fatal(err)
		}
	}
	_, err := l.Retire(t.Context(), v.ID, true)
	wantError(t, err, ceph.ErrOtherCapabilities)
	if len(l.ceph.Users()) != 2 {
		t.Errorf("identities: %v", l.ceph.Users())
	}
	l.rotate(v.ID) // which is how to mend it
	l.wantIdentity("pvc-1", third, caps1(v))
}
