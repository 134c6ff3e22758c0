package kube

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
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
