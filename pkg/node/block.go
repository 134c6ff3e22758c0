package node

// Raw block volumes: the staging path stays an empty directory, and the target is a file with the device's node bound to it.

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/mounterror"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// checkBlock refuses a raw block device that the tier can't give, or that should be read-only. A read-only bind of a device's node doesn't
// stop writes to the device, and the device's own switch (BLKROSET) would stop every pod of the node: what can't be kept
// isn't promised.
func (a access) checkBlock(backend tier.NodeBackend) error {
	switch {
	case !a.block:
		return nil
	case backend.BlockStager == nil:
		return fmt.Errorf("%w: raw block is not supported; use volumeMode: Filesystem", volume.ErrInvalid)
	case a.readOnly:
		return fmt.Errorf("%w: raw block is not supported read-only: nothing would stop a write to the device; "+
			"use it read-write, or volumeMode: Filesystem", volume.ErrInvalid)
	}
	return nil
}

// deviceOf returns the device of a volume that is staged as one, and its node.
func deviceOf(ctx context.Context, id volume.ID, backend tier.NodeBackend) (node string, d mountpoint.Device, staged bool, err error) {
	if backend.BlockStager == nil {
		return "", d, false, nil
	}
	node, err = backend.BlockStager.BlockDevice(ctx, id)
	if errors.Is(err, volume.ErrNotFound) {
		return "", d, false, nil
	}
	if err != nil {
		return "", d, false, err
	}
	d, err = mountpoint.DeviceAt(node)
	return node, d, err == nil, mounterror.Wrap(err)
}

// checkStagedAs refuses to stage a volume in one way while it is staged in the other, or where a mount is.
func checkStagedAs(ctx context.Context, id volume.ID, backend tier.NodeBackend, block bool, path string) error {
	if backend.BlockStager == nil {
		return nil
	}
	if block {
		m, mounted, err := mountpoint.Find(path)
		if err == nil && mounted {
			err = fmt.Errorf("%w: %s (%s) is mounted at %s, and volume %s is asked for as a raw block device; unstage it first",
				volume.ErrExists, m.Source, m.FSType, path, id)
		}
		return mounterror.Wrap(err)
	}
	_, _, staged, err := deviceOf(ctx, id, backend)
	if err == nil && staged {
		err = fmt.Errorf("%w: volume %s is staged as a raw block device on this node, and asked for as a file system; unstage it first", volume.ErrExists, id)
	}
	return err
}

// checkUnbound refuses to take a device away that a pod still has: its number may be another volume's next, and what the pod has would
// be that volume. A device that can't be found, as when its disk is broken, holds nobody up.
func checkUnbound(ctx context.Context, id volume.ID, backend tier.NodeBackend) error {
	_, d, staged, err := deviceOf(ctx, id, backend)
	if err != nil {
		klog.FromContext(ctx).Info("can't tell whether the block device is still published", "volume", id, "cause", err)
		return nil
	}
	if !staged {
		return nil
	}
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	if at := table.OfBlockDevice(d).Paths(); len(at) > 0 {
		return fmt.Errorf("%w: volume %s is still published; unpublish it first: %s", volume.ErrUnavailable, id, strings.Join(at, ", "))
	}
	return nil
}

// publishedAt is Stager.Staged, also of a path where the node of the volume's block device may be bound.
func publishedAt(ctx context.Context, id volume.ID, backend tier.NodeBackend, path string) error {
	_, d, staged, err := deviceOf(ctx, id, backend)
	if err != nil {
		return err
	}
	if !staged {
		return backend.Staged(ctx, id, path)
	}
	return isDevice(path, d)
}

// isDevice wants a bind of d's node at path: volume.ErrNotFound, nothing is mounted; volume.ErrExists, something else is.
func isDevice(path string, d mountpoint.Device) error {
	m, mounted, err := mountpoint.Find(path)
	if err != nil {
		return mounterror.Wrap(err)
	}
	if !mounted {
		return fmt.Errorf("%w: nothing is mounted at %s", volume.ErrNotFound, path)
	}
	at, err := mountpoint.DeviceAt(path)
	switch {
	case errors.Is(err, mountpoint.ErrNotDevice):
		return fmt.Errorf("%w: %s (%s) is mounted at %s and the volume is block device %s", volume.ErrExists, m.Source, m.FSType, path, d)
	case err != nil:
		return err
	case at != d:
		return fmt.Errorf("%w: block device %s is at %s and the volume is block device %s", volume.ErrExists, at, path, d)
	}
	return nil
}

// left says that path shows a device, and the volume has none any more: what it had was taken away under the pod. Nobody can tell whose the
// device is now; the path is the orchestrator's, made for this volume.
func left(ctx context.Context, id volume.ID, backend tier.NodeBackend, path string) bool {
	if backend.BlockStager == nil {
		return false
	}
	_, _, staged, err := deviceOf(ctx, id, backend)
	if err != nil || staged {
		return false
	}
	_, err = mountpoint.DeviceAt(path)
	return err == nil
}
