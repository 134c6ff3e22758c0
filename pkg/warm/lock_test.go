package warm_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
)

// TestLateClone: the manager obeys the order to copy long after the caller has left, and another request asks for another copy in the
// meantime. Each copy must get its own RADOS namespace.
func TestLateClone(t *testing.T) {
	const lease = 600 * time.Millisecond
	l := newLab(t, options{lease: lease})
	other := l.another(options{lease: lease})
	taken := l.snapshot("taken", l.create(spec("source", gib)))
	restore := func(name string) volume.Spec {
		s := spec(name, gib)
		s.Source = volume.Source{Snapshot: taken.ID}
		return s
	}
	awake := make(chan struct{})
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if c.Op == "fs subvolume snapshot clone" && c.Args["target_sub_name"] == "late" {
			return cephtest.Action{Hang: true, Until: awake}
		}
		return cephtest.Action{}
	})
	_, err := l.Create(within(t, 200*time.Millisecond), restore("late"))
	wantError(t, err, volume.ErrUnavailable)

	// Many leases later the lock is still held, by the one controller against the other and against itself.
	for name, b := range map[string]interface {
		Create(context.Context, volume.Spec) (volume.Volume, error)
	}{"itself": l.Backend, "the other": other} {
		ctx, cancel := context.WithTimeout(t.Context(), 5*lease)
		_, err := b.Create(ctx, restore("next"))
		cancel()
		if !errors.Is(err, volume.ErrPending) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	close(awake)
	for _, name := range []string{"next", "late"} {
		var v volume.Volume
		eventually(t, name, func() (err error) {
			v, err = other.Create(t.Context(), restore(name))
			return err
		})
		if got := l.xattr(v.Context["path"], "ceph.dir.layout.pool_namespace"); got != "fsvolumens__dev.default_"+name {
			t.Errorf("%s lies in %s", name, got)
		}
	}
	eventually(t, "locks are given back", func() error {
		if held := l.ceph.Locks(); len(held) > 0 {
			return errors.New(strings.Join(held, ", "))
		}
		return nil
	})
}

// TestLockOfTheDead: the lock of a controller that died is free when its lease has ended.
func TestLockOfTheDead(t *testing.T) {
	l := newLab(t, options{lease: 500 * time.Millisecond})
	v := l.create(spec("v", gib))
	dead := l.another(options{lease: 500 * time.Millisecond})
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if c.Op == "SetXattr" && c.Args["name"] == "ceph.quota.max_bytes" && c.Count <= 2 {
			return cephtest.Action{Hang: true}
		}
		return cephtest.Action{}
	})
	l.ceph.ResetCounts()
	_, _, err := dead.Expand(within(t, 200*time.Millisecond), v.ID, volume.CapacityRange{Required: 2 * gib})
	wantError(t, err, volume.ErrUnavailable)
	if len(l.ceph.Locks()) == 0 {
		t.Error("the lock was given back although the work under it goes on")
	}
	dead.Close()
	size, _, err := l.Expand(t.Context(), v.ID, volume.CapacityRange{Required: 3 * gib})
	if err != nil || size != 3*gib {
		t.Errorf("got %d, %v", size, err)
	}
}

// TestLostLock: what runs under a lock that can't be renewed is ended before another may begin.
func TestLostLock(t *testing.T) {
	l := newLab(t, options{lease: 600 * time.Millisecond})
	v := l.create(spec("v", gib))
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		switch {
		case c.Op == "Lock" && c.Count > 1, c.Op == "SetXattr":
			return cephtest.Action{Hang: true}
		}
		return cephtest.Action{}
	})
	l.ceph.ResetCounts()
	_, _, err := l.Expand(t.Context(), v.ID, volume.CapacityRange{Required: 2 * gib})
	wantError(t, err, volume.ErrUnavailable)
}
