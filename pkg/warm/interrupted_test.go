package warm_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
)

// What a controller leaves that died in the middle of a request which is never repeated, or whose name is used for another.

// die lets a call that fits hang for ever, together with all that its controller would still do, and returns a controller for afterwards.
func (l *lab) die(t testing.TB, lease time.Duration, fits func(cephtest.Call) bool, do func(ctx context.Context, b backend) error) {
	t.Helper()
	dead := l.another(options{lease: lease})
	reached := false
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if !fits(c) {
			return cephtest.Action{}
		}
		reached = true
		return cephtest.Action{Hang: true}
	})
	err := do(within(t, 200*time.Millisecond), dead)
	l.ceph.Intercept(nil)
	dead.Close()
	if err == nil || !reached {
		t.Fatalf("the controller didn't die where it should: %v", err)
	}
}

func recordOf(path string) func(cephtest.Call) bool {
	return func(c cephtest.Call) bool {
		return c.Op == "CreateXattr" && c.Args["name"] == "user.strata" && strings.HasSuffix(c.Args["path"].(string), path)
	}
}

// TestStaleSnapshotIsTakenAnew: the controller died in DeleteSnapshot, and the name is used again.
func TestStaleSnapshotIsTakenAnew(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(spec("v", gib))
	old := l.snapshot("s", v)
	l.die(t, time.Second, op("fs subvolume snapshot rm"), func(ctx context.Context, b backend) error { return b.DeleteSnapshot(ctx, old.ID) })
	if _, _, err := l.Expand(t.Context(), v.ID, volume.CapacityRange{Required: 2 * gib}); err != nil {
		t.Fatal(err)
	}
	if got := l.snapshot("s", v); got.Size != 2*gib {
		t.Errorf("the snapshot is the one of before: %d bytes", got.Size)
	}
}

// TestSnapshotNameMovesToAnotherVolume: the controller died in DeleteSnapshot, the name goes to another volume, and the delete is repeated.
func TestSnapshotNameMovesToAnotherVolume(t *testing.T) {
	l := newLab(t, options{})
	a, b := l.create(spec("a", gib)), l.create(spec("b", gib))
	old := l.snapshot("s", a)
	l.die(t, time.Second, op("fs subvolume snapshot rm"), func(ctx context.Context, b backend) error { return b.DeleteSnapshot(ctx, old.ID) })
	moved := l.snapshot("s", b)
	if err := l.DeleteSnapshot(t.Context(), old.ID); err != nil {
		t.Fatal(err)
	}
	if left := l.snapshots("a"); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
	if _, err := l.GetSnapshot(t.Context(), moved.ID); err != nil {
		t.Errorf("the other volume's snapshot: %v", err)
	}
}

// TestNameOfADeletedVolumeIsFree: DeleteVolume died before the record was gone; the name is used for whatever else.
func TestNameOfADeletedVolumeIsFree(t *testing.T) {
	for name, again := range map[string]func(volume.Snapshot) volume.Spec{
		"the same":        func(volume.Snapshot) volume.Spec { return spec("v", gib) },
		"another size":    func(volume.Snapshot) volume.Spec { return spec("v", 2*gib) },
		"another pool":    func(volume.Snapshot) volume.Spec { return spec("v", gib, "pool", "warm-data") },
		"from a snapshot": func(s volume.Snapshot) volume.Spec { return restore("v", volume.Source{Snapshot: s.ID}) },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, options{lease: 600 * time.Millisecond})
			v := l.create(spec("v", gib))
			s := l.snapshot("s", v)
			l.die(t, 300*time.Millisecond, op("RemoveXattr"), func(ctx context.Context, b backend) error { return b.Delete(ctx, v.ID) })
			if _, err := l.Get(t.Context(), v.ID); !errors.Is(err, volume.ErrNotFound) {
				t.Errorf("the deleted volume: %v", err)
			}
			var got volume.Volume
			finish(t, func() (err error) { got, err = l.Create(t.Context(), again(s)); return err })
			if again, err := l.Get(t.Context(), got.ID); err != nil || again.Capacity != got.Capacity {
				t.Errorf("got %v, %v", again, err)
			}
			if err := errors.Join(l.Delete(t.Context(), got.ID), l.DeleteSnapshot(t.Context(), s.ID)); err != nil {
				t.Error(err)
			}
			l.wantEmpty()
		})
	}
}

// TestCopyIntoAHuskIsDeleted: a volume that only has snapshots is restored from one of them and deleted while it is copied.
func TestCopyIntoAHuskIsDeleted(t *testing.T) {
	l := newLab(t, options{copyWait: time.Millisecond})
	v := l.create(spec("v", gib))
	s := l.snapshot("s", v)
	if err := l.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	l.ceph.AutoClone(false)
	_, err := l.Create(t.Context(), restore("v", volume.Source{Snapshot: s.ID}))
	wantError(t, err, volume.ErrPending)
	finish(t, func() error { return l.Delete(t.Context(), v.ID) })
	if _, err := l.GetSnapshot(t.Context(), s.ID); err != nil {
		t.Errorf("the snapshot went with the copy: %v", err)
	}
	if err := l.DeleteSnapshot(t.Context(), s.ID); err != nil {
		t.Error(err)
	}
	l.wantEmpty()
}

