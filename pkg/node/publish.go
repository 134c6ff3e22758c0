package node

// Publishing: the volume of the staging path bound to the path of one pod.

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// NodePublishVolume binds the staged volume to the target path. The right mount that is there already is left alone,
// a dead one is replaced, any other is volume.ErrExists; nothing is ever mounted on top of a mount.
func (s *Server) NodePublishVolume(ctx context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	p, err := s.checkPublish(req)
	if err != nil {
		return nil, err
	}
	release, err := s.lock(ctx, req.GetVolumeId(), p.target, "NodePublishVolume")
	if err != nil {
		return nil, err
	}
	defer release()
	if err := p.ensureStaged(ctx, req.GetSecrets()); err != nil {
		return nil, err
	}
	if p.oncePerNode {
		if err := p.checkOnly(); err != nil {
			return nil, err
		}
	}
	published, err := s.clearTarget(ctx, p)
	if err != nil || published {
		return &csi.NodePublishVolumeResponse{}, err
	}
	if err := p.bind(); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

// publication is a checked request.
type publication struct {
	id              volume.ID
	backend         tier.NodeBackend
	staging, target string
	access
	stagedReadOnly bool // how the access mode says it is staged
	context        map[string]string
}

func (s *Server) checkPublish(req *csi.NodePublishVolumeRequest) (publication, error) {
	var p publication
	if req.GetVolumeId() == "" {
		return p, missing("volume_id")
	}
	var err error
	if p.target, err = checkPath("target_path", req.GetTargetPath()); err != nil {
		return p, err
	}
	if p.access, err = checkCapability(req.GetVolumeCapability()); err != nil {
		return p, err
	}
	p.stagedReadOnly = p.readOnly
	p.readOnly = p.readOnly || req.GetReadonly()
	if p.id, p.backend, err = s.backend(req.GetVolumeId()); err != nil {
		return p, err
	}
	p.context = req.GetVolumeContext()
	if err := checkPersistent(p.id.Tier(), p.context); err != nil {
		return p, err
	}
	if req.GetStagingTargetPath() == "" {
		// The code that the CSI spec asks for, "Staging target path not set".
		return p, fmt.Errorf("%w: staging_target_path is missing: the volume must be staged first", volume.ErrPrecondition)
	}
	if p.staging, err = checkPath("staging_target_path", req.GetStagingTargetPath()); err != nil {
		return p, err
	}
	if inside(p.staging, p.target) || inside(p.target, p.staging) {
		return p, fmt.Errorf("%w: target_path %s and staging_target_path %s lie in one another", volume.ErrInvalid, p.target, p.staging)
	}
	return p, p.backend.CheckContext(p.id, p.context, p.options)
}

// ensureStaged checks that the staging path is the volume's live mount. After a reboot, or when the client behind the mount
// has died, it is not, and an orchestrator that believes the volume staged does not stage it again: with the
// secrets for it in the request it is staged here.
func (p publication) ensureStaged(ctx context.Context, secrets map[string]string) error {
	cause := p.backend.Staged(ctx, p.id, p.staging)
	switch {
	case cause == nil:
		return nil
	case errors.Is(cause, volume.ErrExists):
		return cause
	case !errors.Is(cause, volume.ErrNotFound) && !errors.Is(cause, volume.ErrUnavailable):
		return cause
	case len(secrets) == 0:
		code := volume.ErrUnavailable
		if errors.Is(cause, volume.ErrNotFound) {
			code = volume.ErrPrecondition
		}
		return fmt.Errorf("%w: the volume is not usable at the staging path %s: %v; stage it again (delete all pods that use it on this node), "+
			"or give the StorageClass csi.storage.k8s.io/node-publish-secret-name, so that it is repaired when a pod starts", code, p.staging, cause)
	}
	klog.FromContext(ctx).Info("staging again, the staging path is not usable", "volume", p.id, "path", p.staging, "cause", cause)
	if err := checkMountDir("staging_target_path", p.staging); err != nil {
		return err
	}
	return p.backend.Stage(ctx, tier.StageSpec{
		ID: p.id, Path: p.staging, Context: p.context, Secrets: secrets, Options: p.options, ReadOnly: p.stagedReadOnly,
	})
}

// checkOnly refuses a second published path of a volume that may have one.
func (p publication) checkOnly() error {
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	if other, ok := publishedElsewhere(table, p.staging, p.target); ok {
		return fmt.Errorf("%w: the volume is published at %s already and its access mode allows one path on a node", volume.ErrPrecondition, other)
	}
	return nil
}

// clearTarget looks at the target path: published means that it is as it should be; otherwise nothing is mounted there now.
func (s *Server) clearTarget(ctx context.Context, p publication) (published bool, err error) {
	m, mounted, err := mountpoint.Find(p.target)
	if err != nil {
		return false, mounterror.Wrap(err)
	}
	if !mounted {
		return false, nil
	}
	err = p.backend.Staged(ctx, p.id, p.target)
	switch {
	case err == nil && m.ReadOnly() == p.readOnly:
		return true, nil
	case err == nil && m.ReadOnly() && !p.readOnly && p.sourceReadOnly():
		return true, nil // a volume that nobody can write to, such as a snapshot, is published as it is
	case err == nil:
		return false, fmt.Errorf("%w: %s is published %s, and asked for %s; unpublish it first", volume.ErrExists, p.target, mode(m.ReadOnly()), mode(p.readOnly))
	case errors.Is(err, volume.ErrUnavailable):
		// A client that is gone, or too slow to say that it isn't. Unmount detaches only what is dead.
		klog.FromContext(ctx).Info("replacing the mount at the target path, which is not usable", "volume", p.id, "path", p.target, "cause", err)
		return false, mounterror.Wrap(s.unmounter.Unmount(ctx, p.target))
	default:
		return false, err
	}
}

// sourceReadOnly tells whether the staged mount itself refuses writes.
func (p publication) sourceReadOnly() bool {
	m, ok, err := mountpoint.Find(p.staging)
	return err == nil && ok && m.ReadOnly()
}

func mode(readOnly bool) string {
	if readOnly {
		return "read-only"
	}
	return "read-write"
}

// bind makes the target directory and the mount, or leaves neither.
func (p publication) bind() error {
	parent := filepath.Dir(p.target)
	if resolved, err := filepath.EvalSymlinks(parent); err != nil {
		return fmt.Errorf("%w: the directory of target_path must exist: %v", volume.ErrInvalid, err)
	} else if inside(p.staging, resolved) {
		return fmt.Errorf("%w: target_path %s leads into the staging path", volume.ErrInvalid, p.target)
	}
	made, err := mountpoint.MakeMountpoint(p.target)
	if err != nil {
		return mounterror.Wrap(err)
	}
	err = checkMountDir("target_path", p.target)
	if err == nil {
		err = mounterror.Wrap(mountpoint.Bind(p.staging, p.target, p.readOnly))
	}
	if err != nil && made {
		err = errors.Join(err, mountpoint.RemoveMountpoint(p.target))
	}
	return err
}

// NodeUnpublishVolume unmounts the target path and removes its directory; a path that doesn't exist is no error, another volume's mount
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
	err = s.unmounter.UnmountWhile(ctx, path, func(ctx context.Context) error { return s.checkOwn(ctx, req.GetVolumeId(), path) })
	if err != nil {
		return nil, mounterror.Wrap(err)
	}
	if err := mountpoint.RemoveMountpoint(path); err != nil {
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
	if err := backend.Staged(ctx, id, path); errors.Is(err, volume.ErrExists) {
		return fmt.Errorf("%w: %v; it is left alone: find out whose it is, and unmount it by hand if nobody's", volume.ErrPrecondition, err)
	}
	return nil
}
