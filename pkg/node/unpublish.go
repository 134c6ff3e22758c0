package node

// Unpublishing: what is at the path of one pod taken away, if it is the volume's.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// NodeUnpublishVolume unmounts the target path and removes what it was mounted on; an inline volume is destroyed. A path that doesn't exist is no error, another volume's mount
// is volume.ErrPrecondition. An id that no tier of this node knows is served by the path alone: the pod must be able to go.
func (s *Server) NodeUnpublishVolume(ctx context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	path, err := checkPath("target_path", req.GetTargetPath())
	if err != nil {
		return nil, err
	}
	release, err := s.lock(ctx, req.GetVolumeId(), path, "NodeUnpublishVolume")
	if err != nil {
		return nil, err
	}
	defer release()
	if s.isInline(req.GetVolumeId()) {
		if err := s.unpublishInline(ctx, req.GetVolumeId(), path); err != nil {
			return nil, err
		}
		return &csi.NodeUnpublishVolumeResponse{}, nil
	}
	err = s.unmounter.UnmountWhile(ctx, path, func(ctx context.Context) error { return s.checkOwn(ctx, req.GetVolumeId(), path) })
	if err != nil {
		return nil, mounterror.Wrap(err)
	}
	failpoint.Hit("node/unpublish/after-unmount")
	if err := mountpoint.RemoveTarget(path); err != nil {
		return nil, mounterror.Wrap(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}

// ownTime bounds the question whose mount it is: the mount table answers at once, and only then is the mount itself asked, whose answer
// doesn't matter here.
const ownTime = time.Second

// checkOwn refuses to take away what is certainly not the volume's: a mount that its tier doesn't recognise.
func (s *Server) checkOwn(ctx context.Context, volumeID, path string) error {
	id, backend, err := s.backend(volumeID)
	if err != nil {
		return nil // the path alone decides
	}
	ctx, cancel := context.WithTimeout(ctx, ownTime)
	defer cancel()
	if err := publishedAt(ctx, id, backend, path); errors.Is(err, volume.ErrExists) && !left(ctx, id, backend, path) {
		return anothers(err)
	}
	return nil
}

func anothers(err error) error {
	return fmt.Errorf("%w: %v; it is left alone: find out whose it is, and unmount it by hand if nobody's", volume.ErrPrecondition, err)
}