// TestGivenUpCopyLeavesNothing: the controller died while it ordered a copy, the request is never repeated, and both volumes are deleted.
func TestGivenUpCopyLeavesNothing(t *testing.T) {
	for _, at := range []struct {
		name string
		fits func(cephtest.Call) bool
	}{
		{"before the temporary snapshot", op("fs subvolume snapshot create")},
		{"after the temporary snapshot", op("fs subvolumegroup create")},
		{"before the order", op("fs subvolume snapshot clone")},
		{"before the record", recordOf("/copy")},
	} {
		for _, complete := range []bool{false, true} {
			for _, first := range []string{"the copy", "the source", "the source, and the request is repeated"} {
				name := at.name + ", the copy running, first goes " + first
				if complete {
					name = at.name + ", the copy complete, first goes " + first
				}
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					const lease = 600 * time.Millisecond
					l := newLab(t, options{lease: lease, copyWait: time.Millisecond})
					l.ceph.AutoClone(complete)
					v := l.create(spec("v", gib))
					asked := restore("copy", volume.Source{Volume: v.ID})
					l.die(t, lease, at.fits, func(ctx context.Context, b backend) error { return fail(b.Create(ctx, asked)) })
					ids := []volume.ID{"warm:lab:warm:dev.default:copy", v.ID}
					if first != "the copy" {
						slices.Reverse(ids)
					}
					for _, id := range ids {
						finish(t, func() error { return l.Delete(t.Context(), id) })
						if strings.HasSuffix(first, "repeated") && id == v.ID {
							_, err := l.Create(t.Context(), asked)
							wantError(t, err, volume.ErrNotFound)
							break
						}
					}
					if complete && strings.HasPrefix(first, "the source") {
						// The manager has forgotten what the copy was of, and the husk is found when its name is used or deleted again.
						finish(t, func() error { return l.Delete(t.Context(), v.ID) })
					}
					eventually(t, "the dead controller's lock ends", func() error {
						if held := l.ceph.Locks(); len(held) > 0 {
							return errors.New(strings.Join(held, ", "))
						}
						return nil
					})
					l.wantEmpty()
				})
			}
		}
	}
}

// TestSnapshotIsFreedOfDeadVolumes: a controller died while it made a volume that is served from a snapshot, and the request is never
// repeated: the snapshot can be deleted all the same.
func TestSnapshotIsFreedOfDeadVolumes(t *testing.T) {
	for _, deleted := range []bool{false, true} {
		const lease = 600 * time.Millisecond
		l := newLab(t, options{lease: lease})
		v := l.create(spec("v", gib))
		s := l.snapshot("s", v)
		asked := restore("window", volume.Source{Snapshot: s.ID})
		asked.Access = volume.Access{ReadOnly: true, MultiNode: true}
		l.die(t, lease, recordOf("/window"), func(ctx context.Context, b backend) error { return fail(b.Create(ctx, asked)) })
		if deleted {
			finish(t, func() error { return l.Delete(t.Context(), "warm:lab:warm:dev.default:window:ro") })
		}
		finish(t, func() error { return l.DeleteSnapshot(t.Context(), s.ID) })
		if err := l.Delete(t.Context(), v.ID); err != nil {
			t.Error(err)
		}
		l.wantEmpty()
	}
}

// TestNotACopy: an interrupted CreateVolume left an empty volume where now a copy is asked for.
func TestNotACopy(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(spec("v", gib))
	l.die(t, time.Second, recordOf("/new"), func(ctx context.Context, b backend) error { return fail(b.Create(ctx, spec("new", gib))) })
	_, err := l.Create(t.Context(), restore("new", volume.Source{Volume: v.ID}))
	wantError(t, err, volume.ErrExists)
}

// TestSnapshotOfTheVolumeBefore: CreateSnapshot died when the snapshot was taken; then the volume was deleted, its name used anew, and the
// request repeated. The snapshot is the one that was taken, of the volume before.
func TestSnapshotOfTheVolumeBefore(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(spec("v", gib))
	l.die(t, time.Second, func(c cephtest.Call) bool { return c.Op == "Xattr" && c.Args["name"] == "ceph.snap.btime" },
		func(ctx context.Context, b backend) error {
			return fail(b.CreateSnapshot(ctx, volume.SnapshotSpec{Name: "s", Source: v.ID}))
		})
	if err := l.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	again := l.create(spec("v", 2*gib))
	if again.Context["path"] == v.Context["path"] {
		t.Fatal("the volume is the one of before")
	}
	if got := l.snapshot("s", again); got.Size != gib {
		t.Errorf("the snapshot has %d bytes", got.Size)
	}
}
