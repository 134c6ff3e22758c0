package kube

import (
	"context"
	"errors"
	"fmt"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/volume"
)

const secrets = "secrets"

const (
	// SecretType is the type of the Secrets with the keys of volumes. It can't be changed, so no other Secret becomes one of them.
	SecretType = v1.SecretType("csi.strata.dev/identity")
	// SecretVolume is the annotation with the id of the volume that a Secret belongs to.
	SecretVolume = "csi.strata.dev/volume-id"
	// SecretLabel marks them, for a list.
	SecretLabel = "csi.strata.dev/identity"
)

// Secrets are those that hold the keys of volumes, in the driver's namespace. They are never listed, and of others only the type is looked at.
type Secrets struct {
	client    *Client
	namespace string
}

// NewSecrets returns the Secrets of a namespace.
func NewSecrets(client *Client, namespace string) *Secrets {
	return &Secrets{client: client, namespace: namespace}
}

// Keep stores the fields of the Secret of a volume, or replaces them. volume.ErrExists: a Secret of that name isn't this volume's.
func (s *Secrets) Keep(ctx context.Context, name string, id volume.ID, fields map[string]string) error {
	data := map[string][]byte{}
	for k, v := range fields {
		data[k] = []byte(v)
	}
	secret := &v1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Name:        name,
			Labels:      map[string]string{SecretLabel: "true", "app.kubernetes.io/managed-by": "strata-controller"},
			Annotations: map[string]string{SecretVolume: string(id)},
		},
		Type: SecretType, Data: data,
	}
	var err error
	for range 3 { // another controller may make or change it between two of our requests
		err = s.client.create(ctx, secrets, s.namespace, secret, &v1.Secret{})
		if !apierrors.IsAlreadyExists(err) {
			break
		}
		var have v1.Secret
		if err = s.client.get(ctx, secrets, s.namespace, name, &have); apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			break
		}
		if !belongs(&have, id) {
			return fmt.Errorf("%w: Secret %s/%s isn't that of volume %s; look whose it is, and remove it or give the volume another name",
				volume.ErrExists, s.namespace, name, id)
		}
		have.Data, have.Labels = data, secret.Labels
		if err = s.client.update(ctx, secrets, s.namespace, name, &have, &v1.Secret{}); !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			break
		}
	}
	return s.failed("keep", name, err)
}

// Kept returns the fields of the Secret of a volume. volume.ErrNotFound: there is none. volume.ErrExists: a Secret of that name isn't this volume's.
func (s *Secrets) Kept(ctx context.Context, name string, id volume.ID) (map[string]string, error) {
	have, err := s.own(ctx, "read", name, id)
	if err != nil {
		return nil, err
	}
	return fieldsOf(have), nil
}

// Replace replaces the fields of the Secret of a volume. One that isn't there isn't made: volume.ErrNotFound. volume.ErrExists as with Kept.
func (s *Secrets) Replace(ctx context.Context, name string, id volume.ID, fields map[string]string) error {
	for tries := 3; ; tries-- { // another controller may change it between our two requests
		have, err := s.own(ctx, "replace", name, id)
		if err != nil {
			return err
		}
		have.Data = map[string][]byte{}
		for k, v := range fields {
			have.Data[k] = []byte(v)
		}
		err = s.client.update(ctx, secrets, s.namespace, name, have, &v1.Secret{})
		if apierrors.IsNotFound(err) || apierrors.IsConflict(err) && tries > 1 {
			continue
		}
		return s.failed("replace", name, err)
	}
}

// Read returns the fields of any Secret; which ones can be read is for the Role of the controller to say.
func (s *Secrets) Read(ctx context.Context, namespace, name string) (map[string]string, error) {
	var have v1.Secret
	if err := s.client.get(ctx, secrets, namespace, name, &have); err != nil {
		return nil, fmt.Errorf("%w: read Secret %s/%s: %w; the controller's ServiceAccount must be allowed to get it: the chart's Role does so in the driver's namespace",
			volume.ErrPrecondition, namespace, name, err)
	}
	return fieldsOf(&have), nil
}

// own is the Secret of a volume.
func (s *Secrets) own(ctx context.Context, what, name string, id volume.ID) (*v1.Secret, error) {
	var have v1.Secret
	err := s.client.get(ctx, secrets, s.namespace, name, &have)
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("%w: there is no Secret %s/%s", volume.ErrNotFound, s.namespace, name)
	case err != nil:
		return nil, s.failed(what, name, err)
	case !belongs(&have, id):
		return nil, fmt.Errorf("%w: Secret %s/%s isn't that of volume %s", volume.ErrExists, s.namespace, name, id)
	}
	return &have, nil
}

func fieldsOf(secret *v1.Secret) map[string]string {
	fields := map[string]string{}
	for k, v := range secret.Data {
		fields[k] = string(v)
	}
	return fields
}

// Drop removes the Secret of a volume. One that isn't there is no error, and one of something else stays.
func (s *Secrets) Drop(ctx context.Context, name string, id volume.ID) error {
	var have v1.Secret
	err := s.client.get(ctx, secrets, s.namespace, name, &have)
	if err == nil {
		if !belongs(&have, id) {
			return nil
		}
		// Only this one: not what was made by the name since.
		err = s.client.remove(ctx, secrets, s.namespace, name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &have.UID}})
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return s.failed("remove", name, err)
}

func belongs(secret *v1.Secret, id volume.ID) bool {
	return secret.Type == SecretType && secret.Annotations[SecretVolume] == string(id)
}

// failed says what is to be done about an error of the API server. None of its errors holds the content of a Secret: what it says of an
// invalid object is about the names of its fields.
func (s *Secrets) failed(what, name string, err error) error {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%w: %s Secret %s/%s: %w; the controller's ServiceAccount needs get, create, update and delete of secrets in namespace %s, "+
			"which the chart's Role strata-controller gives", volume.ErrPrecondition, what, s.namespace, name, err, s.namespace)
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		return fmt.Errorf("%w: %s Secret %s/%s: %w", volume.ErrInvalid, what, s.namespace, name, err)
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: %s Secret %s/%s: %w; is --namespace the driver's?", volume.ErrPrecondition, what, s.namespace, name, err)
	case errors.As(err, &status), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("%w: %s Secret %s/%s: %w", volume.ErrUnavailable, what, s.namespace, name, err)
	}
	return fmt.Errorf("%w: %s Secret %s/%s: the Kubernetes API can't be reached: %w", volume.ErrUnavailable, what, s.namespace, name, err)
}
