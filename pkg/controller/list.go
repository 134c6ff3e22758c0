package controller

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/volumehealth"
)

// A list goes through the tiers in the order of their names. A backend's token is the id of the last entry it gave, and
// an id begins with its tier: the token says by itself where the next page begins.

// page is one step of a list through the tiers.
type page[T any] func(t volume.Tier, max int, token string) (entries []T, next string, err error)

// through collects a page of at most max entries (0: all). last gives the token of an entry.
func through[T any](tiers []volume.Tier, max int, token string, get page[T], last func(T) string) ([]T, string, error) {
	first := 0
	if token != "" {
		id, err := volume.ParseID(token)
		if err != nil {
			return nil, "", fmt.Errorf("%w: starting_token is not one that this driver gave", volume.ErrToken)
		}
		if first = slices.Index(tiers, id.Tier()); first < 0 {
			return nil, "", fmt.Errorf("%w: starting_token is of tier %s, which isn't served here", volume.ErrToken, id.Tier())
		}
	}
	var out []T
	for _, t := range tiers[first:] {
		left := 0
		if max > 0 {
			// One more than fits says whether a page is the last, over the end of a tier too.
			left = max - len(out) + 1
		}
		entries, _, err := get(t, left, token)
		if err != nil {
			return nil, "", err
		}
		token = ""
		out = append(out, entries...)
		if max > 0 && len(out) > max {
			return out[:max], last(out[max-1]), nil
		}
	}
	return out, "", nil
}

func checkMax(max int32) error {
	if max < 0 {
		return fmt.Errorf("%w: max_entries %d can't be negative", volume.ErrInvalid, max)
	}
	return nil
}

// ListVolumes lists the volumes of every tier that keeps account of them.
func (s *Server) ListVolumes(ctx context.Context, req *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	volumes, next, err := s.listVolumes(ctx, req.GetMaxEntries(), req.GetStartingToken())
	if err != nil {
		return nil, err
	}
	resp := &csi.ListVolumesResponse{NextToken: next}
	for _, v := range volumes {
		resp.Entries = append(resp.Entries, &csi.ListVolumesResponse_Entry{Volume: message(v), Status: &csi.ListVolumesResponse_VolumeStatus{}})
	}
	return resp, nil
}

func (s *Server) listVolumes(ctx context.Context, max int32, token string) ([]volume.Volume, string, error) {
	if err := checkMax(max); err != nil {
		return nil, "", err
	}
	var listing []volume.Tier
	for t, b := range s.tiers {
		if b.Lister != nil {
			listing = append(listing, t)
		}
	}
	if len(listing) == 0 {
		return nil, "", nobody("a list of volumes")
	}
	slices.Sort(listing)
	get := func(t volume.Tier, max int, token string) ([]volume.Volume, string, error) {
		return s.tiers[t].Lister.ListVolumes(ctx, max, token)
	}
	return through(listing, int(max), token, get, func(v volume.Volume) string { return string(v.ID) })
}

// ControllerListVolumeHealth lists the health of every volume; one that is well has no statuses.
func (s *Server) ControllerListVolumeHealth(ctx context.Context, req *csi.ControllerListVolumeHealthRequest) (*csi.ControllerListVolumeHealthResponse, error) {
	if s.none(listsHealth) {
		return nil, nobody("a health report of volumes that it lists")
	}
	volumes, next, err := s.listVolumes(ctx, req.GetMaxEntries(), req.GetStartingToken())
	if err != nil {
		return nil, err
	}
	resp := &csi.ControllerListVolumeHealthResponse{NextToken: next}
	for _, v := range volumes {
		reporter := s.tiers[v.ID.Tier()].HealthReporter
		if reporter == nil {
			continue
		}
		conditions, err := reporter.Health(ctx, v.ID)
		if errors.Is(err, volume.ErrNotFound) { // deleted since it was listed
			continue
		}
		if err != nil {
			return nil, err
		}
		resp.Entries = append(resp.Entries, volumehealth.Message(v.ID, conditions))
	}
	return resp, nil
}

func listsHealth(b tier.Backend) bool { return b.HealthReporter != nil && b.Lister != nil }

// ControllerGetVolumeHealth looks at one volume from the backend's side.
func (s *Server) ControllerGetVolumeHealth(ctx context.Context, req *csi.ControllerGetVolumeHealthRequest) (*csi.ControllerGetVolumeHealthResponse, error) {
	id, backend, err := s.backend(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if backend.HealthReporter == nil {
		return nil, lacks(id.Tier(), "health report")
	}
	conditions, err := backend.HealthReporter.Health(ctx, id)
	if err != nil {
		return nil, err
	}
	return &csi.ControllerGetVolumeHealthResponse{VolumeHealth: volumehealth.Message(id, conditions)}, nil
}

// GetCapacity says what a StorageClass can still hold; without a tier, what all of them can together.
func (s *Server) GetCapacity(ctx context.Context, req *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	if s.none(func(b tier.Backend) bool { return b.CapacityReporter != nil }) {
		return nil, nobody("a report of its capacity")
	}
	segment := volume.Segment(req.GetAccessibleTopology().GetSegments())
	if len(segment) > 0 { // external-provisioner asks for the whole cluster with an empty one
		if err := tier.CheckSegment(segment); err != nil {
			return nil, fmt.Errorf("accessible_topology: %w", err)
		}
	}
	parameters, _ := split(req.GetParameters())
	var asked []volume.Tier
	if _, ok := parameters[paramTier]; ok {
		t, err := tierOf(parameters)
		if err != nil {
			return nil, err
		}
		asked = []volume.Tier{t}
	} else {
		for t := range s.tiers {
			asked = append(asked, t)
		}
	}
	var total volume.Capacity
	for _, t := range asked {
		backend, err := s.tiers.For(t)
		if err != nil {
			return nil, err
		}
		if backend.CapacityReporter == nil || unsupported(backend, req.GetVolumeCapabilities()) != "" {
			continue // nothing of that kind can be made
		}
		free, err := backend.CapacityReporter.Capacity(ctx, parameters, segment)
		if err != nil {
			return nil, err
		}
		total.Available += free.Available
		total.Largest = max(total.Largest, free.Largest)
	}
	resp := &csi.GetCapacityResponse{AvailableCapacity: total.Available}
	if total.Largest > 0 {
		resp.MaximumVolumeSize = wrapperspb.Int64(total.Largest)
	}
	return resp, nil
}
