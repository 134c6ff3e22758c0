package client

// The kernel's client as a Mounter.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/cephkernel"
	"github.com/strata-csi/strata/pkg/volume"
)

// KernelMounter mounts with the kernel's client. Make one per process.
type KernelMounter struct {
	mounter *cephkernel.Mounter
}

// NewKernelMounter returns a KernelMounter.
func NewKernelMounter() *KernelMounter {
	return &KernelMounter{mounter: cephkernel.NewMounter()}
}

// Available implements Mounter. The error wraps volume.ErrPrecondition: the node's kernel has to change.
func (*KernelMounter) Available(context.Context) error {
	if ok, why := cephkernel.Available(); !ok {
		return fmt.Errorf("%w: mounter kernel: %s", volume.ErrPrecondition, why)
	}
	return nil
}

// CheckOptions implements Mounter.
func (*KernelMounter) CheckOptions(options []string) error {
	return kernelError(cephkernel.ValidateOptions(options))
}

// Mount implements Mounter. The mount shows the monitors and the path as its source: the kernel leaves no choice.
func (k *KernelMounter) Mount(ctx context.Context, m Mount, key []byte) error {
	return kernelError(k.mounter.Mount(ctx, cephkernel.Mount{
		Monitors: m.Monitors, User: m.User, FS: m.FS, Path: m.Path, ReadOnly: m.ReadOnly, Options: withMessenger(m.Options),
	}, key, m.Target))
}

// withMessenger chooses version 2 of Ceph's protocol unless the options choose: the monitors of the cluster configuration are
// those of version 2, and the kernel speaks version 1 when nothing is said. The data is checksummed, and
// encrypted only where the cluster insists, as with any other client (ms_mode, Linux 5.11).
func withMessenger(options []string) []string {
	if slices.ContainsFunc(options, func(o string) bool { return strings.HasPrefix(o, "ms_mode=") }) {
		return options
	}
	return append([]string{"ms_mode=prefer-crc"}, options...)
}

// Serving implements Mounter: every mount is a client of its own, none has to end for another.
func (*KernelMounter) Serving(context.Context, string) ([]string, error) { return nil, nil }

// Unmounted implements Mounter: the kernel has written everything back when its umount returns.
func (*KernelMounter) Unmounted(context.Context, string) error { return nil }

// Fate implements Mounter: an evicted client's error says it all.
func (*KernelMounter) Fate(context.Context, string) string { return "" }

// kernelError wraps an error of cephkernel with the sentinel of pkg/volume that fits.
func kernelError(err error) error {
	for _, row := range []struct{ from, to error }{
		{cephkernel.ErrUnavailable, volume.ErrPrecondition},
		{cephkernel.ErrInvalid, volume.ErrInvalid},
		{cephkernel.ErrDenied, volume.ErrDenied},
		{cephkernel.ErrNotFound, volume.ErrNotFound},
		{cephkernel.ErrUnreachable, volume.ErrUnavailable},
		{cephkernel.ErrNotServed, volume.ErrUnavailable}, // a wrong key is told by the same errno as a missing MDS
		{cephkernel.ErrInFlight, volume.ErrPending},
		{context.DeadlineExceeded, volume.ErrDeadline},
	} {
		if errors.Is(err, row.from) {
			return fmt.Errorf("%w: %w", row.to, err)
		}
	}
	return err
}
