package node

// Inline volumes: written into a pod's own specification, made when they are published and destroyed when they are unpublished.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// What kubelet puts into the volume context of a driver whose CSIDriver object has podInfoOnMount
// (kubernetes-csi.github.io/docs/pod-info.html), in place of what a pod's author may have written there. tokens are the service
// account's, with tokenRequests; kubelet may put them into the secrets instead.
const (
	kubernetesPrefix = "csi.storage.k8s.io/"
	ephemeral        = kubernetesPrefix + "ephemeral" // "true": an inline volume
	podName          = kubernetesPrefix + "pod.name"
	podNamespace     = kubernetesPrefix + "pod.namespace"
	podUID           = kubernetesPrefix + "pod.uid"
	serviceAccount   = kubernetesPrefix + "serviceAccount.name"
	tokens           = kubernetesPrefix + "serviceAccount.tokens"
)

// inlineID is the id that kubelet gives an inline volume: the SHA-256 of the pod's uid and the volume's name (makeVolumeHandle in
// pkg/volume/csi/csi_mounter.go of Kubernetes). No id of pkg/volume looks like it.
var inlineID = regexp.MustCompile(`^csi-[0-9a-f]{64}$`)

// isInline says that a call about the id is the InlinePublisher's.
func (s *Server) isInline(id string) bool { return s.inline != nil && inlineID.MatchString(id) }

// publishInline makes the volume and mounts it at the target, or finds it there. A dead mount of it is replaced; anything else that is mounted
// there is volume.ErrExists. A refusal leaves nothing.
func (s *Server) publishInline(ctx context.Context, req *csi.NodePublishVolumeRequest) error {
	spec, err := s.checkInline(req)
	if err != nil {
		return err
	}
	release, err := s.lock(ctx, spec.ID, spec.Path, "NodePublishVolume")
	if err != nil {
		return err
	}
	defer release()
	cause, err := s.lookInline(ctx, spec)
	if err != nil || cause == nil {
		return err
	}
	// Not before now: a pod that has its volume keeps it when what the operator allows has changed.
	if err := s.inline.CheckInline(spec); err != nil {
		return err
	}
	if _, err := resolveParent(spec.Path); err != nil {
		return err
	}
	if errors.Is(cause, volume.ErrUnavailable) {
		klog.FromContext(ctx).Info("replacing the mount at the target path, which is not usable", "volume", spec.ID, "path", spec.Path, "cause", cause)
		if err := s.unmounter.Unmount(ctx, spec.Path); err != nil {
			return mounterror.Wrap(err)
		}
	}
	made, err := mountpoint.MakeMountpoint(spec.Path)
	if err != nil {
		return mounterror.Wrap(err)
	}
	failpoint.Hit("node/inline/after-target")
	if !made { // what this call made is empty
		err = checkMountDir("target_path", spec.Path)
	}
	if err == nil {
		err = s.inline.PublishInline(ctx, spec)
	}
	failpoint.Hit("node/inline/after-publish")
	if err != nil && made {
		err = errors.Join(err, mountpoint.RemoveMountpoint(spec.Path))
	}
	return err
}

