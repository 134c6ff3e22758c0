package client

// Staging and unstaging: one engine of the volume per node.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// Stage implements tier.Stager. A volume that is staged already gets the credentials of the request: they may be newer than those that its engine has.
func (s *Stager) Stage(ctx context.Context, spec tier.StageSpec) error {
	d, err := check(spec.ID, spec.Context, spec.Options)
	if err != nil {
		return err
	}
	of, who, err := credentialOf(spec.Secrets)
	if err != nil {
		return err
	}
	defer who.forget()
	readOnly := spec.ReadOnly || d.readOnly
	staged, err := s.mounts.MakeWay(ctx, spec.ID, spec.Path, readOnly)
	if err != nil {
		return err
	}
	if !staged {
		elsewhere, err := s.holder.Serving(ctx, spec.Path)
		if err != nil {
			return err
		}
		if staged, err = s.mounts.Restore(ctx, spec.ID, spec.Path, readOnly, elsewhere); err != nil {
			return err
		}
	}
	if staged {
		return s.renew(ctx, spec.ID, spec.Path, who)
	}
	engine, err := settings(spec.ID, d, of, spec.Group)
	if err != nil {
		return err
	}
	m := mountd.Spec{Mountpoint: spec.Path, Source: sourceOf(spec.ID), ReadOnly: readOnly, Options: d.options, Engine: engine}
	if err := s.holder.Start(ctx, m, who.text); err != nil {
		return err
	}
	s.handed.forget(spec.Path) // Start may have found an engine that is given other ones
	if err := s.Staged(ctx, spec.ID, spec.Path); err != nil {
		// What isn't right mustn't stay: the next call would take it for another's.
		ctx := context.WithoutCancel(ctx)
		return errors.Join(err, s.mounts.Discard(ctx, spec.Path), s.holder.Unmounted(ctx, spec.Path))
	}
	s.mounts.Mounted(ctx, spec.ID, spec.Path)
	return nil
}

// settings are the configuration of the volume's engine, without what strata-mountd has to say about it.
func settings(id volume.ID, d demand, of secret.Secret, group *uint32) (json.RawMessage, error) {
	engine := d.engine(id, of)
	engine.MountGroup = group
	if err := engine.Store.Check(); err != nil { // the context has been checked, what the secret adds has not
		return nil, fmt.Errorf("%w: the secret: %w", volume.ErrInvalid, err)
	}
	raw, err := json.Marshal(engine)
	if err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	for _, ofTheNode := range []string{"cacheDir", "cacheLimit", "cacheReserve", "memoryLimit"} {
		delete(fields, ofTheNode)
	}
	return json.Marshal(fields) // the keys in order, so that equal settings are equal texts
}

// engine is what the volume's context says, and the secret what that doesn't, as the engine reads it.
func (d demand) engine(id volume.ID, of secret.Secret) config.Config {
	c := d.Context
	return config.Config{
		Volume: string(id), Store: of.Fill(c.Location()), Prefix: c.Prefix,
		ReadOnly: d.readOnly, Immutable: c.Immutable, MetadataTTL: c.MetadataTTL,
		UID: c.UID, GID: c.GID, DirMode: c.DirMode, FileMode: c.FileMode,
		StorageClass: c.StorageClass, SSE: c.SSE,
		Capacity: c.Capacity, EnforceQuota: c.EnforceQuota, CacheShare: c.CacheSize,
	}
}

// Unstage implements tier.Stager. It returns when the engine has ended, so that what it still had to commit is committed. What isn't the volume's is
// volume.ErrPrecondition and stays.
func (s *Stager) Unstage(ctx context.Context, id volume.ID, path string) error {
	if err := s.mounts.Unmount(ctx, id, path); err != nil {
		return err
	}
	s.handed.forget(path)
	return s.holder.Unmounted(ctx, path)
}

// Staged implements tier.Stager; path may also be one that the volume is published at.
func (s *Stager) Staged(ctx context.Context, id volume.ID, path string) error {
	return s.mounts.Staged(ctx, id, path)
}

// Locate implements node.Locator.
func (s *Stager) Locate(ctx context.Context, id volume.ID) ([]string, error) {
	return s.mounts.Locate(ctx, id)
}

// Usage implements tier.UsageReporter: what the engine answers to statfs, which is the sum of a listing and may be minutes old.
func (s *Stager) Usage(ctx context.Context, _ volume.ID, path string) (volume.Usage, error) {
	st, err := s.mounts.Size(ctx, path)
	if err != nil {
		return volume.Usage{}, fmt.Errorf("measure %s: %w", path, err)
	}
	u := volume.Usage{TotalBytes: int64(st.TotalBytes), UsedBytes: int64(st.TotalBytes - st.FreeBytes), AvailableBytes: int64(st.AvailableBytes)}
	return u, nil
}
