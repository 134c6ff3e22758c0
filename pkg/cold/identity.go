package cold

// With `identity: volume` a node is given credentials that open one volume and end by themselves (pkg/cold/session), in a Secret named after the PersistentVolume. The marker says that
// a volume has them; pkg/cold/renewal keeps them fresh.
//
// A request that is repeated mints again: credentials can't be asked for twice, and those before stay good until they end. So no two requests, and no two controllers, can be in each other's way.

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/cold/session"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

// Keeper keeps the credentials of volumes where the orchestrator finds them for a node. Both calls may be repeated, and end in the same state.
type Keeper interface {
	// Keep stores the fields of a volume's secret, or replaces them. volume.ErrExists: the name belongs to something else.
	Keep(ctx context.Context, name string, id volume.ID, fields map[string]string) error
	// Drop removes a volume's secret; one that isn't there is no error, and one of something else stays.
	Drop(ctx context.Context, name string, id volume.ID) error
}

// errNoKeeper explains what `identity: volume` needs.
func errNoKeeper(what string) error {
	return fmt.Errorf("%w: %s needs the Kubernetes API, where the credentials are kept in a Secret: start strata-controller with --kubeconfig "+
		"(in-cluster in a pod) and --namespace, or use %s: shared", volume.ErrPrecondition, what, volumecontext.KeyIdentity)
}

// identityOf is what the credentials of a new volume may do.
func identityOf(c class, spec volume.Spec) volumecontext.Identity {
	if c.context.Identity == volumecontext.IdentityVolume && (spec.Access.ReadOnly || c.context.ReadOnly) {
		return volumecontext.IdentityReader
	}
	return c.context.Identity
}

// mayGive refuses what give could not do, before anything is made.
func (b *Backend) mayGive(w wanted) error {
	switch {
	case w.identity == volumecontext.IdentityShared:
		return nil
	case b.options.Keeper == nil:
		return errNoKeeper(fmt.Sprintf("%s: %s", volumecontext.KeyIdentity, volumecontext.IdentityVolume))
	case w.spec.Owner.PV == "":
		return fmt.Errorf("%w: %s: %s stores the credentials in a Secret named after the PersistentVolume, and the request doesn't name it; "+
			"run external-provisioner with --extra-create-metadata", volume.ErrPrecondition, volumecontext.KeyIdentity, volumecontext.IdentityVolume)
	}
	return nil
}

// mint asks for credentials of a volume, and proves once that those of its role are bound. Without an identity it does nothing.
func (b *Backend) mint(ctx context.Context, w wanted) (fields map[string]string, err error) {
	if w.identity == volumecontext.IdentityShared {
		return nil, nil
	}
	r := session.Request{Volume: w.spec.Owner.PV, Context: w.context(w.size), Class: w.secret}
	s, err := session.Mint(ctx, r, b.options.Client)
	switch {
	case errors.Is(err, s3.ErrDenied), errors.Is(err, s3.ErrNotFound):
		return nil, fmt.Errorf("%w: %s; the access key of the class's secret must be one that the trust policy of the role lets assume it, and %s at most what the role allows",
			volume.ErrDenied, err, volumecontext.KeyCredentialsLifetime)
	case errors.Is(err, s3.ErrInvalid):
		return nil, fmt.Errorf("%w: %s; is there STS at %s, and %s at most what the role allows?", volume.ErrPrecondition, err, r.Context.STS().Endpoint, volumecontext.KeyCredentialsLifetime)
	case err != nil:
		return nil, err
	}
	proven := strings.Join([]string{r.Context.Endpoint, r.Context.STS().Endpoint, r.Context.RoleARN, strconv.FormatBool(r.Context.Prefix == "")}, " ")
	if !b.checked.has(proven) {
		if err := session.Prove(ctx, r, s, b.options.Client); err != nil {
			return nil, err
		}
		b.checked.add(proven)
	}
	return session.Fields(r, s), nil
}

// keep stores the credentials of a volume that is there. It may have been deleted meanwhile, by a call that found no secret to remove.
func (b *Backend) keep(ctx context.Context, s site, w wanted, fields map[string]string) error {
	if fields == nil {
		return nil
	}
	if err := b.options.Keeper.Keep(ctx, w.spec.Owner.PV, w.id, fields); err != nil {
		return err
	}
	failpoint.Hit("cold/identity/after-secret")
	m, _, err := marker.Read(ctx, s.bucket, s.prefix())
	switch {
	case errors.Is(err, s3.ErrNotFound), errors.Is(err, s3.ErrNoBucket), err == nil && m.State != marker.Ready:
		if err := b.options.Keeper.Drop(ctx, w.spec.Owner.PV, w.id); err != nil {
			return err
		}
		return fmt.Errorf("%w: %s: it was deleted while it was being made", volume.ErrPending, s.place)
	}
	return err
}

// takeBack removes the secret of a volume that is being deleted. Credentials that a node has can't be taken back: they end by themselves.
func (b *Backend) takeBack(ctx context.Context, id volume.ID, m marker.Marker) error {
	if m.Identity == volumecontext.IdentityShared {
		return nil
	}
	if err := b.options.Keeper.Drop(ctx, m.PV, id); err != nil {
		return err
	}
	failpoint.Hit("cold/identity/after-drop")
	return nil
}
