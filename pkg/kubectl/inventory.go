package kubectl

// What volumes, usage and orphans stand on: the volumes as Kubernetes knows them, beside those that the clusters hold.

import (
	"context"
	"slices"
	"strings"

	volumesnapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/volume"
)

// pageSize is how many objects are asked for at once.
const pageSize = 500

// eachPage calls list until it has given all.
func eachPage(list func(metav1.ListOptions) (next string, err error)) error {
	o := metav1.ListOptions{Limit: pageSize}
	for {
		next, err := list(o)
		if err != nil || next == "" {
			return err
		}
		o.Continue = next
	}
}

// persistentVolumes are the PersistentVolumes of the driver.
func (c Clients) persistentVolumes(ctx context.Context) (ours []corev1.PersistentVolume, err error) {
	err = eachPage(func(o metav1.ListOptions) (string, error) {
		l, err := c.Kube.CoreV1().PersistentVolumes().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, v := range l.Items {
			if v.Spec.CSI != nil && v.Spec.CSI.Driver == driverName {
				ours = append(ours, v)
			}
		}
		return l.Continue, nil
	})
	return ours, err
}

// pods are those of the whole cluster that have not ended.
func (c Clients) pods(ctx context.Context) (live []corev1.Pod, err error) {
	err = eachPage(func(o metav1.ListOptions) (string, error) {
		l, err := c.Kube.CoreV1().Pods(metav1.NamespaceAll).List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, p := range l.Items {
			if p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed {
				live = append(live, p)
			}
		}
		return l.Continue, nil
	})
	return live, err
}

func (c Clients) snapshotContents(ctx context.Context) (ours []volumesnapshotv1.VolumeSnapshotContent, err error) {
	err = eachPage(func(o metav1.ListOptions) (string, error) {
		l, err := c.Snapshots.SnapshotV1().VolumeSnapshotContents().List(ctx, o)
		if err != nil {
			return "", err
		}
		for _, s := range l.Items {
			if s.Spec.Driver == driverName {
				ours = append(ours, s)
			}
		}
		return l.Continue, nil
	})
	return ours, err
}

// reports are the ConfigMaps in which nodes report their scratch room.
func (c Clients) reports(ctx context.Context) got[[]corev1.ConfigMap] {
	l, err := c.Kube.CoreV1().ConfigMaps(c.Namespace).List(ctx, metav1.ListOptions{LabelSelector: reportLabel + "=true"})
	return items(l, err, func() []corev1.ConfigMap { return l.Items })
}

// stored is what the clusters hold, by volume id.
type stored struct {
	inspect.Inventory
	byID   map[string]*inspect.Volume
	places map[string]bool // "cluster/fs"
	prefix map[string]string
}

// stored asks the controller what the clusters hold; command is one of `strata-controller inspect`.
func (c Clients) stored(ctx context.Context, command string) (stored, error) {
	s := stored{byID: map[string]*inspect.Volume{}, places: map[string]bool{}, prefix: map[string]string{}}
	if err := c.inspect(ctx, &s.Inventory, inspect.KindInventory, command); err != nil {
		return s, err
	}
	for i := range s.Volumes {
		if v := &s.Volumes[i]; v.ID != "" {
			s.byID[v.ID] = v
		}
	}
	for _, p := range s.Places {
		s.places[p.Cluster+"/"+p.FileSystem] = true
		s.prefix[p.Cluster+"/"+p.FileSystem] = p.NamePrefix
	}
	return s, nil
}

// sees says whether a volume or snapshot with that id would be in the list if it were anywhere.
func (s stored) sees(id string) bool {
	parts := strings.Split(id, ":")
	if len(parts) < 5 || parts[0] != string(volume.Warm) {
		return false
	}
	place := parts[1] + "/" + parts[2]
	return s.places[place] && strings.HasPrefix(parts[3], s.prefix[place]+".")
}

// users are the nodes on which pods use a claim, by "namespace/claim".
func users(pods []corev1.Pod) map[string][]string {
	nodes := map[string][]string{}
	for i := range pods {
		p := &pods[i]
		if p.Spec.NodeName == "" {
			continue
		}
		for _, v := range p.Spec.Volumes {
			name := ""
			switch {
			case v.PersistentVolumeClaim != nil:
				name = v.PersistentVolumeClaim.ClaimName
			case v.Ephemeral != nil: // generic ephemeral: the claim is named after the pod and the volume
				name = p.Name + "-" + v.Name
			default:
				continue
			}
			key := p.Namespace + "/" + name
			if !slices.Contains(nodes[key], p.Spec.NodeName) {
				nodes[key] = append(nodes[key], p.Spec.NodeName)
			}
		}
	}
	for _, n := range nodes {
		slices.Sort(n)
	}
	return nodes
}
