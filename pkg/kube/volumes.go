package kube

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pageSize is how many PersistentVolumes are asked for at once. All pages are of one moment: the API server refuses to go on when it
// doesn't know that moment any more.
const pageSize = 500

// Volumes knows the PersistentVolumes of one CSI driver.
type Volumes struct {
	client *Client
	driver string
}

// NewVolumes returns the PersistentVolumes of a driver.
func NewVolumes(client *Client, driver string) *Volumes {
	return &Volumes{client: client, driver: driver}
}

// Handles returns the volume ids of all PersistentVolumes of the driver, in any phase. It asks for what is true now, see the package.
func (v *Volumes) Handles(ctx context.Context) (map[string]bool, error) {
	handles := map[string]bool{}
	err := v.each(ctx, func(pv *v1.PersistentVolume) bool {
		handles[pv.Spec.CSI.VolumeHandle] = true
		return true
	})
	if err != nil {
		return nil, err
	}
	return handles, nil
}

// Provisioned is what is needed of a PersistentVolume beside its id.
type Provisioned struct {
	Name       string
	Handle     string
	Attributes map[string]string
	// The Secret that external-provisioner removes the volume with; "": it says none.
	SecretNamespace, SecretName string
}

// The annotations in which external-provisioner keeps it.
const (
	deletionSecretName      = "volume.kubernetes.io/provisioner-deletion-secret-name"
	deletionSecretNamespace = "volume.kubernetes.io/provisioner-deletion-secret-namespace"
)

// WithAttribute returns the PersistentVolumes of the driver that have a volume attribute and are not being deleted.
func (v *Volumes) WithAttribute(ctx context.Context, key string) ([]Provisioned, error) {
	var all []Provisioned
	err := v.each(ctx, func(pv *v1.PersistentVolume) bool {
		if _, ok := pv.Spec.CSI.VolumeAttributes[key]; ok && pv.DeletionTimestamp == nil {
			all = append(all, Provisioned{Name: pv.Name, Handle: pv.Spec.CSI.VolumeHandle, Attributes: pv.Spec.CSI.VolumeAttributes,
				SecretNamespace: pv.Annotations[deletionSecretNamespace], SecretName: pv.Annotations[deletionSecretName]})
		}
		return true
	})
	return all, err
}

// Bound tells whether the PersistentVolume is that of a volume and a claim has it. One that isn't there is neither.
func (v *Volumes) Bound(ctx context.Context, name, handle string) (bool, error) {
	var pv v1.PersistentVolume
	err := v.client.get(ctx, "persistentvolumes", "", name, &pv)
	if apierrors.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read PersistentVolume %s: %w", name, err)
	}
	csi := pv.Spec.CSI
	return csi != nil && csi.Driver == v.driver && csi.VolumeHandle == handle && pv.Status.Phase == v1.VolumeBound && pv.DeletionTimestamp == nil, nil
}

// each calls do for every PersistentVolume of the driver until that says false.
func (v *Volumes) each(ctx context.Context, do func(*v1.PersistentVolume) bool) error {
	for options := (metav1.ListOptions{Limit: pageSize}); ; {
		var page v1.PersistentVolumeList
		if err := v.client.list(ctx, "persistentvolumes", "", options, &page); err != nil {
			return fmt.Errorf("list the PersistentVolumes: %w", err)
		}
		for i := range page.Items {
			if csi := page.Items[i].Spec.CSI; csi != nil && csi.Driver == v.driver && !do(&page.Items[i]) {
				return nil
			}
		}
		if page.Continue == "" {
			return nil
		}
		options.Continue = page.Continue
	}
}
