package client

// ceph-fuse as a Mounter. The processes belong to strata-mountd, which outlives this one.

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/volume"
)

// FuseMounter mounts with ceph-fuse through strata-mountd.
type FuseMounter struct {
	holder mountd.Client
}

// NewFuseMounter returns a FuseMounter that asks the strata-mountd on a Unix socket. Nothing is asked yet.
func NewFuseMounter(socket string) *FuseMounter {
	return &FuseMounter{holder: mountd.Client{Socket: socket}}
}

// Available implements Mounter.
func (f *FuseMounter) Available(ctx context.Context) error {
	if err := f.holder.Ping(ctx); err != nil {
		return fmt.Errorf("mounter fuse: %w", fuseError(err))
	}
	return nil
}

// CheckOptions implements Mounter.
func (*FuseMounter) CheckOptions(options []string) error { return checkFuseOptions(options) }

// Mount implements Mounter.
func (f *FuseMounter) Mount(ctx context.Context, m Mount, key []byte) error {
	return fuseError(f.holder.Start(ctx, mountd.Spec{
		Kind: mountd.KindCephFuse, Mountpoint: m.Target, Source: m.Source, Monitors: m.Monitors, User: m.User, FS: m.FS, Path: m.Path,
		ReadOnly: m.ReadOnly, Options: m.Options,
	}, key))
}

// Serving implements Mounter. Without a holder it isn't known, and nothing could be mounted either.
func (f *FuseMounter) Serving(ctx context.Context, target string) ([]string, error) {
	m, ok, err := f.holder.Health(ctx, target)
	if err != nil {
		return nil, fuseError(err)
	}
	if !ok || m.State != mountd.Running {
		return nil, nil
	}
	return m.Elsewhere, nil
}

// Unmounted implements Mounter: it waits until ceph-fuse has ended, which has then written everything back. Without
// a holder nobody can wait; the process ends by itself all the same, its mount being gone.
func (f *FuseMounter) Unmounted(ctx context.Context, target string) error {
	err := f.holder.Stop(ctx, target)
	if errors.Is(err, mountd.ErrNoServer) {
		klog.FromContext(ctx).Info("can't wait for the end of a ceph-fuse, if there was one", "path", target, "cause", err)
		return nil
	}
	return fuseError(err)
}

// Fate implements Mounter.
func (f *FuseMounter) Fate(ctx context.Context, source string) string {
	mounts, err := f.holder.List(ctx)
	if err != nil {
		return err.Error()
	}
	for _, m := range mounts {
		if m.Spec.Source == source && m.State == mountd.Exited {
			return m.Exit
		}
	}
	return ""
}

// fuseError wraps an error of mountd with the sentinel of pkg/volume that fits.
func fuseError(err error) error {
	for _, row := range []struct{ from, to error }{
		{mountd.ErrInvalid, volume.ErrInvalid},
		{mountd.ErrDenied, volume.ErrDenied},
		{mountd.ErrNotFound, volume.ErrNotFound},
		{mountd.ErrUnreachable, volume.ErrUnavailable},
		{mountd.ErrNoServer, volume.ErrUnavailable},
		{mountd.ErrConflict, volume.ErrExists},
		{mountd.ErrBusy, volume.ErrUnavailable},
		{context.DeadlineExceeded, volume.ErrDeadline},
	} {
		if errors.Is(err, row.from) {
			return fmt.Errorf("%w: %w", row.to, err)
		}
	}
	return err
}
