package node

// Staging: one mount of the volume for the whole node, which every pod's path is then bound from.

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// NodeStageVolume mounts the volume, or makes its block device ready, or finds that done; a dead mount is replaced. fs_type is not looked at: what a
// volume is formatted with, if it is, was decided when it was made.
func (s *Server) NodeStageVolume(ctx context.Context, req *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	path, err := checkPath("staging_target_path", req.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	want, err := checkCapability(req.GetVolumeCapability())
	if err != nil {
		return nil, err
	}
	id, backend, err := s.backend(req.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if err := want.checkBlock(backend); err != nil {
		return nil, err
	}
	if err := backend.CheckContext(id, req.GetVolumeContext(), want.options); err != nil {
		return nil, err
	}
	release, err := s.lock(ctx, req.GetVolumeId(), path, "NodeStageVolume")
	if err != nil {
		return nil, err
	}
	defer release()
	if err := checkMountDir("staging_target_path", path); err != nil {
		return nil, err
	}
	if err := checkStagedAs(ctx, id, backend, want.block, path); err != nil {
		return nil, err
	}
	err = backend.Stage(ctx, tier.StageSpec{
		ID: id, Path: path, Context: req.GetVolumeContext(), Secrets: req.GetSecrets(),
		Options: want.options, ReadOnly: want.readOnly, Block: want.block, Group: want.group,
	})
	if err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

// NodeUnstageVolume unmounts the staging path, or takes the block device away; another volume's mount there is
// volume.ErrPrecondition. An id that no tier of this node knows is served by the path alone: what is
// mounted there must go, or the pod's node can't be drained.
func (s *Server) NodeUnstageVolume(ctx context.Context, req *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, missing("volume_id")
	}
	path, err := checkPath("staging_target_path", req.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	release, err := s.lock(ctx, req.GetVolumeId(), path, "NodeUnstageVolume")
	if err != nil {
		return nil, err
	}
	defer release()
	id, backend, err := s.backend(req.GetVolumeId())
	if err != nil {
		if err := s.unmounter.Unmount(ctx, path); err != nil {
			return nil, mounterror.Wrap(err)
		}
		return &csi.NodeUnstageVolumeResponse{}, nil
	}
	if err := s.checkOwn(ctx, req.GetVolumeId(), path); err != nil {
		return nil, err
	}
	if err := checkUnbound(ctx, id, backend); err != nil {
		return nil, err
	}
	if err := backend.Unstage(ctx, id, path); err != nil {
		return nil, err
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// checkMountDir refuses a path where a mount would hide or follow something: a symbolic link, a file, or a directory
// with files in it. Such files were written while the volume was not mounted; hidden, they would fill
// the node's disk and be missed by their owner. A path that is mounted already is not looked into.
func checkMountDir(field, path string) error {
	_, mounted, err := mountpoint.Find(path)
	if err != nil {
		return mounterror.Wrap(err)
	}
	if err := mountpoint.CheckMountpoint(path); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%w: %s %s does not exist; the orchestrator makes it", volume.ErrInvalid, field, path)
		}
		return mounterror.Wrap(err)
	}
	if mounted {
		return nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("look into %s: %w", field, err)
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: %s %s has %d entries in it (%s, ...) and nothing is mounted there: a mount would hide them; look at them and move them away",
			volume.ErrPrecondition, field, path, len(entries), entries[0].Name())
	}
	return nil
}
