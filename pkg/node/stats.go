package node

// How much a mounted volume holds.

import (
	"context"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/volume"
)

// lookTime bounds what is asked of a mount that may never answer. kubelet asks every volume of the node each minute.
const lookTime = 10 * time.Second

// NodeGetVolumeStats measures the volume mounted at a path. It takes no lock: a volume whose staging hangs should still be
// measured. Of a raw block volume the size alone is known. volume.ErrNotFound: the id can't be a volume's, or something else, or nothing, is mounted there.
func (s *Server) NodeGetVolumeStats(ctx context.Context, req *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	if req.GetVolumePath() == "" {
		return nil, missing("volume_path")
	}
	path, err := checkPath("volume_path", req.GetVolumePath())
	if err != nil {
		return nil, fmt.Errorf("%w: %v", volume.ErrNotFound, err)
	}
	v, err := s.subject(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if err := mountedAt(ctx, v, req.GetVolumeId(), path); err != nil {
		return nil, err
	}
	u, err := v.usage(ctx, path)
	if err != nil {
		return nil, err
	}
	resp := &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{{
		Unit: csi.VolumeUsage_BYTES, Total: u.TotalBytes, Used: u.UsedBytes, Available: u.AvailableBytes,
	}}}
	if u.TotalInodes > 0 {
		resp.Usage = append(resp.Usage, &csi.VolumeUsage{
			Unit: csi.VolumeUsage_INODES, Total: u.TotalInodes, Used: u.UsedInodes, Available: u.AvailableInodes,
		})
	}
	return resp, nil
}
