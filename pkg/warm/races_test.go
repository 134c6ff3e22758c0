package warm_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
)

// What two controllers do to each other, one of them slow at the worst moment.

// before calls f once, when a call that fits is about to be done.
func (l *lab) before(fits func(cephtest.Call) bool, f func()) {
	var once sync.Once
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if !fits(c) {
			return cephtest.Action{}
		}
		do := false
		once.Do(func() { do = true })
		if !do {
			return cephtest.Action{}
		}
		return cephtest.Action{Before: f}
	})
}

func op(name string) func(cephtest.Call) bool {
	return func(c cephtest.Call) bool { return c.Op == name }
}

func restore(name string, from volume.Source) volume.Spec {
	s := spec(name, 0)
	s.Source = from
	return s
}

func (l *lab) snapshots(sub string) []string {
	l.t.Helper()
	conn := l.ceph.Conn()
	defer conn.Close()
	names, err := conn.Tree("warm").ReadDir(context.Background(), "/volumes/dev.default/"+sub+"/.snap")
	if err != nil && !errors.Is(err, syscall.ENOENT) {
		l.t.Fatal(err)
	}
	return names
}

// TestLateCreateUndoesNothing: one controller's command comes when another has made the volume, given it out and grown it.
func TestLateCreateUndoesNothing(t *testing.T) {
	l := newLab(t, options{})
	other := l.another(options{})
	l.create(spec("first", gib)) // makes the group
	var v volume.Volume
	var between string
	l.before(op("fs subvolume create"), func() {
		var err error
		if v, err = other.Create(t.Context(), spec("v", gib)); err != nil {
			t.Error(err)
		}
		if _, _, err := other.Expand(t.Context(), v.ID, volume.CapacityRange{Required: 3 * gib}); err != nil {
			t.Error(err)
		}
		l.before(op("SetXattr"), func() { between = l.xattr(v.Context["path"], "ceph.dir.layout.pool_namespace") })
	})
	got, err := l.Create(t.Context(), spec("v", gib))
	if err != nil || got.Capacity != 3*gib {
		t.Errorf("got %d bytes, %v", got.Capacity, err)
	}
	if q := l.xattr(v.Context["path"], "ceph.quota.max_bytes"); q != "3221225472" {
		t.Errorf("the volume was shrunk to %s bytes", q)
	}
	if between != "fsvolumens__dev.default_v" {
		t.Errorf("for a moment the volume's new files went to the RADOS namespace %s", between)
	}
}

// TestSnapshotOfAnotherStays: one controller finds the name free, another takes the snapshot, and the first goes on.
func TestSnapshotOfAnotherStays(t *testing.T) {
	for _, at := range []string{"Xattr", "MakeDir", "CreateXattr", "fs subvolume snapshot create"} {
		t.Run(at, func(t *testing.T) {
			l := newLab(t, options{})
			other := l.another(options{})
			v := l.create(spec("v", gib))
			want := volume.SnapshotSpec{Name: "s", Source: v.ID}
			var taken volume.Snapshot
			looks := 0
			l.before(func(c cephtest.Call) bool {
				path, _ := c.Args["path"].(string)
				if at == "Xattr" { // the look for a snapshot without a record
					return c.Op == at && strings.Contains(path, "/.snap/s")
				}
				if c.Op == at {
					looks++
				}
				return c.Op == at && looks == 1
			}, func() {
				var err error
				if taken, err = other.CreateSnapshot(t.Context(), want); err != nil {
					t.Error(err)
				}
			})
			got, err := l.CreateSnapshot(t.Context(), want)
			if err != nil || got.ID != taken.ID || !got.Created.Equal(taken.Created) {
				t.Errorf("got %v, %v, the other %v", got, err, taken)
			}
			if names := l.snapshots("v"); !slices.Contains(names, "s") {
				t.Errorf("the snapshot that was given out is gone: %v", names)
			}
		})
	}
}

// TestAbandonedCopyIsOnlyItsOwn: two controllers find that a copy was cancelled; one is slow to clear it away, and the other
// has already made it anew.
func TestAbandonedCopyIsOnlyItsOwn(t *testing.T) {
	for _, at := range []string{"Lock", "fs subvolume rm", "fs clone status"} {
		t.Run(at, func(t *testing.T) {
			const lease = time.Second
			l := newLab(t, options{lease: lease, copyWait: time.Millisecond})
			other := l.another(options{lease: lease})
			v := l.create(spec("v", gib))
			s := l.snapshot("s", v)
			asked := restore("copy", volume.Source{Snapshot: s.ID})
			l.ceph.AutoClone(false)
			_, err := l.Create(t.Context(), asked)
			wantError(t, err, volume.ErrPending)
			conn := l.ceph.Conn()
			if _, err := conn.Mgr(t.Context(), map[string]any{"prefix": "fs clone cancel", "vol_name": "warm", "clone_name": "copy", "group_name": "dev.default"}); err != nil {
				t.Fatal(err)
			}
			l.ceph.AutoClone(true)
			var made volume.Volume
			l.before(op(at), func() {
				ctx := within(t, 300*time.Millisecond) // the slow one may have the lock
				for range 3 {
					if v, err := other.Create(ctx, asked); err == nil {
						made = v
					}
				}
			})
			_, err = l.Create(t.Context(), asked)
			l.ceph.Intercept(nil)
			if err != nil && !errors.Is(err, volume.ErrPending) {
				t.Error(err)
			}
			if made.ID == "" {
				finish(t, func() (err error) { made, err = l.Create(t.Context(), asked); return err })
			}
			if got, err := l.Get(t.Context(), made.ID); err != nil || got.Context["path"] != made.Context["path"] {
				t.Errorf("the volume that was given out: %v, %v", got, err)
			}
		})
	}
}

