package node

// How much a mounted volume holds.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// lookTime bounds what is asked of a mount that may never answer. kubelet asks every volume of the node each minute.
const lookTime = 10 * time.Second

// NodeGetVolumeStats measures the volume mounted at a path. It takes no lock: a volume whose staging hangs should still be
// measured. volume.ErrNotFound: the id can't be a volume's, or something else, or nothing, is mounted there.
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
	id, backend, err := s.backend(req.GetVolumeId())
	if err != nil {
		return nil, fmt.Errorf("%w: %v", volume.ErrNotFound, err)
	}
	_, mounted, err := mountpoint.Find(path)
	if err != nil {
		return nil, mounterror.Wrap(err)
	}
	if !mounted {
		return nil, fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	}
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	if err := backend.Staged(ctx, id, path); err != nil {
		if errors.Is(err, volume.ErrExists) {
			return nil, fmt.Errorf("%w: what is mounted at %s is not volume %s: %v", volume.ErrNotFound, path, id, err)
		}
		return nil, err
	}
	if backend.UsageReporter == nil {
		return nil, fmt.Errorf("%w: tier %s doesn't measure its volumes", volume.ErrUnsupported, id.Tier())
	}
	u, err := backend.UsageReporter.Usage(ctx, id, path)
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
