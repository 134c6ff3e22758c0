package kubectl

// Fencing a node: which addresses it has, by Kubernetes, and which volumes' keys; `strata-controller fence-node` does the rest, in a pod on
// another node.

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/volume"
)

// NodeFence says what was done with a node.
type NodeFence struct {
	Header
	Node     string                 `json:"node"`
	Undone   bool                   `json:"undone"`
	Clusters []inspect.ClusterFence `json:"clusters"`
	Volumes  []KnownVolume          `json:"volumes"` // warm ones whose keys the node has: of pods that are bound to it, and of clients that were shut out
	Cordoned bool                   `json:"cordoned"`
}

// KnownVolume is a volume whose key a node has.
type KnownVolume struct {
	PV        string `json:"pv"`
	Namespace string `json:"namespace,omitempty"` // of its claim
	PVC       string `json:"pvc,omitempty"`
	Own       bool   `json:"own"` // the key opens this volume alone, and rotate gives it another
}

func (f NodeFence) failed() (n int) {
	for _, c := range f.Clusters {
		if c.Error != "" {
			n++
		}
	}
	return n
}

// fenceNode shuts a node out of the clusters, or lets it in again. more are addresses besides those that Kubernetes knows.
func (c Clients) fenceNode(ctx context.Context, name string, more []string, undo bool, limit time.Duration) (NodeFence, error) {
	out := NodeFence{Header: c.header("NodeFence"), Node: name, Undone: undo, Clusters: []inspect.ClusterFence{}, Volumes: []KnownVolume{}}
	pvs, err := c.persistentVolumes(ctx)
	if err != nil {
		return out, err
	}
	if i := slices.IndexFunc(pvs, func(v corev1.PersistentVolume) bool {
		return v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Namespace+"/"+v.Spec.ClaimRef.Name == nodeType+name
	}); i >= 0 {
		return out, fmt.Errorf("%s%s is a claim too: name the volume by its PersistentVolume, %s; the node can't be fenced while there is that claim", nodeType, name, pvs[i].Name)
	}
	addresses, hosts, cordoned, err := c.machine(ctx, name, more)
	if err != nil {
		return out, err
	}
	out.Cordoned = cordoned
	pods, err := c.pods(ctx) // before it is done: they may go then
	if err != nil {
		return out, err
	}
	var flags []string
	for _, a := range addresses {
		flags = append(flags, "--address="+a.String())
	}
	for _, h := range hosts {
		flags = append(flags, "--host="+h)
	}
	if undo {
		flags = append(flags, "--undo")
	}
	raw, err := c.changeFrom(ctx, name, "fence-node", append(flags, "--timeout="+limit.String(), name)...)
	if err != nil {
		return out, err
	}
	var did inspect.NodeFence
	if err := decodeInspect(raw, &did, inspect.KindNodeFence); err != nil {
		return out, err
	}
	out.Clusters = did.Clusters
	if !undo {
		out.Volumes = keysAt(pvs, users(pods), name, did.Clusters)
	}
	return out, nil
}

// machine is what Kubernetes knows of a node. An address that another node has too is an error: that one would be shut out with it.
func (c Clients) machine(ctx context.Context, name string, more []string) (addresses []netip.Addr, hosts []string, cordoned bool, err error) {
	for _, a := range more {
		ip, err := netip.ParseAddr(a)
		if err != nil || ip.Zone() != "" {
			return nil, nil, false, fmt.Errorf("--address %q is no IP address", a)
		}
		addresses = append(addresses, ip.Unmap())
	}
	node, err := c.Kube.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err) && len(addresses) > 0:
		cordoned = true
	case apierrors.IsNotFound(err):
		return nil, nil, false, fmt.Errorf("there is no node %q; of one that was deleted name the addresses: --address", name)
	case err != nil:
		return nil, nil, false, err
	default:
		cordoned = node.Spec.Unschedulable
		of, names := addressesOf(node)
		addresses, hosts = append(addresses, of...), names
	}
	if len(addresses) == 0 {
		return nil, nil, false, fmt.Errorf("node %q has no IP address in its status: name them by --address", name)
	}
	err = eachPage(func(o metav1.ListOptions) (string, error) {
		l, err := c.Kube.CoreV1().Nodes().List(ctx, o)
		if err != nil {
			return "", err
		}
		for i := range l.Items {
			if l.Items[i].Name == name {
				continue
			}
			others, _ := addressesOf(&l.Items[i])
			for _, a := range others {
				if slices.Contains(addresses, a) {
					return "", fmt.Errorf("node %s has the address %s too, and would be shut out with %s: fence its volumes instead", l.Items[i].Name, a, name)
				}
			}
		}
		return l.Continue, nil
	})
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(addresses), hosts, cordoned, err
}

