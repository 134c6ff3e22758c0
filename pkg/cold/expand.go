package cold

// The size of a volume is a number in its marker: the engines that serve it read it there.

import (
	"context"
	"errors"
	"fmt"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

// Get returns a volume, or volume.ErrNotFound. Its context isn't known to the store.
func (b *Backend) Get(ctx context.Context, id volume.ID) (volume.Volume, error) {
	s, err := b.find(id)
	if err != nil {
		return volume.Volume{}, err
	}
	defer s.bucket.Close()
	m, _, err := s.marker(ctx)
	if err != nil {
		return volume.Volume{}, s.classify(ctx, err)
	}
	return volume.Volume{ID: id, Capacity: m.Capacity}, nil
}

// marker is that of a volume which hasn't been deleted.
func (s site) marker(ctx context.Context) (marker.Marker, string, error) {
	m, etag, err := marker.Read(ctx, s.bucket, s.prefix())
	switch {
	case errors.Is(err, s3.ErrNotFound):
		return m, "", fmt.Errorf("%w: %s is no volume: there is no %s%s", volume.ErrNotFound, s.place, s.prefix(), marker.Key)
	case err == nil && m.State != marker.Ready:
		return m, "", fmt.Errorf("%w: the volume %s was deleted (%s)", volume.ErrNotFound, s.place, m.State)
	}
	return m, etag, err
}

// Expand raises the size. See tier.Expander.
func (b *Backend) Expand(ctx context.Context, id volume.ID, want volume.CapacityRange) (int64, bool, error) {
	if err := want.Check(); err != nil {
		return 0, false, err
	}
	s, err := b.find(id)
	if err != nil {
		return 0, false, err
	}
	defer s.bucket.Close()
	size, err := s.expand(ctx, want)
	return size, false, s.classify(ctx, err)
}

func (s site) expand(ctx context.Context, want volume.CapacityRange) (int64, error) {
	m, etag, err := s.marker(ctx)
	if err != nil {
		return 0, err
	}
	if want.Limit > 0 && m.Capacity > want.Limit {
		return 0, fmt.Errorf("%w: the volume has %d bytes and never shrinks; limit_bytes %d is below that", volume.ErrOutOfRange, m.Capacity, want.Limit)
	}
	if m.Capacity >= want.Required {
		return m.Capacity, nil
	}
	m.Capacity = want.Required
	// Whoever changed the marker since then is asked for by the next call.
	if _, err := marker.Write(ctx, s.bucket, s.prefix(), m, s3.Condition{IfMatch: etag}); err != nil {
		return 0, err
	}
	return m.Capacity, nil
}
