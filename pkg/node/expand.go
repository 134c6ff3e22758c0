package node

// The node's part of growing a volume.

import (
	"context"
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

func expands(b tier.NodeBackend) bool { return b.NodeExpander != nil }

// NodeExpandVolume grows the volume at a path, or finds that it has grown: a volume whose tier has no part of the node in it shows its new
// size by itself. volume.ErrNotFound: the id can't be a volume's, or something else, or nothing, is mounted there.
func (s *Server) NodeExpandVolume(ctx context.Context, req *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	if !s.any(expands) {
		return nil, fmt.Errorf("%w: no tier of this node has a part in growing a volume", volume.ErrUnsupported)
	}
	if req.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	if req.GetVolumePath() == "" {
		return nil, missing("volume_path")
	}
	size := volume.CapacityRange{Required: req.GetCapacityRange().GetRequiredBytes(), Limit: req.GetCapacityRange().GetLimitBytes()}
	if err := size.Check(); err != nil {
		return nil, err
	}
	if s.isInline(req.GetVolumeId()) {
		return nil, fmt.Errorf("%w: an inline volume keeps the size it was made with", volume.ErrInvalid)
	}
	path, err := checkPath("volume_path", req.GetVolumePath())
	if err != nil {
		return nil, fmt.Errorf("%w: %v", volume.ErrNotFound, err)
	}
	id, backend, err := s.backend(req.GetVolumeId())
	if err != nil {
		return nil, fmt.Errorf("%w: %v", volume.ErrNotFound, err)
	}
	var want *access
	if req.GetVolumeCapability() != nil {
		a, err := checkCapability(req.GetVolumeCapability())
		if err == nil {
			err = a.checkBlock(backend)
		}
		if err != nil {
			return nil, err
		}
		want = &a
	}
	release, err := s.lock(ctx, req.GetVolumeId(), path, "NodeExpandVolume")
	if err != nil {
		return nil, err
	}
	defer release()
	v := stagedSubject{id: id, backend: backend}
	if err := mountedAt(ctx, v, req.GetVolumeId(), path); err != nil {
		return nil, err
	}
	_, block := v.deviceAt(path)
	if want != nil && want.block != block {
		return nil, fmt.Errorf("%w: volume_capability says raw block %t, and at %s it is %t", volume.ErrInvalid, want.block, path, block)
	}
	capacity, err := v.expand(ctx, path, block, size)
	if err != nil {
		return nil, err
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: capacity}, nil
}

// expand returns the volume's size, 0 when nobody can tell.
func (v stagedSubject) expand(ctx context.Context, path string, block bool, size volume.CapacityRange) (int64, error) {
	if v.backend.NodeExpander != nil {
		if block {
			path = ""
		}
		return v.backend.NodeExpander.ExpandOnNode(ctx, v.id, path, size)
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	u, err := v.usage(ctx, path)
	if errors.Is(err, volume.ErrUnsupported) {
		return 0, nil
	}
	return u.TotalBytes, err
}
