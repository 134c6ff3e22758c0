package kubectl

// Identities of volumes that aren't there, and Secrets of such. They hold no data, so unlike all else that has no owner they can be
// removed from here.

import (
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/inspect"
)

// As pkg/kube makes them.
const (
	identityLabel      = driverName + "/identity"
	identityAnnotation = driverName + "/volume-id"
)

// identitySecrets are the Secrets with the keys of volumes.
func (c Clients) identitySecrets(ctx context.Context) (all []corev1.Secret, err error) {
	err = eachPage(func(o metav1.ListOptions) (string, error) {
		o.LabelSelector = identityLabel + "=true"
		l, err := c.Kube.CoreV1().Secrets(c.Namespace).List(ctx, o)
		if err != nil {
			return "", err
		}
		all = append(all, l.Items...)
		return l.Continue, nil
	})
	return all, err
}

// lives says whether the clusters hold a volume, or may: what is only kept for its snapshots opens to nobody any more.
func (s stored) lives(id string) bool {
	v := s.byID[id]
	return v != nil && v.State != inspect.Retained || !s.sees(id)
}

// identityOrphans are the identities without a volume.
func (c Clients) identityOrphans(s stored) (out []Orphan) {
	for i := range s.Identities {
		identity := &s.Identities[i]
		if identity.Volume == "" || s.lives(identity.Volume) {
			continue
		}
		o := Orphan{Kind: OrphanIdentity, Name: identity.User, Cluster: identity.Cluster, Volume: identity.Volume, Since: identity.Changed,
			Why: "its volume " + identity.Volume + " isn't there: whoever has the key opens nothing with it, and would again if a volume came in its place", Remove: []string{"ceph auth rm " + identity.User}}
		for _, user := range identity.Former {
			o.Remove = append(o.Remove, "ceph auth rm "+user)
		}
		if identity.Secret != "" {
			o.Remove = append(o.Remove, fmt.Sprintf("kubectl -n %s delete secret %s --ignore-not-found", c.Namespace, identity.Secret))
		}
		o.Remove = append(o.Remove, "rmdir MOUNT"+identity.Directory)
		out = append(out, o)
	}
	return out
}

// secretOrphans are the Secrets of volumes that aren't there. before: those that were there before the clusters were looked at, so that
// one that is being made isn't among them.
func (c Clients) secretOrphans(s stored, before, after []corev1.Secret) (out []Orphan) {
	for i := range after {
		secret := &after[i]
		id := secret.Annotations[identityAnnotation]
		known := slices.ContainsFunc(before, func(b corev1.Secret) bool { return b.UID == secret.UID && b.Name == secret.Name })
		named := slices.ContainsFunc(s.Identities, func(i inspect.Identity) bool { return i.Volume == id })
		if !known || named || s.lives(id) { // with an identity it goes when that does
			continue
		}
		out = append(out, Orphan{Kind: OrphanSecret, Name: secret.Name, Volume: id, Since: &secret.CreationTimestamp.Time, uid: secret.UID,
			Why: "its volume " + id + " isn't there", Remove: []string{fmt.Sprintf("kubectl -n %s delete secret %s", c.Namespace, secret.Name)}})
	}
	return out
}

// RemoveIdentities removes the identities and Secrets of a list, and marks them as removed. Everything is tried; the errors come together.
func RemoveIdentities(ctx context.Context, c Clients, list *OrphanList) error {
	var errs []error
	for i := range list.Orphans {
		o := &list.Orphans[i]
		var err error
		switch o.Kind {
		case OrphanIdentity: // the controller looks once more whether the volume is there
			_, err = c.change(ctx, "revoke", o.Volume)
		case OrphanSecret:
			err = c.Kube.CoreV1().Secrets(c.Namespace).Delete(ctx, o.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &o.uid}})
		default:
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %s stays: %w", o.Kind, o.Name, err))
			continue
		}
		o.Removed = true
	}
	return errors.Join(errs...)
}

// removable counts what RemoveIdentities would remove.
func (l OrphanList) removable() (n int) {
	for _, o := range l.Orphans {
		if (o.Kind == OrphanIdentity || o.Kind == OrphanSecret) && !o.Removed {
			n++
		}
	}
	return n
}
