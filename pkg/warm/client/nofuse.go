package client

import (
	"context"
	"fmt"

	"github.com/strata-csi/strata/pkg/volume"
)

// NoFuse is the Mounter of a node without strata-mountd, where only the kernel's client can be used.
type NoFuse struct{}

// Available implements Mounter: it never is.
func (NoFuse) Available(context.Context) error {
	return fmt.Errorf("%w: mounter fuse: strata-node runs without --mountd-socket here", volume.ErrPrecondition)
}

// CheckOptions implements Mounter: a class's options are right or wrong on every node alike.
func (NoFuse) CheckOptions(options []string) error { return checkFuseOptions(options) }

// Mount implements Mounter with the error of Available.
func (n NoFuse) Mount(ctx context.Context, _ Mount, _ []byte) error { return n.Available(ctx) }

// Serving implements Mounter.
func (NoFuse) Serving(context.Context, string) ([]string, error) { return nil, nil }

// Unmounted implements Mounter.
func (NoFuse) Unmounted(context.Context, string) error { return nil }

// Fate implements Mounter.
func (NoFuse) Fate(context.Context, string) string { return "" }
