package scratch

// Who owns what: kubelet's directory and, in Kubernetes, the API. See docs/decisions/0017-which-pods-live.md.

import (
	"context"
	"fmt"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// Cluster is what the reaper asks of Kubernetes. Every answer must be what is true now: what isn't named is taken for gone. An error, or a
// doubt, must be an error.
type Cluster interface {
	PodSource
	// KubeletReports returns nil when this node's kubelet is well and in touch with the API.
	KubeletReports(ctx context.Context) error
	// Handles returns the ids of all PersistentVolumes of the driver.
	Handles(ctx context.Context) (map[string]bool, error)
}

// Ask makes the reaper ask the API besides kubelet's directory: a pod that either names lives. seesContainers says whether the node's
// containers are in the PID namespace of this process, or below: only then the volume of a pod that the API doesn't have is destroyed
// although kubelet keeps the pod's directory.
func (r *Reaper) Ask(c Cluster, seesContainers func() bool) {
	r.cluster, r.seesContainers = c, seesContainers
}

// owners is what is known at one look.
type owners struct {
	dirs    map[string]bool // pods that kubelet has a directory of
	cluster map[string]bool // pods that the API has; nil: it isn't asked
	// left says why a pod with a directory that the API doesn't have may be alive; nil: kubelet has let go of it.
	left func(r record) error
}

func (r *Reaper) owners(ctx context.Context, all []record) (owners, error) {
	dirs, err := r.pods.Pods(ctx)
	if err != nil || r.cluster == nil {
		return owners{dirs: dirs}, err
	}
	inline := false
	for _, rec := range all {
		inline = inline || rec.Inline
	}
	if !inline {
		return owners{dirs: dirs}, nil
	}
	o := owners{dirs: dirs}
	if o.cluster, err = r.cluster.Pods(ctx); err != nil {
		return o, err
	}
	o.left = func(rec record) error {
		if !r.seesContainers() {
			return fmt.Errorf("this process can't see whether a container still has the volume: kubelet's process isn't in its PID namespace (hostPID: true)")
		}
		if err := r.cluster.KubeletReports(ctx); err != nil {
			return err
		}
		return unusedByContainers(r.proc, rec)
	}
	return o, nil
}

// gone says why the pod of an inline volume can't use it any more, or "".
func (o owners) gone(r record) string {
	pod := fmt.Sprintf("pod %s/%s (%s)", r.Pod.Namespace, r.Pod.Name, r.Pod.UID)
	switch {
	case o.cluster[r.Pod.UID]:
		return ""
	case !o.dirs[r.Pod.UID]:
		return pod + " is gone"
	case o.cluster != nil && o.left(r) == nil:
		return pod + " isn't in the API, no container has the volume, and kubelet, which keeps the pod's directory, doesn't unmount it"
	}
	return ""
}

// unmountKubelets takes away what kubelet left of a volume besides its target: the bind mounts for a subPath.
func (b *Backend) unmountKubelets(ctx context.Context, r record) error {
	m, ok, err := mountpoint.Find(r.Path)
	if err != nil || !ok {
		return err
	}
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	for _, other := range table {
		if other.Path != r.Path && sameVolume(other.Major, other.Minor, other.Root, m) && kubelets(other.Path, r.Pod.UID) {
			if err := b.unmounter.Unmount(ctx, other.Path); err != nil {
				return err
			}
		}
	}
	return nil
}
