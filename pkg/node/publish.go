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

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// NodePublishVolume binds the staged volume to the target path, or makes an inline volume there. The right mount that is there already
// is left alone, a dead one is replaced, any other is volume.ErrExists; nothing is ever mounted on top of a mount.
func (s *Server) NodePublishVolume(ctx context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	publish := s.publishStaged
	if req.GetVolumeContext()[ephemeral] == "true" {
		publish = s.publishInline
	}
	if err := publish(ctx, req); err != nil {
		return nil, err
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (s *Server) publishStaged(ctx context.Context, req *csi.NodePublishVolumeRequest) error {
	p, err := s.checkPublish(req)
	if err != nil {
		return err
	}
	release, err := s.lock(ctx, req.GetVolumeId(), p.target, "NodePublishVolume")
	if err != nil {
		return err
	}
	defer release()
	if err := p.ensureStaged(ctx, req.GetSecrets()); err != nil {
		return err
	}
	p.renew(ctx, req.GetSecrets())
	published, err := s.clearTarget(ctx, p)
	if err != nil || published {
		return err
	}
	if err := p.ensureGroup(ctx, req.GetSecrets()); err != nil {
		return err
	}
	if p.oncePerNode {
		if err := p.checkOnly(ctx); err != nil {
			return err
		}
	}
	return p.bind(ctx)
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

// stageSpec is how the volume is staged for the request, without its secrets.
func (p publication) stageSpec() tier.StageSpec {
	return tier.StageSpec{ID: p.id, Path: p.staging, Context: p.context, Options: p.options, ReadOnly: p.stagedReadOnly, Block: p.block, Group: p.group}
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
	if inlineID.MatchString(req.GetVolumeId()) {
		return p, fmt.Errorf("%w: volume_id is that of an inline volume and %s isn't true; set podInfoOnMount in the CSIDriver object", volume.ErrInvalid, ephemeral)
	}
	if p.id, p.backend, err = s.backend(req.GetVolumeId()); err != nil {
		return p, err
	}
	if err := p.checkBlock(p.backend); err != nil {
		return p, err
	}
	p.context = req.GetVolumeContext()
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

// ensureStaged checks that the volume is staged: its live mount at the staging path, or its block device. After a reboot, or when the
// client behind the mount has died, it is not, and an orchestrator that believes the volume staged does not stage it
// again: it is staged here, with the secrets in the request if its tier wants any.
func (p publication) ensureStaged(ctx context.Context, secrets map[string]string) error {
	if err := checkStagedAs(ctx, p.id, p.backend, p.block, p.staging); err != nil {
		return err
	}
	cause := p.staged(ctx)
	if cause == nil || !errors.Is(cause, volume.ErrNotFound) && !errors.Is(cause, volume.ErrUnavailable) {
		return cause
	}
	klog.FromContext(ctx).Info("staging again, the staging path is not usable", "volume", p.id, "path", p.staging, "cause", cause)
	if err := checkMountDir("staging_target_path", p.staging); err != nil {
		return err
	}
	spec := p.stageSpec()
	spec.Secrets = secrets
	err := p.backend.Stage(ctx, spec)
	if len(secrets) == 0 && errors.Is(err, volume.ErrInvalid) { // the context was checked: it is the secrets that are wanted
		code := volume.ErrUnavailable
		if errors.Is(cause, volume.ErrNotFound) {
			code = volume.ErrPrecondition
		}
		return fmt.Errorf("%w: the volume is not usable at the staging path %s: %v; stage it again (delete all pods that use it on this node), "+
			"or give the StorageClass csi.storage.k8s.io/node-publish-secret-name, so that it is repaired when a pod starts", code, p.staging, cause)
	}
	return err
}

// ensureGroup wants the volume to be mounted for the pod's group. Where it is another's and no pod has it any more, it is staged anew: an orchestrator doesn't unstage
// a volume that a pod waits for.
func (p publication) ensureGroup(ctx context.Context, secrets map[string]string) error {
	if p.group == nil || p.backend.GroupChecker == nil {
		return nil
	}
	spec := p.stageSpec()
	spec.Secrets = secrets
	refused := p.backend.GroupChecker.CheckGroup(spec)
	if !errors.Is(refused, volume.ErrPrecondition) || len(secrets) == 0 {
		return refused
	}
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	if _, used := publishedElsewhere(table, p.staging, p.target); used {
		return refused
	}
	klog.FromContext(ctx).Info("staging again, for another group", "volume", p.id, "path", p.staging, "group", *p.group, "cause", refused)
	if err := p.backend.Unstage(ctx, p.id, p.staging); err != nil {
		return err
	}
	return p.backend.Stage(ctx, spec)
}

// renewal is how long newer secrets may take, of the time that a pod's request has.
const renewal = 10 * time.Second

// renew hands the secrets of the request on, where a tier has a use for newer ones: kubelet publishes again about once in a minute where the CSIDriver object has
// requiresRepublish. A pod isn't kept from its volume when that fails: the volume works with the secrets that it has, or its health says that it doesn't.
func (p publication) renew(ctx context.Context, secrets map[string]string) {
	if p.backend.Renewer == nil || len(secrets) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, renewal)
	defer cancel()
	if err := p.backend.Renewer.Renew(ctx, p.id, p.staging, secrets); err != nil {
		klog.FromContext(ctx).Error(err, "The volume's secrets can't be handed on; it is tried again when the volume is published again", "volume", p.id, "path", p.staging)
	}
}

func (p publication) staged(ctx context.Context) error {
	if p.block {
		_, _, staged, err := deviceOf(ctx, p.id, p.backend)
		if err == nil && !staged {
			err = fmt.Errorf("%w: volume %s has no block device on this node", volume.ErrNotFound, p.id)
		}
		return err
	}
	if err := p.backend.Staged(ctx, p.id, p.staging); err != nil {
		return err
	}
	// What is bound must be a mount, whatever the tier says: below it is the node's own disk.
	if _, mounted, err := mountpoint.Find(p.staging); err != nil || !mounted {
		return errors.Join(mounterror.Wrap(err), fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, p.staging))
	}
	return nil
}

// checkOnly refuses a second published path of a volume that may have one.
func (p publication) checkOnly(ctx context.Context) error {
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	other, ok := publishedElsewhere(table, p.staging, p.target)
	if p.block {
		_, d, _, err := deviceOf(ctx, p.id, p.backend)
		if err != nil {
			return err
		}
		if at := table.OfBlockDevice(d).Paths(); len(at) > 0 {
			other, ok = at[0], true
		}
	}
	if ok {
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
	err = publishedAt(ctx, p.id, p.backend, p.target)
	switch {
	case p.block:
		return err == nil, err
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

// bind makes the target, a directory or a file, and the mount, or leaves neither.
func (p publication) bind(ctx context.Context) error {
	resolved, err := resolveParent(p.target)
	if err != nil {
		return err
	}
	if inside(p.staging, resolved) {
		return fmt.Errorf("%w: target_path %s leads into the staging path", volume.ErrInvalid, p.target)
	}
	target := mountpoint.MakeMountpoint
	if p.block {
		target = mountpoint.MakeFileMountpoint
	}
	made, err := target(p.target)
	if err != nil {
		return mounterror.Wrap(err)
	}
	failpoint.Hit("node/publish/after-target")
	if p.block {
		err = p.bindDevice(ctx)
	} else if err = checkMountDir("target_path", p.target); err == nil {
		err = mounterror.Wrap(mountpoint.Bind(p.staging, p.target, p.readOnly))
	}
	failpoint.Hit("node/publish/after-bind")
	if err != nil && made {
		err = errors.Join(err, mountpoint.RemoveTarget(p.target))
	}
	return err
}

func (p publication) bindDevice(ctx context.Context) error {
	node, _, staged, err := deviceOf(ctx, p.id, p.backend)
	if err == nil && !staged {
		err = fmt.Errorf("%w: the block device of volume %s is gone", volume.ErrUnavailable, p.id)
	}
	if err != nil {
		return err
	}
	return mounterror.Wrap(mountpoint.BindDevice(node, p.target))
}

// resolveParent returns the directory of target_path without symbolic links. The orchestrator makes it.
func resolveParent(target string) (string, error) {
	resolved, err := filepath.EvalSymlinks(filepath.Dir(target))
	if err != nil {
		return "", fmt.Errorf("%w: the directory of target_path must exist: %v", volume.ErrInvalid, err)
	}
	return resolved, nil
}
