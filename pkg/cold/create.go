package cold

// Making volumes. A volume is there when its marker is, whose exclusive creation only one of several requests for the same name can win; the others find it then.

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/strata-csi/strata/pkg/cold/marker"
	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/cold/volumecontext"
	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/volume"
)

// defaultSize is what a volume has when no size is asked for.
const defaultSize = 1 << 30

// maxContext is how large a volume's context may be, in bytes (CSI spec, "Size Limits").
const maxContext = 4 << 10

// Create makes the volume, or finds it. See tier.Provisioner.
func (b *Backend) Create(ctx context.Context, spec volume.Spec) (volume.Volume, error) {
	if err := spec.Capacity.Check(); err != nil {
		return volume.Volume{}, err
	}
	c, err := parseClass(spec.Parameters, spec.Owner.Namespace)
	if err != nil {
		return volume.Volume{}, err
	}
	w, err := plan(c, spec)
	if err != nil {
		return volume.Volume{}, err
	}
	if err := b.mayGive(w); err != nil {
		return volume.Volume{}, err
	}
	sec, err := secret.Parse(b.secrets)
	if err != nil {
		return volume.Volume{}, err
	}
	w.secret = sec
	if err := agree(c.context, sec); err != nil {
		return volume.Volume{}, err
	}
	s, err := b.open(w.place, sec.Fill(c.context.Location()), sec)
	if err != nil {
		return volume.Volume{}, err
	}
	defer s.bucket.Close()
	v, err := b.create(ctx, s, w)
	return v, s.classify(ctx, err)
}

// wanted is a request that has been checked and given its names.
type wanted struct {
	class class
	spec  volume.Spec
	place place
	id    volume.ID
	size  int64

	identity volumecontext.Identity
	secret   secret.Secret // of the class
}

func plan(c class, spec volume.Spec) (wanted, error) {
	w := wanted{class: c, spec: spec, size: max(spec.Capacity.Required, 1), identity: identityOf(c, spec)}
	if spec.Capacity.Required == 0 {
		w.size = defaultSize
		if spec.Capacity.Limit > 0 {
			w.size = min(w.size, spec.Capacity.Limit)
		}
	}
	var err error
	if w.place, err = c.place(spec.Name); err != nil {
		return wanted{}, err
	}
	if w.id, err = w.place.id(); err != nil {
		return wanted{}, fmt.Errorf("endpoint, bucket, prefix, team and the volume's name don't fit: %w", err)
	}
	size := 0
	for key, value := range w.volume(w.size).Context {
		size += len(key) + len(value)
	}
	if size > maxContext {
		return wanted{}, fmt.Errorf("%w: parameter %s: with its %d bytes the volume's context has more than %d; give the certificates in the secret, as %s", volume.ErrInvalid,
			volumecontext.KeyCABundle, len(c.context.CABundle), maxContext, secret.KeyCABundle)
	}
	return w, nil
}

// agree refuses a class whose secret doesn't know how to talk to the store: a volume that was made so could never be deleted.
func agree(c volumecontext.Context, s secret.Secret) error {
	differs := func(key, class string) error {
		return fmt.Errorf("%w: parameter %s: the secret must have %s %s too: deleting and growing a volume have no parameters", volume.ErrInvalid, key, key, class)
	}
	region := s.Region
	if region == "" {
		region = s3.DefaultRegion
	}
	switch {
	case c.Region != "" && c.Region != region:
		return differs(volumecontext.KeyRegion, c.Region)
	case c.PathStyle != pathStyle(s):
		return differs(volumecontext.KeyPathStyle, fmt.Sprint(c.PathStyle))
	case c.CABundle != "" && strings.TrimSpace(c.CABundle) != strings.TrimSpace(s.CABundle):
		return differs(volumecontext.KeyCABundle, "(the same certificates)")
	}
	return nil
}

// volume is the answer to a request that has been fulfilled.
func (w wanted) volume(size int64) volume.Volume {
	return volume.Volume{ID: w.id, Capacity: size, Context: w.context(size).Map()}
}