// TestSnapshotStaysUnderAVolumeBeingMade: DeleteSnapshot at every moment of the making of a volume that is served from it: either
// the volume is made and the snapshot stays, or neither is there.
func TestSnapshotStaysUnderAVolumeBeingMade(t *testing.T) {
	for at := 1; ; at++ {
		l := newLab(t, options{lease: time.Second})
		other := l.another(options{lease: time.Second})
		v := l.create(spec("v", gib))
		s := l.snapshot("s", v)
		asked := restore("window", volume.Source{Snapshot: s.ID})
		asked.Access = volume.Access{ReadOnly: true, MultiNode: true}
		calls := 0
		reached := false
		l.before(func(cephtest.Call) bool { calls++; return calls == at }, func() {
			reached = true
			// Its own calls mustn't be counted, and it may have to wait for the one it interrupts.
			_ = other.DeleteSnapshot(within(t, 100*time.Millisecond), s.ID)
		})
		_, err := l.Create(t.Context(), asked)
		l.ceph.Intercept(nil)
		if !reached {
			break
		}
		_, gone := l.GetSnapshot(t.Context(), s.ID)
		switch {
		case err == nil && gone != nil:
			t.Errorf("call %d: the snapshot was deleted under the volume", at)
		case err != nil && !errors.Is(err, volume.ErrNotFound) && !errors.Is(err, volume.ErrPending):
			t.Errorf("call %d: %v", at, err)
		}
	}
}

// TestManagerLetsGoLate: a copy is complete a moment before the manager lets its snapshot be removed.
func TestManagerLetsGoLate(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(spec("v", gib))
	refused := 0
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if c.Op == "fs subvolume snapshot rm" && refused < 2 {
			refused++
			return cephtest.Action{Fail: syscall.EAGAIN}
		}
		return cephtest.Action{}
	})
	l.create(restore("copy", volume.Source{Volume: v.ID}))
	if refused != 2 {
		t.Errorf("refused %d times", refused)
	}
}

// TestRemovedFileSystem isn't taken for a missing volume or snapshot.
func TestRemovedFileSystem(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(spec("v", gib))
	s := l.snapshot("s", v)
	l.before(op("fs subvolume create"), func() { l.ceph.RemoveFS("warm") })
	_, err := l.Create(t.Context(), spec("new", gib))
	wantError(t, err, volume.ErrPrecondition)
	_, err = l.GetSnapshot(t.Context(), s.ID)
	wantError(t, err, volume.ErrNotFound)
}

// TestSourceGoesDuringACopy: the source is deleted while it is copied; the copy becomes whole, and then nothing of the source is left.
func TestSourceGoesDuringACopy(t *testing.T) {
	l := newLab(t, options{copyWait: time.Millisecond})
	l.ceph.AutoClone(false)
	v := l.create(spec("v", gib))
	asked := restore("copy", volume.Source{Volume: v.ID})
	_, err := l.Create(t.Context(), asked)
	wantError(t, err, volume.ErrPending)
	if err := l.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	l.ceph.FinishClones()
	var got volume.Volume
	finish(t, func() (err error) { got, err = l.Create(t.Context(), asked); return err })
	if got.Capacity != gib {
		t.Errorf("got %d bytes", got.Capacity)
	}
	if left := l.ceph.Subvolumes("warm"); !slices.Equal(left, []string{"dev.default/copy"}) {
		t.Errorf("there are %v", left)
	}
}

// TestVolumeBeingCopiedIsNotReady: no snapshot is taken of it, and it can't grow.
func TestVolumeBeingCopiedIsNotReady(t *testing.T) {
	l := newLab(t, options{copyWait: time.Millisecond})
	l.ceph.AutoClone(false)
	v := l.create(spec("v", gib))
	_, err := l.Create(t.Context(), restore("copy", volume.Source{Volume: v.ID}))
	wantError(t, err, volume.ErrPending)
	const id = volume.ID("warm:lab:warm:dev.default:copy")
	_, err = l.CreateSnapshot(t.Context(), volume.SnapshotSpec{Name: "s", Source: id})
	wantError(t, err, volume.ErrPending)
	_, _, err = l.Expand(t.Context(), id, volume.CapacityRange{Required: 2 * gib})
	wantError(t, err, volume.ErrPending)
	_, err = l.Create(t.Context(), restore("copy-of-copy", volume.Source{Volume: id}))
	wantError(t, err, volume.ErrPending)
}
