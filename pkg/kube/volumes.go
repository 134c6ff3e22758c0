package kube

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// pageSize is how many PersistentVolumes are asked for at once. All pages are of one moment: the API server refuses to go on when it
// doesn't know that moment any more.
const pageSize = 500

// Volumes knows the PersistentVolumes of one CSI driver.
type Volumes struct {
	volumes corev1.PersistentVolumeInterface
	driver  string
}

// NewVolumes returns the PersistentVolumes of a driver.
func NewVolumes(client corev1.CoreV1Interface, driver string) *Volumes {
	return &Volumes{volumes: client.PersistentVolumes(), driver: driver}
}

// Handles returns the volume ids of all PersistentVolumes of the driver, in any phase. It asks for what is true now, see the package.
func (v *Volumes) Handles(ctx context.Context) (map[string]bool, error) {
	handles := map[string]bool{}
	for options := (metav1.ListOptions{Limit: pageSize}); ; {
		page, err := v.volumes.List(ctx, options)
		if err != nil {
			return nil, fmt.Errorf("list the PersistentVolumes: %w", err)
		}
		for i := range page.Items {
			if csi := page.Items[i].Spec.CSI; csi != nil && csi.Driver == v.driver {
				handles[csi.VolumeHandle] = true
			}
		}
		if page.Continue == "" {
			return handles, nil
		}
		options.Continue = page.Continue
	}
}
