package warm_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
)

// What the manager's queue of copies asks of whoever removes one.

const queueDir = "/volumes/_index/clone"

// queue lists what is in the manager's queue.
func (l *lab) queue() []string {
	l.t.Helper()
	conn := l.ceph.Conn()
	defer conn.Close()
	names, err := conn.Tree("warm").ReadDir(context.Background(), queueDir)
	if err != nil && !ceph.Absent(err) {
		l.t.Fatal(err)
	}
	return names
}

func wantText(t testing.TB, err error, words ...string) {
	t.Helper()
	for _, w := range words {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("the message doesn't say %q: %v", w, err)
		}
	}
}

// copied is the volume that the tests copy into.
const copied = volume.ID("warm:lab:warm:dev.default:copy")

func TestCopyIsReadyWhenItIsOffTheQueue(t *testing.T) {
	l := newLab(t, options{copyWait: 300 * time.Millisecond})
	v := l.create(spec("v", gib))
	for name, from := range map[string]volume.Source{"copy": {Volume: v.ID}, "restored": {Snapshot: l.snapshot("s", v).ID}} {
		asked := restore(name, from)
		l.ceph.HoldQueue(true)
		l.ceph.ResetCounts()
		_, err := l.Create(t.Context(), asked)
		wantError(t, err, volume.ErrPending)
		wantText(t, err, "everything is copied", "queue")
		if n := l.ceph.Counts().Ops["fs clone status"]; n != 1 {
			t.Errorf("the manager was asked %d times for a copy that is complete", n)
		}
		if _, err := l.Get(t.Context(), volume.ID("warm:lab:warm:dev.default:"+name)); !errors.Is(err, volume.ErrPending) {
			t.Errorf("a copy in the queue: %v, want ErrPending", err)
		}
		l.ceph.HoldQueue(false)
		got := l.create(asked)
		if left := l.queue(); len(left) > 0 {
			t.Errorf("a copy was answered with while the queue had %q", left)
		}
		if err := l.Delete(t.Context(), got.ID); err != nil {
			t.Error(err)
		}
	}
}

