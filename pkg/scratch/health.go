package scratch

import (
	"context"
	"errors"
	"fmt"

	"github.com/strata-csi/strata/pkg/volume"
)

// Usage measures the volume, not the disk it lies on. See tier.UsageReporter.
func (b *Backend) Usage(ctx context.Context, id volume.ID, path string) (volume.Usage, error) {
	return b.usage(ctx, string(id), path)
}

func (b *Backend) usage(ctx context.Context, id, path string) (volume.Usage, error) {
	r, d, err := b.mounted(ctx, id, path)
	if err != nil {
		return volume.Usage{}, err
	}
	if r.Block {
		return volume.Usage{TotalBytes: r.Size}, nil
	}
	return d.Usage(ctx, r.Name, path)
}

// MountHealth looks at the volume. See tier.MountHealthReporter.
func (b *Backend) MountHealth(ctx context.Context, id volume.ID, path string) ([]volume.Condition, error) {
	return b.health(ctx, string(id), path)
}

// Locate returns where the volume is mounted by the driver. See node.Locator.
func (b *Backend) Locate(ctx context.Context, id volume.ID) ([]string, error) {
	r, ok := b.record(string(id))
	if !ok {
		return nil, nil
	}
	return []string{r.Path}, nil
}

func (b *Backend) health(ctx context.Context, id, path string) ([]volume.Condition, error) {
	r, ok := b.record(id)
	if !ok {
		return nil, fmt.Errorf("%w: this node has no scratch volume %s", volume.ErrNotFound, id)
	}
	d, err := b.diskOf(r)
	if err != nil {
		return []volume.Condition{{Severity: volume.Inaccessible, Reason: "DiskNotUsable", Message: err.Error()}}, nil
	}
	conditions, err := d.Health(ctx, r.Name, path)
	if err != nil {
		return nil, err
	}
	if r.Block {
		return conditions, nil
	}
	switch err := d.Mounted(ctx, r.Name, path); {
	case errors.Is(err, volume.ErrNotFound):
		conditions = append(conditions, volume.Condition{Severity: volume.Inaccessible, Reason: "NotMounted",
			Message: fmt.Sprintf("the volume is not mounted at %s; delete the pod, so that it is made anew", path)})
	case errors.Is(err, volume.ErrExists):
		conditions = append(conditions, volume.Condition{Severity: volume.Inaccessible, Reason: "OtherMount",
			Message: fmt.Sprintf("%v; delete the pod, so that it is made anew", err)})
	}
	return conditions, nil
}
