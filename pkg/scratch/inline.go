package scratch

// Volumes of a pod's own specification: made by PublishInline, destroyed by UnpublishInline.

import (
	"context"

	"github.com/strata-csi/strata/pkg/scratch/inline"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// CheckInline refuses what the node's configuration doesn't allow. See tier.InlinePublisher.
func (b *Backend) CheckInline(spec tier.InlineSpec) error {
	_, err := inline.Parse(spec, b.config)
	return err
}

// PublishInline makes the volume, empty, and mounts it. See tier.InlinePublisher.
func (b *Backend) PublishInline(ctx context.Context, spec tier.InlineSpec) error {
	want, err := inline.Parse(spec, b.config)
	if err != nil {
		return err
	}
	return b.ensure(ctx, record{
		ID: spec.ID, Name: nameOf(spec.ID), Phase: creating, Boot: b.boot, Class: want.Class.Name, Pool: want.Class.Pool, Size: want.Size,
		ReadOnly: spec.ReadOnly, Group: spec.Group, Wipe: want.Class.Wipe, Path: spec.Path, Inline: true, Pod: spec.Pod, Created: now(),
	}, want.Class)
}

// UnpublishInline unmounts the volume and destroys it. See tier.InlinePublisher.
func (b *Backend) UnpublishInline(ctx context.Context, id, path string) error {
	r, ok := b.record(id)
	if !ok {
		return nil
	}
	return b.discard(ctx, r)
}

// PublishedInline says whether path is the volume. See tier.InlinePublisher.
func (b *Backend) PublishedInline(ctx context.Context, id, path string) error {
	_, _, err := b.mounted(ctx, id, path)
	return err
}

// InlineUsage measures the volume. See tier.InlinePublisher.
func (b *Backend) InlineUsage(ctx context.Context, id, path string) (volume.Usage, error) {
	return b.usage(ctx, id, path)
}

// InlineHealth looks at the volume. See tier.InlinePublisher.
func (b *Backend) InlineHealth(ctx context.Context, id, path string) ([]volume.Condition, error) {
	return b.health(ctx, id, path)
}
