package node

// What is wrong with a volume, seen from this node.

import (
	"context"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/volumehealth"
)

// NodeGetVolumeHealth looks at the paths of the request, or, without any, wherever the volume is mounted on this node.
// volume.ErrNotFound: the id can't be a volume's, or the volume is not on this node.
func (s *Server) NodeGetVolumeHealth(ctx context.Context, req *csi.NodeGetVolumeHealthRequest) (*csi.NodeGetVolumeHealthResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	var paths []string
	for _, p := range []struct{ field, path string }{
		{"staging_target_path", req.GetStagingTargetPath()}, {"volume_publish_path", req.GetVolumePublishPath()},
	} {
		if p.path == "" {
			continue
		}
		clean, err := checkPath(p.field, p.path)
		if err != nil {
			return nil, err
		}
		paths = append(paths, clean)
	}
	id, backend, err := s.backend(req.GetVolumeId())
	if err != nil {
		return nil, fmt.Errorf("%w: %v", volume.ErrNotFound, err)
	}
	if backend.MountHealthReporter == nil {
		return nil, fmt.Errorf("%w: tier %s doesn't look at the health of its mounts", volume.ErrUnsupported, id.Tier())
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if len(paths) == 0 {
		if paths, err = s.locate(ctx, id); err != nil {
			return nil, err
		}
	}
	conditions, err := conditionsAt(ctx, id, backend, paths)
	if err != nil {
		return nil, err
	}
	return &csi.NodeGetVolumeHealthResponse{VolumeHealth: volumehealth.Message(id, conditions)}, nil
}

func (s *Server) locate(ctx context.Context, id volume.ID) ([]string, error) {
	l, ok := s.locators[id.Tier()]
	if !ok {
		return nil, fmt.Errorf("%w: tier %s can't find its mounts; give staging_target_path or volume_publish_path", volume.ErrInvalid, id.Tier())
	}
	paths, err := l.Locate(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%w: volume %s is not mounted on this node", volume.ErrNotFound, id)
	}
	return paths, nil
}

func conditionsAt(ctx context.Context, id volume.ID, backend tier.NodeBackend, paths []string) ([]volume.Condition, error) {
	var all []volume.Condition
	for _, p := range paths {
		found, err := backend.MountHealthReporter.MountHealth(ctx, id, p)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}
