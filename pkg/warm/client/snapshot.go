package client

// A snapshot-backed volume: the base directory of the subvolume is mounted read-only, and the snapshot's data below .snap of that
// mount is bound over it, at the same path. A client can't mount a path through .snap, whatever its key: the metadata
// server, which looks the path up, doesn't know the name. The two mounts come and go together: whoever
// unmounts the staging path takes both away, and no third path has to be remembered.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm/volumecontext"
)

// bindSnapshot binds the snapshot over the mount of its subvolume at path.
func (s *Stager) bindSnapshot(ctx context.Context, path string, snapshot volumecontext.Snapshot) error {
	data := filepath.Join(path, snapshot.Data)
	// A look in bounded time, since a bind looks its path up without any.
	_, err := s.list(ctx, data)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %s has no snapshot %s", volume.ErrNotFound, snapshot.Base, snapshot.Name)
	}
	if err != nil {
		return mounterror.Wrap(err)
	}
	return mounterror.Wrap(mountpoint.Bind(data, path, true))
}

// list reads a directory of a mount that may not answer.
func (s *Stager) list(ctx context.Context, dir string) ([]string, error) {
	return ask(ctx, s, "list "+dir, dir, func() ([]string, error) {
		d, err := os.Open(dir)
		if err != nil {
			return nil, err
		}
		names, err := d.Readdirnames(-1)
		return names, errors.Join(err, d.Close())
	})
}
