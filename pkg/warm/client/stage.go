package client

// Staging and unstaging: one client mount of the volume per node.

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// errIncomplete: the client's mount is there and the snapshot's bind above it is not.
var errIncomplete = errors.New("staging was interrupted")

// Stage implements tier.Stager. It talks to the monitors and the metadata server only; the manager of the cluster, and with it
// this driver's controller, may be down.
func (s *Stager) Stage(ctx context.Context, spec tier.StageSpec) error {
	d, snapshot, err := s.check(spec.ID, spec.Context, spec.Options)
	if err != nil {
		return err
	}
	who, err := credentialOf(spec.Secrets)
	if err != nil {
		return err
	}
	defer who.forget()
	monitors, err := s.Clusters.Monitors(d.ClusterID)
	if err != nil {
		return err
	}
	readOnly := spec.ReadOnly || d.readOnly
	staged, err := s.makeWay(ctx, spec.ID, spec.Path, readOnly)
	if err != nil || staged {
		return err
	}
	if staged, err := s.restore(ctx, spec.ID, spec.Path, readOnly); err != nil || staged {
		return err
	}
	m, err := s.choose(ctx, d.Context, d.options)
	if err != nil {
		return err
	}
	request := Mount{
		Source: sourceOf(spec.ID), Monitors: monitors, User: who.user, FS: d.FSName, Path: d.Path,
		ReadOnly: readOnly, Options: m.options, Target: spec.Path,
	}
	if snapshot != nil {
		request.Path = snapshot.Base
	}
	if err := m.Mount(ctx, request, who.key); err != nil {
		return err
	}
	if snapshot != nil {
		err = s.bindSnapshot(ctx, spec.Path, *snapshot)
	}
	if err == nil {
		err = s.Staged(ctx, spec.ID, spec.Path)
	}
	if err != nil {
		// What isn't right mustn't stay: the next call would take it for another's.
		ctx := context.WithoutCancel(ctx)
		return errors.Join(err, s.discard(ctx, spec.Path), m.Unmounted(ctx, spec.Path))
	}
	s.repairs.done(ctx, spec.ID, spec.Path)
	return nil
}

// makeWay looks at what is mounted at path. staged: the volume is, alive and as asked for. Otherwise nothing is mounted when it
// returns; a dead mount is unmounted, which costs its users nothing: they have only errors from it.
func (s *Stager) makeWay(ctx context.Context, id volume.ID, path string, readOnly bool) (staged bool, err error) {
	err = s.Staged(ctx, id, path)
	switch {
	case err == nil:
		m, ok, err := mountpoint.Find(path)
		if err != nil || !ok {
			return false, errors.Join(mounterror.Wrap(err), fmt.Errorf("%w: %s has just been unmounted", volume.ErrUnavailable, path))
		}
		if m.ReadOnly() != readOnly {
			return false, fmt.Errorf("%w: %s is staged with read-only %t, and asked for is %t; unstage it first", volume.ErrExists, path, m.ReadOnly(), readOnly)
		}
		return true, nil
	case errors.Is(err, volume.ErrNotFound) && !errors.Is(err, errIncomplete):
		return false, nil
	case mountpoint.Dead(err), errors.Is(err, errIncomplete):
		klog.FromContext(ctx).Info("replacing a mount that is not usable", "volume", id, "path", path, "cause", err)
		if mountpoint.Dead(err) {
			s.repairs.begin(path)
		}
		return false, s.discard(ctx, path)
	}
	return false, err
}

// discard takes away what is mounted at path and can't be used, without waiting for anybody's end: the mounter ends what is
// left of an earlier mount before it makes the next, and pods may keep an evicted client from ending.
func (s *Stager) discard(ctx context.Context, path string) error {
	err := s.Unmounter.Unmount(ctx, path)
	if !errors.Is(err, mountpoint.ErrBusy) {
		return mounterror.Wrap(err)
	}
	for {
		if _, mounted, err := mountpoint.Find(path); err != nil || !mounted {
			return mounterror.Wrap(err)
		}
		if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("detach %s: %w", path, err)
		}
	}
}

// Unstage implements tier.Stager. It returns when the client has gone, so that what it still had to write is written. What isn't the
// volume's is volume.ErrPrecondition and stays.
func (s *Stager) Unstage(ctx context.Context, id volume.ID, path string) error {
	t, ok := s.targetOf(id)
	if !ok {
		return fmt.Errorf("%w: %q is not the id of a warm volume", volume.ErrInvalid, id)
	}
	err := s.Unmounter.UnmountWhile(ctx, path, func(context.Context) error {
		m, mounted, err := mountpoint.Find(path)
		if err == nil && mounted && !t.client(*m) {
			err = fmt.Errorf("%w: what is mounted at %s is not volume %s (%s, type %s)", volume.ErrPrecondition, path, id, m.Source, m.FSType)
		}
		return err
	})
	if err != nil {
		return mounterror.Wrap(err)
	}
	s.repairs.giveUp(path)
	return errors.Join(s.Kernel.Unmounted(ctx, path), s.Fuse.Unmounted(ctx, path))
}

// Staged implements tier.Stager; path may also be one that the volume is published at. What is not the volume's is never
// asked for an answer; a dead mount is recognised by its row, so no other's is taken for it.
func (s *Stager) Staged(ctx context.Context, id volume.ID, path string) error {
	t, ok := s.targetOf(id)
	if !ok {
		return fmt.Errorf("%w: %q is not the id of a warm volume", volume.ErrInvalid, id)
	}
	m, mounted, err := mountpoint.Find(path)
	if err != nil {
		return mounterror.Wrap(err)
	}
	switch {
	case !mounted:
		return fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	case !t.client(*m):
		return fmt.Errorf("%w: what is mounted at %s is not volume %s (%s, type %s)", volume.ErrExists, path, id, m.Source, m.FSType)
	case !t.complete(*m):
		return fmt.Errorf("%w: %s shows %s of the client's mount: %w", volume.ErrNotFound, path, m.Root, errIncomplete)
	}
	return s.alive(ctx, path)
}

// Locate implements node.Locator.
func (s *Stager) Locate(_ context.Context, id volume.ID) ([]string, error) {
	t, ok := s.targetOf(id)
	if !ok {
		return nil, nil
	}
	table, err := mountpoint.Read()
	if err != nil {
		return nil, err
	}
	var paths []string
	for _, m := range table {
		if t.complete(m) {
			paths = append(paths, m.Path)
		}
	}
	return paths, nil
}
