package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/volume"
)

// CreateVolume makes a volume, or finds the one that an earlier request of this name made.
func (s *Server) CreateVolume(ctx context.Context, req *csi.CreateVolumeRequest) (_ *csi.CreateVolumeResponse, err error) {
	if err := checkName(req.GetName()); err != nil {
		return nil, err
	}
	if len(req.GetVolumeCapabilities()) == 0 {
		return nil, missing("volume_capabilities")
	}
	if len(req.GetMutableParameters()) > 0 {
		return nil, fmt.Errorf("%w: mutable_parameters: no tier has any; remove the VolumeAttributesClass", volume.ErrInvalid)
	}
	capacity, err := rangeOf(req.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	parameters, owner := split(req.GetParameters())
	t, err := tierOf(parameters)
	if err != nil {
		return nil, err
	}
	backend, err := s.tiers.For(t)
	if err != nil {
		return nil, err
	}
	if why := unsupported(backend, req.GetVolumeCapabilities()); why != "" {
		return nil, fmt.Errorf("%w: %s", volume.ErrInvalid, why)
	}
	source, err := sourceOf(req.GetVolumeContentSource())
	if err != nil {
		return nil, err
	}
	if !source.Empty() && backend.Snapshotter == nil {
		return nil, fmt.Errorf("%w: tier %s makes no copies: its volumes begin empty, remove the dataSource", volume.ErrInvalid, t)
	}
	preferred, err := segmentsOf(req.GetAccessibilityRequirements())
	if err != nil {
		return nil, err
	}
	release, err := s.lock(ctx, "name/"+req.GetName(), "CreateVolume")
	if err != nil {
		return nil, err
	}
	defer func() { release(err) }()
	v, err := backend.With(req.GetSecrets()).Create(ctx, volume.Spec{
		Name: req.GetName(), Capacity: capacity, Access: accessOf(req.GetVolumeCapabilities()), Parameters: parameters,
		Owner: owner, Source: source, Preferred: preferred,
	})
	if err != nil {
		return nil, err
	}
	m := message(v)
	m.ContentSource = req.GetVolumeContentSource()
	return &csi.CreateVolumeResponse{Volume: m}, nil
}

func tierOf(parameters map[string]string) (volume.Tier, error) {
	name, ok := parameters[paramTier]
	if !ok {
		return "", fmt.Errorf("parameter %s of the StorageClass is missing: %w", paramTier, volume.ErrInvalid)
	}
	return volume.ParseTier(name)
}

func message(v volume.Volume) *csi.Volume {
	m := &csi.Volume{VolumeId: string(v.ID), CapacityBytes: v.Capacity, VolumeContext: maps.Clone(v.Context)}
	switch {
	case v.Source.Snapshot != "":
		m.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: string(v.Source.Snapshot)}}}
	case v.Source.Volume != "":
		m.ContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: string(v.Source.Volume)}}}
	}
	for _, segment := range v.Segments {
		m.AccessibleTopology = append(m.AccessibleTopology, &csi.Topology{Segments: maps.Clone(segment)})
	}
	return m
}

// DeleteVolume removes a volume. An id that can't be one of ours names nothing, so there is nothing to do.
func (s *Server) DeleteVolume(ctx context.Context, req *csi.DeleteVolumeRequest) (_ *csi.DeleteVolumeResponse, err error) {
	id, backend, err := s.backend(req.GetVolumeId())
	if errors.Is(err, volume.ErrNotFound) {
		return &csi.DeleteVolumeResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	release, err := s.lock(ctx, "volume/"+string(id), "DeleteVolume")
	if err != nil {
		return nil, err
	}
	defer func() { release(err) }()
	if err := backend.With(req.GetSecrets()).Delete(ctx, id); err != nil {
		return nil, err
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// ControllerExpandVolume grows a volume.
func (s *Server) ControllerExpandVolume(ctx context.Context, req *csi.ControllerExpandVolumeRequest) (_ *csi.ControllerExpandVolumeResponse, err error) {
	id, backend, err := s.backend(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if req.GetCapacityRange() == nil {
		return nil, missing("capacity_range")
	}
	size, err := rangeOf(req.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	if c := req.GetVolumeCapability(); c != nil {
		if why := unsupported(backend, []*csi.VolumeCapability{c}); why != "" {
			return nil, fmt.Errorf("%w: %s", volume.ErrInvalid, why)
		}
	}
	if backend.Expander == nil {
		return nil, lacks(id.Tier(), "growing volumes")
	}
	release, err := s.lock(ctx, "volume/"+string(id), "ControllerExpandVolume")
	if err != nil {
		return nil, err
	}
	defer func() { release(err) }()
	capacity, onNode, err := backend.With(req.GetSecrets()).Expander.Expand(ctx, id, size)
	if err != nil {
		return nil, err
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: capacity, NodeExpansionRequired: onNode}, nil
}

// ValidateVolumeCapabilities says whether an existing volume can be used as asked.
func (s *Server) ValidateVolumeCapabilities(ctx context.Context, req *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	if len(req.GetVolumeCapabilities()) == 0 {
		return nil, missing("volume_capabilities")
	}
	id, backend, err := s.backend(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if _, err := backend.With(req.GetSecrets()).Get(ctx, id); err != nil {
		return nil, err
	}
	why := unsupported(backend, req.GetVolumeCapabilities())
	if why == "" && len(req.GetParameters()) > 0 {
		parameters, _ := split(req.GetParameters())
		if err := backend.CheckParameters(parameters); err != nil {
			why = err.Error()
		}
	}
	if why != "" {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: why}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: req.GetVolumeContext(), VolumeCapabilities: req.GetVolumeCapabilities(), Parameters: req.GetParameters(),
	}}, nil
}

// ControllerGetVolume looks at one volume.
func (s *Server) ControllerGetVolume(ctx context.Context, req *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	id, backend, err := s.backend(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if backend.SecretUser != nil {
		return nil, lacks(id.Tier(), "look at a volume without a secret")
	}
	v, err := backend.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return &csi.ControllerGetVolumeResponse{Volume: message(v), Status: &csi.ControllerGetVolumeResponse_VolumeStatus{}}, nil
}
