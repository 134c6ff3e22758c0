package warm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

// backend is what the operations under test are called on: the controller of before, or one started after it died.
type backend = *warm.Backend

// operations each begin in the same state and are repeated until they succeed.
var operations = []struct {
	name string
	do   func(ctx context.Context, b backend, w world) error
}{
	{"create", func(ctx context.Context, b backend, w world) error { return fail(b.Create(ctx, spec("new", gib))) }},
	{"create in a new team", func(ctx context.Context, b backend, w world) error {
		return fail(b.Create(ctx, spec("new", gib, "team", "blue", "maxFiles", "100", "stripeUnit", "1Mi")))
	}},
	{"restore", func(ctx context.Context, b backend, w world) error {
		return fail(b.Create(ctx, w.copyOf(volume.Source{Snapshot: w.taken.ID})))
	}},
	{"clone", func(ctx context.Context, b backend, w world) error {
		return fail(b.Create(ctx, w.copyOf(volume.Source{Volume: w.source.ID})))
	}},
	{"serve from a snapshot", func(ctx context.Context, b backend, w world) error {
		s := w.copyOf(volume.Source{Snapshot: w.taken.ID})
		s.Access = volume.Access{ReadOnly: true, MultiNode: true}
		return fail(b.Create(ctx, s))
	}},
	{"stop serving from a snapshot", func(ctx context.Context, b backend, w world) error { return b.Delete(ctx, w.backed.ID) }},
	{"snapshot", func(ctx context.Context, b backend, w world) error {
		return fail(b.CreateSnapshot(ctx, volume.SnapshotSpec{Name: "new", Source: w.source.ID}))
	}},
	{"grow", func(ctx context.Context, b backend, w world) error {
		_, _, err := b.Expand(ctx, w.source.ID, volume.CapacityRange{Required: 3 * gib})
		return err
	}},
	{"delete", func(ctx context.Context, b backend, w world) error { return b.Delete(ctx, w.plain.ID) }},
	{"delete with snapshots", func(ctx context.Context, b backend, w world) error { return b.Delete(ctx, w.source.ID) }},
	{"delete a snapshot", func(ctx context.Context, b backend, w world) error { return b.DeleteSnapshot(ctx, w.spare.ID) }},
}

func fail(_ any, err error) error { return err }

// world is what there is before an operation.
type world struct {
	source, plain, backed volume.Volume
	taken, spare          volume.Snapshot
}

func (w world) copyOf(s volume.Source) volume.Spec {
	c := spec("copy", 2*gib)
	c.Source = s
	return c
}

func newWorld(l *lab) world {
	w := world{source: l.create(spec("source", gib)), plain: l.create(spec("plain", gib))}
	w.taken, w.spare = l.snapshot("taken", w.source), l.snapshot("spare", w.source)
	s := spec("backed", 0)
	s.Source, s.Access = volume.Source{Snapshot: w.taken.ID}, volume.Access{ReadOnly: true, MultiNode: true}
	w.backed = l.create(s)
	return w
}

