package node

// What is wrong with a volume, seen from this node.

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/volumehealth"
)

// NodeGetVolumeHealth looks at the paths of the request, or, without any, wherever the volume is on this node.
// volume.ErrNotFound: the id can't be a volume's, or the volume is not on this node.
func (s *Server) NodeGetVolumeHealth(ctx context.Context, req *csi.NodeGetVolumeHealthRequest) (*csi.NodeGetVolumeHealthResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	staging, target := req.GetStagingTargetPath(), req.GetVolumePublishPath()
	for _, p := range []struct {
		field string
		path  *string
	}{{"staging_target_path", &staging}, {"volume_publish_path", &target}} {
		if *p.path == "" {
			continue
		}
		var err error
		if *p.path, err = checkPath(p.field, *p.path); err != nil {
			return nil, err
		}
	}
	v, err := s.subject(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	conditions, err := v.health(ctx, staging, target)
	if err != nil {
		return nil, err
	}
	return &csi.NodeGetVolumeHealthResponse{VolumeHealth: volumehealth.Message(volume.ID(req.GetVolumeId()), conditions)}, nil
}
