package client

// A staging path that lost its mount while pods go on using the volume.

import (
	"context"
	"errors"

	"github.com/strata-csi/strata/pkg/volume"
)

// restore is called when nothing is mounted at path. Only ceph-fuse goes on for the bind mounts of pods when its own is gone.
func (s *Stager) restore(ctx context.Context, id volume.ID, path string, readOnly bool) (staged bool, err error) {
	elsewhere, err := s.Fuse.Serving(ctx, path)
	if errors.Is(err, volume.ErrUnavailable) {
		return false, nil // no holder: it isn't needed for the kernel's client, and choose says so otherwise
	}
	if err != nil {
		return false, err
	}
	return s.mounts.Restore(ctx, id, path, readOnly, elsewhere)
}
