package controller

import (
	"context"
	"errors"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// CreateSnapshot takes a snapshot, or finds the one that an earlier request of this name took.
func (s *Server) CreateSnapshot(ctx context.Context, req *csi.CreateSnapshotRequest) (_ *csi.CreateSnapshotResponse, err error) {
	if err := checkName(req.GetName()); err != nil {
		return nil, err
	}
	if req.GetSourceVolumeId() == "" {
		return nil, missing("source_volume_id")
	}
	source, backend, err := s.backend(req.GetSourceVolumeId())
	if err != nil {
		return nil, err
	}
	if backend.Snapshotter == nil {
		return nil, lacks(source.Tier(), "snapshots")
	}
	release, err := s.lock(ctx, "snapshot-name/"+req.GetName(), "CreateSnapshot")
	if err != nil {
		return nil, err
	}
	defer func() { release(err) }()
	parameters, _ := split(req.GetParameters())
	snap, err := backend.Snapshotter.CreateSnapshot(ctx, volume.SnapshotSpec{Name: req.GetName(), Source: source, Parameters: parameters})
	if err != nil {
		return nil, err
	}
	return &csi.CreateSnapshotResponse{Snapshot: snapshotMessage(snap)}, nil
}

func snapshotMessage(s volume.Snapshot) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: string(s.ID), SourceVolumeId: string(s.Source), SizeBytes: s.Size,
		CreationTime: timestamppb.New(s.Created), ReadyToUse: true,
	}
}

// DeleteSnapshot removes a snapshot. An id that can't be one of ours names nothing, so there is nothing to do.
func (s *Server) DeleteSnapshot(ctx context.Context, req *csi.DeleteSnapshotRequest) (_ *csi.DeleteSnapshotResponse, err error) {
	id, snapshots, err := s.snapshotter(req.GetSnapshotId())
	if errors.Is(err, volume.ErrNotFound) {
		return &csi.DeleteSnapshotResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	release, err := s.lock(ctx, "snapshot/"+string(id), "DeleteSnapshot")
	if err != nil {
		return nil, err
	}
	defer func() { release(err) }()
	if err := snapshots.DeleteSnapshot(ctx, id); err != nil {
		return nil, err
	}
	return &csi.DeleteSnapshotResponse{}, nil
}

// GetSnapshot looks at one snapshot.
func (s *Server) GetSnapshot(ctx context.Context, req *csi.GetSnapshotRequest) (*csi.GetSnapshotResponse, error) {
	id, snapshots, err := s.snapshotter(req.GetSnapshotId())
	if err != nil {
		return nil, err
	}
	snap, err := snapshots.GetSnapshot(ctx, id)
	if err != nil {
		return nil, err
	}
	return &csi.GetSnapshotResponse{Snapshot: snapshotMessage(snap)}, nil
}

// ListSnapshots lists snapshots: all, those of one volume, or the one of an id. An id that names nothing lists nothing.
func (s *Server) ListSnapshots(ctx context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	if err := checkMax(req.GetMaxEntries()); err != nil {
		return nil, err
	}
	if s.none(func(b tier.Backend) bool { return b.Snapshotter != nil }) {
		return nil, nobody("snapshots")
	}
	if req.GetSnapshotId() != "" {
		return s.listOne(ctx, req)
	}
	var source volume.ID
	var listing []volume.Tier
	for t, b := range s.tiers {
		if b.Snapshotter != nil {
			listing = append(listing, t)
		}
	}
	if req.GetSourceVolumeId() != "" {
		id, _, err := s.backend(req.GetSourceVolumeId())
		if errors.Is(err, volume.ErrNotFound) {
			return &csi.ListSnapshotsResponse{}, nil
		}
		if err != nil {
			return nil, err
		}
		source = id
		listing = slices.DeleteFunc(listing, func(t volume.Tier) bool { return t != id.Tier() })
	}
	slices.Sort(listing)
	get := func(t volume.Tier, max int, token string) ([]volume.Snapshot, string, error) {
		return s.tiers[t].Snapshotter.ListSnapshots(ctx, source, max, token)
	}
	snaps, next, err := through(listing, int(req.GetMaxEntries()), req.GetStartingToken(), get,
		func(s volume.Snapshot) string { return string(s.ID) })
	if err != nil {
		return nil, err
	}
	resp := &csi.ListSnapshotsResponse{NextToken: next}
	for _, snap := range snaps {
		resp.Entries = append(resp.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: snapshotMessage(snap)})
	}
	return resp, nil
}

func (s *Server) listOne(ctx context.Context, req *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	id, snapshots, err := s.snapshotter(req.GetSnapshotId())
	var snap volume.Snapshot
	if err == nil {
		snap, err = snapshots.GetSnapshot(ctx, id)
	}
	if errors.Is(err, volume.ErrNotFound) {
		return &csi.ListSnapshotsResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if of := req.GetSourceVolumeId(); of != "" && of != string(snap.Source) {
		return &csi.ListSnapshotsResponse{}, nil
	}
	return &csi.ListSnapshotsResponse{Entries: []*csi.ListSnapshotsResponse_Entry{{Snapshot: snapshotMessage(snap)}}}, nil
}