// state is all that can be seen of a cluster, without times and the random names of data directories.
func state(t testing.TB, l *lab, b backend) string {
	t.Helper()
	var out []string
	volumes, _, err := b.ListVolumes(t.Context(), 0, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		line := fmt.Sprint("volume ", v.ID, " ", v.Capacity, " ", v.Source)
		if v.Context["readOnly"] == "" {
			for _, a := range []string{"ceph.dir.layout.pool", "ceph.dir.layout.pool_namespace", "ceph.dir.layout.stripe_unit", "ceph.quota.max_bytes"} {
				line += " " + l.xattr(v.Context["path"], a)
			}
		}
		out = append(out, line)
	}
	snapshots, _, err := b.ListSnapshots(t.Context(), "", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range snapshots {
		out = append(out, fmt.Sprint("snapshot ", s.ID, " ", s.Size))
	}
	conn := l.ceph.Conn()
	defer conn.Close()
	for _, sub := range l.ceph.Subvolumes("warm") {
		names, err := conn.Tree("warm").ReadDir(t.Context(), "/volumes/"+sub+"/.snap")
		if err != nil {
			t.Fatal(err)
		}
		group, _, _ := strings.Cut(sub, "/")
		if ns, err := conn.Tree("warm").Xattr(t.Context(), "/volumes/"+group, "ceph.dir.layout.pool_namespace"); err == nil && ns != "" {
			out = append(out, "group "+group+" has kept "+ns)
		}
		out = append(out, fmt.Sprint("subvolume ", sub, " ", names))
	}
	for _, dir := range []string{"/strata/dev/snapshots", "/strata/dev/snapshots/taken", "/strata/dev/volumes/dev.default"} {
		names, err := conn.Tree("warm").ReadDir(t.Context(), dir)
		if err != nil && !errors.Is(err, syscall.ENOENT) {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(dir, " ", names))
	}
	return strings.Join(out, "\n")
}

// finish repeats an operation while it is pending.
func finish(t testing.TB, do func() error) {
	t.Helper()
	eventually(t, "the repeated operation", func() error {
		err := do()
		if err != nil && !errors.Is(err, volume.ErrPending) {
			t.Fatalf("the repeated operation: %v", err)
		}
		return err
	})
}

// TestFaults breaks every single call to Ceph of every operation, in every way, and demands that the operation says so
// and that its repetition ends in the state that it would have had.
func TestFaults(t *testing.T) {
	const lease = 600 * time.Millisecond
	faults := []struct {
		name string
		// died: a new controller repeats the operation, the old one is gone.
		died   bool
		action cephtest.Action
	}{
		{"is refused", false, cephtest.Action{Fail: syscall.EIO}},
		{"is done and the answer is lost", false, cephtest.Action{Lose: syscall.ETIMEDOUT}},
		{"is never done, and the controller dies", true, cephtest.Action{Hang: true}},
		{"is done, and the controller dies", true, cephtest.Action{LoseAndHang: true}},
	}
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			l := newLab(t, options{lease: lease})
			w := newWorld(l)
			l.ceph.ResetCounts()
			if err := op.do(t.Context(), l.Backend, w); err != nil {
				t.Fatal(err)
			}
			n := l.ceph.Counts()
			calls := n.Mgr + n.Mon + n.Tree + n.Objects
			want := state(t, l, l.Backend)
			if err := op.do(t.Context(), l.Backend, w); err != nil {
				t.Errorf("done twice: %v", err)
			}
			if got := state(t, l, l.Backend); got != want {
				t.Errorf("done twice:\n%s\nonce:\n%s", got, want)
			}
			for at := range calls {
				for _, f := range faults {
					t.Run(fmt.Sprintf("call %d %s", at+1, f.name), func(t *testing.T) {
						t.Parallel()
						l := newLab(t, options{lease: lease})
						w := newWorld(l)
						var count atomic.Int64
						var broken atomic.Value
						l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
							if count.Add(1) != int64(at)+1 {
								return cephtest.Action{}
							}
							broken.Store(c.Op)
							return f.action
						})
						ctx := t.Context()
						if f.died {
							ctx = within(t, 50*time.Millisecond)
						}
						err := op.do(ctx, l.Backend, w)
						l.ceph.Intercept(nil)
						if err != nil && !errors.Is(err, volume.ErrUnavailable) && !errors.Is(err, volume.ErrPending) {
							t.Errorf("%v: got %v", broken.Load(), err)
						}
						b := l.Backend
						if f.died {
							l.Close()
							b = l.another(options{lease: lease})
						}
						finish(t, func() error { return op.do(t.Context(), b, w) })
						if got := state(t, l, b); got != want {
							t.Errorf("%v:\n%s\nundisturbed:\n%s", broken.Load(), got, want)
						}
					})
				}
			}
		})
	}
}

// TestEverythingCanBeDeleted deletes all that the operations can leave behind, in an order that an orchestrator may choose.
func TestEverythingCanBeDeleted(t *testing.T) {
	l := newLab(t, options{})
	w := newWorld(l)
	for _, op := range operations {
		if err := op.do(t.Context(), l.Backend, w); err != nil && !errors.Is(err, volume.ErrNotFound) && !errors.Is(err, volume.ErrExists) {
			t.Fatalf("%s: %v", op.name, err)
		}
	}
	volumes, _, err := l.ListVolumes(t.Context(), 0, "")
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(volumes)
	for _, v := range volumes {
		if err := l.Delete(t.Context(), v.ID); err != nil {
			t.Error(err)
		}
	}
	snapshots, _, err := l.ListSnapshots(t.Context(), "", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range snapshots {
		if err := l.DeleteSnapshot(t.Context(), s.ID); err != nil {
			t.Error(err)
		}
	}
	l.wantEmpty()
}

// TestErrnos holds what a cluster's refusal of the one command means to the caller.
func TestErrnos(t *testing.T) {
	for errno, want := range map[syscall.Errno]error{
		syscall.EACCES: volume.ErrPrecondition, syscall.EPERM: volume.ErrPrecondition, syscall.EOPNOTSUPP: volume.ErrPrecondition,
		syscall.EINVAL: volume.ErrInvalid, syscall.EAGAIN: volume.ErrPending, syscall.EBUSY: volume.ErrPending,
		syscall.ENOSPC: volume.ErrExhausted, syscall.EDQUOT: volume.ErrExhausted,
		syscall.ETIMEDOUT: volume.ErrUnavailable, syscall.EIO: volume.ErrUnavailable, syscall.ESHUTDOWN: volume.ErrUnavailable,
		syscall.ENOTCONN: volume.ErrUnavailable, syscall.EROFS: volume.ErrUnavailable,
	} {
		l := newLab(t, options{})
		l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
			if c.Op == "fs subvolume create" {
				return cephtest.Action{Fail: errno}
			}
			return cephtest.Action{}
		})
		_, err := l.Create(t.Context(), spec("v", gib))
		if !errors.Is(err, want) {
			t.Errorf("%v: got %v, want %v", errno, err, want)
		}
	}
}
