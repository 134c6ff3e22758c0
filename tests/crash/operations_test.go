package crash

import (
	"context"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/tests/harness"
)

// operations are the rows: each request with every failpoint on its way.
var operations = []operation{
	{
		name:    "CreateVolume",
		points:  []string{"create/before-subvolume", "create/after-group", "create/after-subvolume", "create/after-attribute", "create/before-record", "create/after-record"},
		prepare: func(*run, *subject) {},
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			return s.made(c.CreateVolume(ctx, s.request(nil)))
		},
		look:    (*run).lookVolume,
		instead: (*run).deleteByName,
		undo:    (*run).deleteVolume,
	},
	{
		name:    "CreateVolume with an identity",
		points:  []string{"identity/after-directory", "identity/after-record", "identity/after-mint", "identity/after-secret", "create/after-record"},
		prepare: func(*run, *subject) {},
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			return s.made(c.CreateVolume(ctx, s.own(s.request(nil))))
		},
		look:    (*run).lookIdentity,
		instead: (*run).deleteByName,
		undo:    (*run).deleteVolume,
	},
	{
		name:   "CreateVolume with the identity of a volume that was removed by hand",
		points: []string{"identity/after-former"},
		prepare: func(r *run, s *subject) {
			s.must(s.made(r.other.CreateVolume(call(s.t), s.own(s.request(nil)))))
			s.outcome.Reset()
			r.ceph.Run(s.t, "fs", "subvolume", "rm", harness.FS, s.name, "--group_name", r.group(s))
		},
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			return s.made(c.CreateVolume(ctx, s.own(s.request(nil))))
		},
		look:    (*run).lookIdentity,
		instead: (*run).deleteByName,
		undo:    (*run).deleteVolume,
	},
	{
		name:    "CreateVolume from a snapshot with an identity",
		points:  []string{"identity/after-mint", "clone/before-ready"},
		prepare: func(*run, *subject) {},
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			return s.made(c.CreateVolume(ctx, s.own(s.request(fromSnapshot(r.snap)))))
		},
		look: (*run).lookIdentity,
		undo: (*run).deleteVolume,
	},
	{
		name:    "CreateVolume on a snapshot with an identity",
		points:  []string{"identity/after-record", "identity/after-mint", "identity/after-secret"},
		prepare: func(*run, *subject) {},
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			return s.made(c.CreateVolume(ctx, s.own(s.readOnly(r.snap))))
		},
		look: (*run).lookIdentity,
		instead: func(r *run, s *subject) error {
			s.volume = &csi.Volume{VolumeId: strings.Replace(r.id(s), s.team, "src", 1) + ":ro"} // in the snapshot's group
			return deleteCall(call(s.t), r.other, r, s)
		},
		swept: true,
		undo:  (*run).deleteVolume,
	},
	{
		name:   "DeleteVolume with an identity",
		points: []string{"identity/before-removal", "identity/after-removal", "identity/after-drop", "delete/after-remove", "delete/before-identity"},
		prepare: func(r *run, s *subject) {
			s.must(s.made(r.other.CreateVolume(call(s.t), s.own(s.request(nil)))))
			s.outcome.Reset()
		},
		call: deleteCall,
		look: func(r *run, s *subject) {
			r.lookGone(s)
			r.lookIdentity(s)
		},
		undo: func(*run, *subject) {},
	},
	{
		name:    "CreateVolume from a snapshot", // after its own beginning it goes the way of a copy of a volume
		points:  []string{"clone/after-command", "clone/before-record", "clone/before-ready"},
		prepare: func(*run, *subject) {},
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			return s.made(c.CreateVolume(ctx, s.request(fromSnapshot(r.snap))))
		},
		look: (*run).lookVolume,
		undo: (*run).deleteVolume,
	},
	{
		name: "CreateVolume from a volume",
		points: []string{"clone/before-temporary-snapshot", "clone/after-temporary-snapshot", "clone/after-group", "clone/before-command",
			"clone/after-command", "clone/after-order", "clone/before-record", "clone/after-record", "clone/before-quota", "clone/after-quota", "clone/before-ready", "clone/after-ready"},
		prepare: func(*run, *subject) {},
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			return s.made(c.CreateVolume(ctx, s.request(fromVolume(r.source))))
		},
		look: func(r *run, s *subject) {
			r.lookVolume(s)
			r.noCopySnapshot(s, r.source)
		},
		instead: (*run).deleteByName,
		swept:   true,
		undo:    (*run).deleteVolume,
	},
	{
		name:    "CreateVolume on a snapshot",
		points:  []string{"backed/before-claim", "backed/after-volume", "backed/after-reference", "backed/after-record"},
		prepare: func(*run, *subject) {},
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			return s.made(c.CreateVolume(ctx, s.readOnly(r.snap)))
		},
		look: func(r *run, s *subject) {
			s.note("data %s", checksum(s.t, r.root+s.volume.GetVolumeContext()["path"]))
		},
		instead: func(r *run, s *subject) error {
			s.volume = &csi.Volume{VolumeId: strings.Replace(r.id(s), s.team, "src", 1) + ":ro"} // in the snapshot's group
			return deleteCall(call(s.t), r.other, r, s)
		},
		swept: true,
		undo:  (*run).deleteVolume,
	},
	{
		name:   "DeleteVolume on a snapshot",
		points: []string{"backed/after-release"},
		prepare: func(r *run, s *subject) {
			s.must(s.made(r.other.CreateVolume(call(s.t), s.readOnly(r.snap))))
		},
		call: deleteCall,
		look: (*run).lookGone,
		undo: func(*run, *subject) {},
	},
	{
		name:   "DeleteVolume",
		points: []string{"delete/before-remove", "delete/after-remove"},
		prepare: func(r *run, s *subject) {
			s.volume = r.create(s, s.name, nil)
			write(s.t, r.root+s.volume.GetVolumeContext()["path"], 3, 1<<20)
		},
		call: deleteCall,
		look: (*run).lookGone,
		undo: func(*run, *subject) {},
	},
	{
		name:   "DeleteVolume of one with a snapshot",
		points: []string{"delete/before-remove", "delete/after-remove", "delete/after-forget"},
		prepare: func(r *run, s *subject) {
			s.volume = r.create(s, s.name, nil)
			write(s.t, r.root+s.volume.GetVolumeContext()["path"], 3, 1<<20)
			s.taken = r.snapshot(s, s.name, s.volume)
		},
		call: deleteCall,
		look: func(r *run, s *subject) {
			r.lookGone(s)
			s.note("record of the husk: %q", harness.Xattr(s.t, r.base(s), "user.strata"))
			s.note("data %s", checksum(s.t, r.snapshotData(s)))
		},
		undo: (*run).deleteSnapshot,
	},
	{
		name:   "DeleteVolume of a running copy",
		points: []string{"delete/before-cancel", "delete/after-cancel", "delete/after-temporary-snapshot", "delete/after-copy"},
		prepare: func(r *run, s *subject) {
			s.volume = &csi.Volume{VolumeId: r.id(s)}
			// Nobody is left who would finish it: it stays a copy to the driver, even where the manager is done before it is deleted.
			r.crash(s, "clone/after-record", func(c csi.ControllerClient) error {
				_, err := c.CreateVolume(call(s.t), s.request(fromVolume(r.slow)))
				return err
			})
		},
		call: deleteCall,
		look: func(r *run, s *subject) {
			r.lookGone(s)
			r.noCopySnapshot(s, r.slow)
		},
		undo: func(*run, *subject) {},
	},
	{
		name:   "DeleteVolume of a copy that was never answered",
		points: []string{"delete/after-stop"},
		prepare: func(r *run, s *subject) {
			s.volume = &csi.Volume{VolumeId: r.id(s)}
			r.crash(s, "clone/before-record", func(c csi.ControllerClient) error {
				_, err := c.CreateVolume(call(s.t), s.request(fromVolume(r.slow)))
				return err
			})
		},
		call: deleteCall,
		look: func(r *run, s *subject) {
			r.lookGone(s)
			r.noCopySnapshot(s, r.slow)
		},
		undo: func(*run, *subject) {},
	},
	{
		name:    "ControllerExpandVolume",
		points:  []string{"expand/before-record", "expand/before-quota", "expand/after-quota"},
		prepare: func(r *run, s *subject) { s.volume = r.create(s, s.name, nil) },
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			resp, err := c.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
				VolumeId: s.volume.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: 192 * mib}})
			if err == nil {
				s.answered(resp)
			}
			return err
		},
		look: (*run).lookVolume,
		undo: (*run).deleteVolume,
	},
	{
		name: "CreateSnapshot",
		points: []string{"snapshot/before-record", "snapshot/after-directory", "snapshot/after-record", "snapshot/after-snapshot",
			"snapshot/before-ready", "snapshot/after-ready"},
		prepare: func(r *run, s *subject) {
			s.volume = r.create(s, s.name, nil)
			write(s.t, r.root+s.volume.GetVolumeContext()["path"], 3, 1<<20)
		},
		call: snapshotCall,
		look: (*run).lookSnapshot,
		undo: (*run).deleteBoth,
	},
	{
		name:   "CreateSnapshot by a name whose DeleteSnapshot was interrupted",
		points: []string{"snapshot/after-stale"},
		prepare: func(r *run, s *subject) {
			s.volume = r.create(s, s.name, nil)
			old := r.snapshot(s, s.name, s.volume)
			r.crash(s, "snapshot/after-release", func(c csi.ControllerClient) error {
				_, err := c.DeleteSnapshot(call(s.t), &csi.DeleteSnapshotRequest{SnapshotId: old.GetSnapshotId()})
				return err
			})
			write(s.t, r.root+s.volume.GetVolumeContext()["path"], 3, 1<<20)
		},
		call: snapshotCall,
		look: (*run).lookSnapshot,
		undo: (*run).deleteBoth,
	},
	{
		name:   "DeleteSnapshot",
		points: []string{"snapshot/after-release"},
		prepare: func(r *run, s *subject) {
			s.volume = r.create(s, s.name, nil)
			s.taken = r.snapshot(s, s.name, s.volume)
		},
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			_, err := c.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: s.taken.GetSnapshotId()})
			return err
		},
		look: func(r *run, s *subject) {
			s.note("snapshots %v", r.snapshots(s))
			s.note("index %v", r.index(s))
		},
		undo: (*run).deleteVolume,
	},
	{
		name:   "DeleteSnapshot under a volume that was never answered",
		points: []string{"backed/after-reap"},
		prepare: func(r *run, s *subject) {
			s.volume = r.create(s, s.name, nil)
			s.taken = r.snapshot(s, s.name, s.volume)
			r.crash(s, "backed/after-reference", func(c csi.ControllerClient) error {
				req := s.readOnly(s.taken)
				req.Name += "-window"
				_, err := c.CreateVolume(call(s.t), req)
				return err
			})
		},
		call: func(ctx context.Context, c csi.ControllerClient, r *run, s *subject) error {
			_, err := c.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: s.taken.GetSnapshotId()})
			return err
		},
		look: func(r *run, s *subject) {
			s.note("snapshots %v", r.snapshots(s))
			s.note("index %v", r.index(s))
		},
		undo: (*run).deleteVolume,
	},
}