// addressesOf are those in a node's status, and the names by which its clients may call it.
func addressesOf(n *corev1.Node) (addresses []netip.Addr, hosts []string) {
	if h := n.Labels[corev1.LabelHostname]; h != "" && h != n.Name {
		hosts = append(hosts, h)
	}
	for _, a := range n.Status.Addresses {
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			addresses = append(addresses, ip.Unmap())
		} else if a.Type == corev1.NodeHostName && a.Address != n.Name && !slices.Contains(hosts, a.Address) {
			hosts = append(hosts, a.Address)
		}
	}
	return addresses, hosts
}

// keysAt are the warm volumes whose keys a node has. What a client says that it has mounted is believed: it can hide a volume, whose pods
// Kubernetes knows, and name another, whose key is renewed without need.
func keysAt(pvs []corev1.PersistentVolume, nodes map[string][]string, name string, clusters []inspect.ClusterFence) []KnownVolume {
	mounted := map[string]bool{}
	for _, c := range clusters {
		for _, s := range c.ShutOut {
			mounted[s.Path] = true
		}
	}
	list := []KnownVolume{}
	for _, pv := range pvs {
		csi, claim := pv.Spec.CSI, pv.Spec.ClaimRef
		if tier, _, _ := strings.Cut(csi.VolumeHandle, ":"); tier != string(volume.Warm) {
			continue
		}
		used := claim != nil && pv.Status.Phase == corev1.VolumeBound && slices.Contains(nodes[claim.Namespace+"/"+claim.Name], name)
		if path := csi.VolumeAttributes["path"]; !used && (path == "" || !mounted[path]) {
			continue
		}
		// The Secret of a volume with an identity of its own is named after the PersistentVolume.
		v := KnownVolume{PV: pv.Name, Own: csi.NodeStageSecretRef != nil && csi.NodeStageSecretRef.Name == pv.Name}
		if claim != nil {
			v.Namespace, v.PVC = claim.Namespace, claim.Name
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b KnownVolume) int { return strings.Compare(a.PV, b.PV) })
	return list
}

func (f NodeFence) print(w io.Writer) error {
	did, left := "shut out", "not on the blocklist"
	if f.Undone {
		did, left = "let in again", "on the blocklist still"
	}
	rows := [][]string{{"CLUSTER", "ADDRESSES", "CLIENTS", "RESULT"}}
	for _, c := range f.Clusters {
		result := did
		if c.Error != "" {
			result = "FAILED"
		}
		rows = append(rows, []string{c.Cluster, strings.Join(c.Addresses, ","), orNone(len(c.ShutOut)), result})
	}
	if err := table(w, rows); err != nil {
		return err
	}
	var lines []string
	for _, c := range f.Clusters {
		for _, s := range c.ShutOut {
			lines = append(lines, fmt.Sprintf("shut out of %s: %s, host %s, user %s, %s", c.Cluster, s.Address, s.Host, s.User, s.Path))
		}
		if c.Error != "" {
			if len(c.Addresses) == 0 {
				lines = append(lines, fmt.Sprintf("in %s its addresses are %s", c.Cluster, left))
			}
			lines = append(lines, fmt.Sprintf("FAILED %s: %s", c.Cluster, c.Error))
		}
	}
	if !f.Undone {
		lines = append(lines, f.advice()...)
	}
	for _, l := range lines {
		if _, err := fmt.Fprintln(w, oneLine(l)); err != nil {
			return err
		}
	}
	return nil
}

// advice is what is left to do.
func (f NodeFence) advice() (lines []string) {
	if !f.Cordoned {
		lines = append(lines, "Pods can still come there, and wait: kubectl cordon "+f.Node)
	}
	var own, shared []string
	for _, v := range f.Volumes {
		if v.Own {
			own = append(own, v.PV)
		} else {
			shared = append(shared, v.PV)
		}
	}
	if len(own) > 0 {
		lines = append(lines, "If its keys may have gone elsewhere: delete the node's pods, or its kubelet may read the new keys too; then",
			"  kubectl strata rotate "+strings.Join(own, " "),
			"and, when the pods that have these volumes on other nodes have been restarted,",
			"  kubectl strata rotate --retire "+strings.Join(own, " "))
	}
	if len(shared) > 0 {
		lines = append(lines, "With a key that others have too, which no command renews: "+strings.Join(shared, ", "))
	}
	return lines
}
