package kube

import (
	"context"
	"fmt"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// Annotations of the mirror pod of a static pod. Both hold the static pod's UID, which kubelet's paths have and CSI requests name; the mirror
// pod in the API has another (applyDefaults in pkg/kubelet/config and getPodHash in pkg/kubelet/pod of Kubernetes 1.35). From 1.35 on kubelet
// refuses a static pod with a CSI volume.
const (
	mirrorAnnotation = "kubernetes.io/config.mirror"
	hashAnnotation   = "kubernetes.io/config.hash"
)

// NodePods knows the pods of one node.
type NodePods struct {
	client *Client
	node   string
}

// NewNodePods returns the pods of the Node of that name.
func NewNodePods(client *Client, node string) *NodePods {
	return &NodePods{client: client, node: node}
}

// Pods returns the UIDs of all pods that are assigned to the node, in any phase: one that has ended owns its volumes until it is gone. A static
// pod counts with both of its UIDs. It asks for what is true now, see the package. An answer without a single pod is an error:
// there is the driver's own, so more likely the name of the node is wrong.
func (p *NodePods) Pods(ctx context.Context) (map[string]bool, error) {
	var list v1.PodList
	options := metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("spec.nodeName", p.node).String()}
	if err := p.client.list(ctx, "pods", metav1.NamespaceAll, options, &list); err != nil {
		return nil, fmt.Errorf("list the pods of node %s: %w", p.node, err)
	}
	uids := map[string]bool{}
	for i := range list.Items {
		pod := &list.Items[i]
		if pod.Spec.NodeName != p.node {
			return nil, fmt.Errorf("list the pods of node %s: the API answers with a pod of node %q", p.node, pod.Spec.NodeName)
		}
		uids[string(pod.UID)] = true
		for _, a := range [...]string{mirrorAnnotation, hashAnnotation} {
			if uid := pod.Annotations[a]; uid != "" {
				uids[uid] = true
			}
		}
	}
	if len(uids) == 0 {
		return nil, fmt.Errorf("the API has no pod on node %s, not even this driver's: --node-id must be the Node's name", p.node)
	}
	return uids, nil
}