func (w wanted) context(size int64) volumecontext.Context {
	c := w.class.context
	c.Bucket, c.Prefix, c.Capacity, c.Identity = w.place.bucket, w.place.prefix(), size, w.identity
	return c
}

func (b *Backend) create(ctx context.Context, s site, w wanted) (volume.Volume, error) {
	m, _, err := marker.Read(ctx, s.bucket, s.prefix())
	if err == nil {
		return b.again(ctx, s, w, m)
	}
	if !errors.Is(err, s3.ErrNotFound) && !errors.Is(err, s3.ErrNoBucket) {
		return volume.Volume{}, err
	}
	if err := s.vacant(ctx); errors.Is(err, s3.ErrNoBucket) && w.class.bucketPerVolume {
		if err := s.bucket.Create(ctx); err != nil {
			return volume.Volume{}, err
		}
		failpoint.Hit("cold/create/after-bucket")
	} else if err != nil {
		return volume.Volume{}, err
	}
	if err := b.probe(ctx, s); err != nil {
		return volume.Volume{}, err
	}
	fields, err := b.mint(ctx, w)
	if err != nil {
		return volume.Volume{}, err
	}
	m = marker.Marker{
		Name: w.spec.Name, Owner: w.spec.Owner, Capacity: w.size, Parameters: w.class.parameters, OnDelete: w.class.onDelete, Created: time.Now().UTC().Truncate(time.Second),
		Identity: w.identity,
	}
	_, err = marker.Write(ctx, s.bucket, s.prefix(), m, s3.Condition{IfAbsent: true})
	if errors.Is(err, s3.ErrConflict) { // another request was faster
		if m, _, err = marker.Read(ctx, s.bucket, s.prefix()); err != nil {
			return volume.Volume{}, err
		}
		return b.again(ctx, s, w, m)
	}
	if err != nil {
		return volume.Volume{}, err
	}
	failpoint.Hit("cold/create/after-marker")
	return w.volume(m.Capacity), b.keep(ctx, s, w, fields)
}

// again answers with the volume of an earlier request, which may have ended before the credentials were kept.
func (b *Backend) again(ctx context.Context, s site, w wanted, m marker.Marker) (volume.Volume, error) {
	v, err := w.existing(m)
	if err != nil {
		return v, err
	}
	fields, err := b.mint(ctx, w)
	if err != nil {
		return volume.Volume{}, err
	}
	return v, b.keep(ctx, s, w, fields)
}

// existing compares the volume of an earlier request with what is wanted now.
func (w wanted) existing(m marker.Marker) (volume.Volume, error) {
	taken := func(why string, args ...any) (volume.Volume, error) {
		return volume.Volume{}, fmt.Errorf("%w: %s: %s", volume.ErrExists, w.place, fmt.Sprintf(why, args...))
	}
	switch {
	case m.Name != w.spec.Name:
		return taken("it belongs to the volume %q (PVC %s/%s)", m.Name, m.Namespace, m.PVC)
	case m.State == marker.Deleting:
		return volume.Volume{}, fmt.Errorf("%w: %s: it is being deleted", volume.ErrPending, w.place)
	case m.State == marker.Retained:
		return taken("a volume of this name was deleted and its objects kept (onDelete: retain); use them with a PersistentVolume made by hand, or remove them")
	case m.Parameters != w.class.parameters:
		return taken("the volume %q was made with other parameters", m.Name)
	case m.Identity != w.identity:
		return taken("the volume %q was made for other access modes: its credentials may do other things (%s) than is asked for now (%s)", m.Name, m.Identity, w.identity)
	case m.Identity != volumecontext.IdentityShared && m.PV != w.spec.Owner.PV:
		return taken("the volume %q has its credentials in the Secret of another PersistentVolume, %s", m.Name, m.PV)
	case !w.spec.Capacity.Allows(m.Capacity):
		return taken("the volume %q has %d bytes, which isn't what is asked for now", m.Name, m.Capacity)
	}
	return w.volume(m.Capacity), nil
}