// TestNoCopyIsRemovedWhileItIsQueued deletes copies in every state while the manager has them in its queue, and afterwards.
func TestNoCopyIsRemovedWhileItIsQueued(t *testing.T) {
	const lease = 600 * time.Millisecond
	order := func(t *testing.T, l *lab, s volume.Source) {
		_, err := l.Create(t.Context(), restore("copy", s))
		wantError(t, err, volume.ErrPending)
	}
	for name, prepare := range map[string]func(t *testing.T, l *lab, s volume.Source){
		"running": func(t *testing.T, l *lab, s volume.Source) {
			l.ceph.AutoClone(false)
			order(t, l, s)
			if _, err := l.ceph.StepClone("warm", "dev.default", "copy"); err != nil {
				t.Fatal(err)
			}
		},
		"complete": order,
		"complete, and without a record": func(t *testing.T, l *lab, s volume.Source) {
			l.die(t, lease, recordOf("/copy"), func(ctx context.Context, b backend) error { return fail(b.Create(ctx, restore("copy", s))) })
		},
		"ready": func(t *testing.T, l *lab, s volume.Source) {
			l.ceph.HoldQueue(false)
			l.create(restore("copy", s))
			l.ceph.HoldQueue(true)
			l.ceph.WriteLink("warm", queueDir+"/00000000-0000-0000-0000-000000000000", "/volumes/dev.default/copy")
		},
	} {
		for kind, of := range map[string]func(volume.Volume, volume.Snapshot) volume.Source{
			"snapshot": func(_ volume.Volume, s volume.Snapshot) volume.Source { return volume.Source{Snapshot: s.ID} },
			"volume":   func(v volume.Volume, _ volume.Snapshot) volume.Source { return volume.Source{Volume: v.ID} },
		} {
			t.Run(name+", of a "+kind, func(t *testing.T) {
				l := newLab(t, options{lease: lease, copyWait: time.Millisecond})
				v := l.create(spec("v", gib))
				s := l.snapshot("s", v)
				l.ceph.HoldQueue(true)
				prepare(t, l, of(v, s))
				err := l.Delete(within(t, time.Second+300*time.Millisecond), copied)
				wantError(t, err, volume.ErrPending)
				wantText(t, err, "dev.default/copy", "has still to strike it off its queue", l.queue()[0])
				if strings.Contains(err.Error(), "stuck") {
					t.Errorf("the queue isn't stuck: %v", err)
				}
				l.ceph.HoldQueue(false)
				if name == "ready" {
					l.ceph.RemoveFile("warm", queueDir+"/00000000-0000-0000-0000-000000000000")
				}
				finish(t, func() error { return l.Delete(t.Context(), copied) })
				if left := l.queue(); len(left) > 0 {
					t.Errorf("left in the queue: %q", left)
				}
				l.ceph.AutoClone(true)
				finish(t, func() error {
					return l.Delete(t.Context(), l.create(restore("next", volume.Source{Snapshot: s.ID})).ID)
				})
				if err := errors.Join(l.DeleteSnapshot(t.Context(), s.ID), l.Delete(t.Context(), v.ID)); err != nil {
					t.Error(err)
				}
				if name == "complete, and without a record" && kind == "volume" {
					// The manager has forgotten what the copy was of: the snapshot for it went with its source, whose husk is left.
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

// TestEmptyVolumesDontAskForTheQueue: the look is for copies only.
func TestEmptyVolumesDontAskForTheQueue(t *testing.T) {
	l := newLab(t, options{})
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if path, _ := c.Args["path"].(string); strings.HasPrefix(path, queueDir) {
			t.Errorf("%s %s", c.Op, path)
		}
		return cephtest.Action{}
	})
	if err := l.Delete(t.Context(), l.create(spec("v", gib)).ID); err != nil {
		t.Error(err)
	}
}

// TestStuckQueueIsExplained: another tool removed a copy of its own too early, and ours waits behind it.
func TestStuckQueueIsExplained(t *testing.T) {
	l := newLab(t, options{copyWait: time.Millisecond})
	v := l.create(spec("v", gib))
	s := l.snapshot("s", v)
	conn := l.ceph.Conn()
	defer conn.Close()
	fs := ceph.NewFS(conn, "warm")
	foreign := ceph.Subvolume{Group: "dev.default", Name: "foreign"}
	if err := errors.Join(fs.Clone(t.Context(), ceph.Subvolume{Group: "dev.default", Name: "v"}, "s", foreign, ""), fs.Remove(t.Context(), foreign)); err != nil {
		t.Fatal(err)
	}
	stuck := queueDir + "/" + l.queue()[0]
	asked := restore("copy", volume.Source{Snapshot: s.ID})
	for range 2 {
		_, err := l.Create(t.Context(), asked)
		wantError(t, err, volume.ErrPending)
		wantText(t, err, "the queue is stuck at "+stuck, "/volumes/dev.default/foreign", "docs/operations.md")
	}
	l.ceph.RemoveFile("warm", stuck)
	l.ceph.FinishClones()
	finish(t, func() error { return fail(l.Create(t.Context(), asked)) })
}

// TestCopyIsNotTakenForAnEmptyVolume: an interrupted CreateVolume left a copy where now an empty volume is asked for.
func TestCopyIsNotTakenForAnEmptyVolume(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(spec("v", gib))
	l.die(t, time.Second, recordOf("/copy"), func(ctx context.Context, b backend) error {
		return fail(b.Create(ctx, restore("copy", volume.Source{Volume: v.ID})))
	})
	_, err := l.Create(t.Context(), spec("copy", gib))
	wantError(t, err, volume.ErrExists)
	wantText(t, err, "is a copy")
}
