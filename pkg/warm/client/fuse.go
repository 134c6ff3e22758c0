package client

// ceph-fuse as a Mounter. The processes belong to strata-mountd, which outlives this one.

import (
	"context"
	"fmt"

	"github.com/strata-csi/strata/pkg/clientmount"
	"github.com/strata-csi/strata/pkg/mountd"
)

// FuseMounter mounts with ceph-fuse through strata-mountd.
type FuseMounter struct {
	clientmount.Holder
}

// NewFuseMounter returns a FuseMounter that asks the strata-mountd on a Unix socket. Nothing is asked yet.
func NewFuseMounter(socket string) *FuseMounter {
	return &FuseMounter{clientmount.NewHolder(socket, mountd.KindCephFuse)}
}

// Available implements Mounter.
func (f *FuseMounter) Available(ctx context.Context) error {
	if err := f.Holder.Available(ctx); err != nil {
		return fmt.Errorf("mounter fuse: %w", err)
	}
	return nil
}

// CheckOptions implements Mounter.
func (*FuseMounter) CheckOptions(options []string) error { return checkFuseOptions(options) }

// Mount implements Mounter.
func (f *FuseMounter) Mount(ctx context.Context, m Mount, key []byte) error {
	return f.Start(ctx, mountd.Spec{
		Mountpoint: m.Target, Source: m.Source, Monitors: m.Monitors, User: m.User, FS: m.FS, Path: m.Path,
		ReadOnly: m.ReadOnly, Options: m.Options,
	}, key)
}