// checkInline reads the request.
func (s *Server) checkInline(req *csi.NodePublishVolumeRequest) (tier.InlineSpec, error) {
	var spec tier.InlineSpec
	if req.GetVolumeId() == "" {
		return spec, missing("volume_id")
	}
	target, err := checkPath("target_path", req.GetTargetPath())
	if err != nil {
		return spec, err
	}
	want, err := checkCapability(req.GetVolumeCapability())
	if err != nil {
		return spec, err
	}
	switch {
	case s.inline == nil:
		return spec, fmt.Errorf("%w: no tier of this node has inline (csi:) volumes; use a PersistentVolumeClaim or a generic ephemeral volume", volume.ErrInvalid)
	case !inlineID.MatchString(req.GetVolumeId()):
		return spec, fmt.Errorf("%w: %s is true and volume_id %.80q isn't one of an inline volume, which kubelet makes: csi- and 64 hexadecimal digits",
			volume.ErrInvalid, ephemeral, req.GetVolumeId())
	case want.block:
		return spec, fmt.Errorf("%w: an inline volume is a file system, never a raw block device", volume.ErrInvalid)
	case req.GetStagingTargetPath() != "":
		return spec, fmt.Errorf("%w: an inline volume isn't staged, and staging_target_path is %q", volume.ErrInvalid, req.GetStagingTargetPath())
	}
	secrets := maps.Clone(req.GetSecrets())
	delete(secrets, tokens)
	if len(secrets) > 0 {
		return spec, fmt.Errorf("%w: an inline volume takes no secrets; remove nodePublishSecretRef", volume.ErrInvalid)
	}
	spec = tier.InlineSpec{
		ID: req.GetVolumeId(), Path: target, FSType: want.fsType, Options: want.options, ReadOnly: want.readOnly || req.GetReadonly(), Group: want.group,
	}
	spec.Attributes, spec.Pod, err = splitContext(req.GetVolumeContext())
	return spec, err
}

// splitContext keeps what the pod's author wrote apart from what kubelet says.
func splitContext(context map[string]string) (map[string]string, tier.Pod, error) {
	attributes := make(map[string]string)
	var pod tier.Pod
	for _, key := range slices.Sorted(maps.Keys(context)) {
		value := context[key]
		switch key {
		case podName:
			pod.Name = value
		case podNamespace:
			pod.Namespace = value
		case podUID:
			pod.UID = value
		case ephemeral, serviceAccount, tokens: // told already, of no use, not ours to keep
		default:
			if strings.HasPrefix(key, kubernetesPrefix) {
				return nil, pod, fmt.Errorf("%w: volumeAttributes can't have %q: keys that begin with %s are Kubernetes' own", volume.ErrInvalid, key, kubernetesPrefix)
			}
			attributes[key] = value
		}
	}
	return attributes, pod, nil
}

// lookInline looks at the target path. cause nil: the volume is there as it should be. Otherwise nothing (volume.ErrNotFound) or the volume's
// dead mount (volume.ErrUnavailable) is.
func (s *Server) lookInline(ctx context.Context, spec tier.InlineSpec) (cause, err error) {
	m, mounted, err := mountpoint.Find(spec.Path)
	if err != nil {
		return nil, mounterror.Wrap(err)
	}
	if !mounted {
		return volume.ErrNotFound, nil
	}
	// Only the mount's own option was asked for; a file system that turned itself read-only after an error is its health's business.
	readOnly := slices.Contains(m.Options, "ro")
	err = s.inline.PublishedInline(ctx, spec.ID, spec.Path)
	switch {
	case err == nil && readOnly != spec.ReadOnly:
		return nil, fmt.Errorf("%w: %s is published %s, and asked for %s; unpublish it first", volume.ErrExists, spec.Path, mode(readOnly), mode(spec.ReadOnly))
	case errors.Is(err, volume.ErrUnavailable):
		return err, nil
	}
	return nil, err
}

// unpublishInline unmounts and destroys the volume, and removes the target. Called with the locks held.
func (s *Server) unpublishInline(ctx context.Context, id, path string) error {
	if _, mounted, err := mountpoint.Find(path); err != nil {
		return mounterror.Wrap(err)
	} else if mounted {
		ask, cancel := context.WithTimeout(ctx, ownTime)
		err := s.inline.PublishedInline(ask, id, path)
		cancel()
		if errors.Is(err, volume.ErrExists) {
			return anothers(err)
		}
	}
	if err := s.inline.UnpublishInline(ctx, id, path); err != nil {
		return err
	}
	failpoint.Hit("node/inline/after-unpublish")
	return mounterror.Wrap(mountpoint.RemoveTarget(path))
}
