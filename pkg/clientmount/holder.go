package clientmount

// strata-mountd, which the clients belong to and which outlives this process, as a tier uses it.

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/volume"
)

// Holder starts and ends clients of one kind through the strata-mountd on a Unix socket. Its errors are those of pkg/volume.
type Holder struct {
	client mountd.Client
	kind   string
}

// NewHolder returns a Holder. Nothing is asked yet.
func NewHolder(socket, kind string) Holder {
	return Holder{mountd.Client{Socket: socket}, kind}
}

// Available says why no client can be started on this node, or nil.
func (h Holder) Available(ctx context.Context) error {
	return holderError(h.client.Available(ctx, h.kind))
}

// Start mounts; the kind of the spec is set. The secret is overwritten by nobody here.
func (h Holder) Start(ctx context.Context, s mountd.Spec, secret []byte) error {
	s.Kind = h.kind
	return holderError(h.client.Start(ctx, s, secret))
}

// Renew hands a new secret to the client that was started for target. volume.ErrNotFound: there is none. volume.ErrPrecondition: it can't be handed one
// without being started anew.
func (h Holder) Renew(ctx context.Context, target string, secret []byte) error {
	return holderError(h.client.Renew(ctx, target, secret))
}

// Serving returns where, other than at the target, a client that was started for the target and still runs is mounted. Without a holder it isn't known, and
// nothing could be mounted either.
func (h Holder) Serving(ctx context.Context, target string) ([]string, error) {
	m, ok, err := h.client.Health(ctx, target)
	if err != nil {
		return nil, holderError(err)
	}
	if !ok || m.State != mountd.Running {
		return nil, nil
	}
	return m.Elsewhere, nil
}

// Unmounted is told that the target is no longer mounted: it waits until the client has ended, which has then written everything back. Without
// a holder nobody can wait; the process ends by itself all the same, its mount being gone.
func (h Holder) Unmounted(ctx context.Context, target string) error {
	err := h.client.Stop(ctx, target)
	if errors.Is(err, mountd.ErrNoServer) {
		klog.FromContext(ctx).Info("can't wait for the end of a "+h.kind+", if there was one", "path", target, "cause", err)
		return nil
	}
	return holderError(err)
}

// Fate returns in a few words what became of the client behind a dead mount of that source, "" when nothing is known.
func (h Holder) Fate(ctx context.Context, source string) string {
	mounts, err := h.client.List(ctx)
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

// Status returns what the holder knows of the running client of that source.
func (h Holder) Status(ctx context.Context, source string) (mountd.Status, bool, error) {
	mounts, err := h.client.List(ctx)
	if err != nil {
		return mountd.Status{}, false, holderError(err)
	}
	for _, m := range mounts {
		if m.Spec.Source == source && m.State == mountd.Running {
			return m, true, nil
		}
	}
	return mountd.Status{}, false, nil
}

// holderError wraps an error of mountd with the sentinel of pkg/volume that fits.
func holderError(err error) error {
	for _, row := range []struct{ from, to error }{
		{mountd.ErrInvalid, volume.ErrInvalid},
		{mountd.ErrDenied, volume.ErrDenied},
		{mountd.ErrNotFound, volume.ErrNotFound},
		{mountd.ErrUnreachable, volume.ErrUnavailable},
		{mountd.ErrNoServer, volume.ErrUnavailable},
		{mountd.ErrConflict, volume.ErrExists},
		{mountd.ErrBusy, volume.ErrUnavailable},
		{mountd.ErrDetached, volume.ErrPrecondition},
		{context.DeadlineExceeded, volume.ErrDeadline},
	} {
		if errors.Is(err, row.from) {
			return fmt.Errorf("%w: %w", row.to, err)
		}
	}
	return err
}
