package warm_test

import (
	"testing"

	"github.com/strata-csi/strata/pkg/volume"
)

// The manager runs the volume commands of a whole cluster one at a time: how many a call needs is how many calls there can be. This
// table is the budget of docs/decisions; the numbers are exact, so that a command less is noticed too.
func TestCommandsPerCall(t *testing.T) {
	l := newLab(t, options{})
	l.create(spec("first", gib)) // connects, looks at the cluster, and makes the team's group
	v := l.create(spec("other", gib))
	taken := l.snapshot("taken", v)
	gone := l.create(spec("gone", gib))
	goneMine := l.create(own(spec("gone-mine", gib)))
	backed, backedMine, copiedMine := spec("backed", 0), spec("backed-mine", 0), spec("copied-mine", gib)
	backedMine.Source, backedMine.Access = volume.Source{Snapshot: taken.ID}, volume.Access{ReadOnly: true, MultiNode: true}
	copiedMine.Source = volume.Source{Snapshot: taken.ID}
	backed.Source, backed.Access = volume.Source{Snapshot: taken.ID}, volume.Access{ReadOnly: true, MultiNode: true}
	copied := spec("copied", gib)
	copied.Source = volume.Source{Snapshot: taken.ID}
	cloned := spec("cloned", 2*gib)
	cloned.Source = volume.Source{Volume: v.ID}

	try := func(_ any, err error) error { return err }
	for _, tt := range []struct {
		call     string
		mgr, mon int
		do       func() error
	}{
		{"new volume", 1, 0, func() error { return try(l.Create(t.Context(), spec("new", gib))) }},
		{"the same again", 0, 0, func() error { return try(l.Create(t.Context(), spec("new", gib))) }},
		{"first volume of a team", 3, 0, func() error { return try(l.Create(t.Context(), spec("new", gib, "team", "blue"))) }},
		{"grow", 0, 0, func() error {
			_, _, err := l.Expand(t.Context(), v.ID, volume.CapacityRange{Required: 2 * gib})
			return err
		}},
		{"grow again to the same", 0, 0, func() error {
			_, _, err := l.Expand(t.Context(), v.ID, volume.CapacityRange{Required: 2 * gib})
			return err
		}},
		{"look", 0, 0, func() error { return try(l.Get(t.Context(), v.ID)) }},
		{"list", 0, 0, func() error {
			_, _, err := l.ListVolumes(t.Context(), 0, "")
			return err
		}},
		{"new snapshot", 1, 0, func() error {
			return try(l.CreateSnapshot(t.Context(), volume.SnapshotSpec{Name: "new", Source: v.ID}))
		}},
		{"the same snapshot again", 0, 0, func() error {
			return try(l.CreateSnapshot(t.Context(), volume.SnapshotSpec{Name: "new", Source: v.ID}))
		}},
		{"list snapshots", 0, 0, func() error {
			_, _, err := l.ListSnapshots(t.Context(), "", 0, "")
			return err
		}},
		{"volume served from a snapshot", 0, 0, func() error { return try(l.Create(t.Context(), backed)) }},
		{"the same served again", 0, 0, func() error { return try(l.Create(t.Context(), backed)) }},
		// group create, clone, clone status; once the copy is ready, nothing.
		{"restore", 3, 0, func() error { return try(l.Create(t.Context(), copied)) }},
		{"the same restored again", 0, 0, func() error { return try(l.Create(t.Context(), copied)) }},
		// a snapshot for the copy before, its removal after.
		{"clone", 5, 0, func() error { return try(l.Create(t.Context(), cloned)) }},
		{"capacity", 0, 1, func() error { return try(l.Capacity(t.Context(), spec("", 0).Parameters, nil)) }},
		{"delete", 1, 0, func() error { return l.Delete(t.Context(), gone.ID) }},
		// An identity of the volume's own costs the manager nothing: the monitors mint and remove it.
		{"new volume with an identity", 1, 1, func() error { return try(l.Create(t.Context(), own(spec("mine", gib)))) }},
		{"the same with its identity again", 0, 0, func() error { return try(l.Create(t.Context(), own(spec("mine", gib)))) }},
		{"restore with an identity", 3, 1, func() error { return try(l.Create(t.Context(), own(copiedMine))) }},
		{"volume served from a snapshot with an identity", 0, 1, func() error { return try(l.Create(t.Context(), own(backedMine))) }},
		{"the same served with its identity again", 0, 0, func() error { return try(l.Create(t.Context(), own(backedMine))) }},
		{"delete with an identity", 1, 1, func() error { return l.Delete(t.Context(), goneMine.ID) }},
		{"delete with an identity again", 0, 0, func() error { return l.Delete(t.Context(), goneMine.ID) }},
		{"delete again", 0, 0, func() error { return l.Delete(t.Context(), gone.ID) }},
		{"delete a snapshot", 1, 0, func() error {
			snaps, _, err := l.ListSnapshots(t.Context(), "", 1, "")
			if err != nil {
				return err
			}
			return l.DeleteSnapshot(t.Context(), snaps[0].ID)
		}},
	} {
		l.ceph.ResetCounts()
		if err := tt.do(); err != nil {
			t.Errorf("%s: %v", tt.call, err)
		}
		if n := l.ceph.Counts(); n.Mgr != tt.mgr || n.Mon != tt.mon {
			t.Errorf("%s: %d commands to the manager and %d to the monitors, want %d and %d: %v", tt.call, n.Mgr, n.Mon, tt.mgr, tt.mon, n.Ops)
		}
	}
}
