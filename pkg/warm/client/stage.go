package client

// Staging and unstaging: one client mount of the volume per node.

import (
	"context"
	"errors"

	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

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
	staged, err := s.mounts.MakeWay(ctx, spec.ID, spec.Path, readOnly)
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
		return errors.Join(err, s.mounts.Discard(ctx, spec.Path), m.Unmounted(ctx, spec.Path))
	}
	s.mounts.Mounted(ctx, spec.ID, spec.Path)
	return nil
}

// Unstage implements tier.Stager. It returns when the client has gone, so that what it still had to write is written. What isn't the
// volume's is volume.ErrPrecondition and stays.
func (s *Stager) Unstage(ctx context.Context, id volume.ID, path string) error {
	if err := s.mounts.Unmount(ctx, id, path); err != nil {
		return err
	}
	return errors.Join(s.Kernel.Unmounted(ctx, path), s.Fuse.Unmounted(ctx, path))
}

// Staged implements tier.Stager; path may also be one that the volume is published at.
func (s *Stager) Staged(ctx context.Context, id volume.ID, path string) error {
	return s.mounts.Staged(ctx, id, path)
}

// Locate implements node.Locator.
func (s *Stager) Locate(ctx context.Context, id volume.ID) ([]string, error) {
	return s.mounts.Locate(ctx, id)
}
