package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
)

// StartupTaint is what an operator registers nodes with to keep pods away until the driver serves there: kubelet's
// --register-with-taints=csi.strata.dev/not-ready=:NoSchedule.
const StartupTaint = "csi.strata.dev/not-ready"

// Node is this node's own Node object.
type Node struct {
	client *Client
	name   string
}

// NewNode returns the Node of a name, which is asked for nothing yet.
func NewNode(client *Client, name string) *Node {
	return &Node{client: client, name: name}
}

func (n *Node) get(ctx context.Context) (*v1.Node, error) {
	node := new(v1.Node)
	err := n.client.get(ctx, "nodes", "", n.name, node)
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("the API has no Node %s: --node-id must be the Node's name: %w", n.name, err)
	}
	if err != nil {
		return nil, fmt.Errorf("Node %s: %w", n.name, err)
	}
	return node, nil
}

// Owner makes an object vanish with the Node.
func (n *Node) Owner(ctx context.Context) (metav1.OwnerReference, error) {
	node, err := n.get(ctx)
	if err != nil {
		return metav1.OwnerReference{}, err
	}
	return metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID}, nil
}

// KubeletReports returns nil when kubelet is well and in touch with the API server, so that it knows by now what the API says of its
// pods: the condition Ready is True. The control plane makes it Unknown when kubelet is silent for --node-monitor-grace-period (50 s).
func (n *Node) KubeletReports(ctx context.Context) error {
	node, err := n.get(ctx)
	if err != nil {
		return err
	}
	for _, c := range node.Status.Conditions {
		if c.Type == v1.NodeReady {
			if c.Status == v1.ConditionTrue {
				return nil
			}
			return fmt.Errorf("Node %s is not ready: %s: %s", n.name, c.Reason, c.Message)
		}
	}
	return fmt.Errorf("Node %s has no condition Ready", n.name)
}

// RemoveStartupTaint takes StartupTaint off, whatever its value and effect, and leaves all other taints as they are, those that are put on
// in the same moment included. It says whether there was one.
func (n *Node) RemoveStartupTaint(ctx context.Context) (removed bool, err error) {
	err = retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		removed = false
		node, err := n.get(ctx)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(node.Spec.Taints), func(t v1.Taint) bool { return t.Key == StartupTaint })
		if len(left) == len(node.Spec.Taints) {
			return nil
		}
		// The list is replaced as a whole: the resourceVersion makes it a conflict when somebody else changed the Node.
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"resourceVersion": node.ResourceVersion},
			"spec":     map[string]any{"taints": left},
		})
		if err != nil {
			return err
		}
		if err := n.client.mergePatch(ctx, "nodes", n.name, patch, new(v1.Node)); err != nil {
			return err
		}
		removed = true
		return nil
	})
	if err != nil {
		return false, fmt.Errorf("remove taint %s: %w", StartupTaint, err)
	}
	return removed, nil
}

const (
	// readyEvery is how often ready is asked while it says no; it asks nobody else.
	readyEvery = time.Second
	// taintEvery is how often the Node is looked at afterwards: a Node that was deleted comes back with its taint.
	taintEvery = time.Minute
)

// KeepStartupTaintOff takes StartupTaint off whenever it is there and ready returns nil, until ctx ends. It puts none on.
func (n *Node) KeepStartupTaintOff(ctx context.Context, ready func(context.Context) error) error {
	for {
		pause := readyEvery
		if ready(ctx) == nil {
			pause = wait.Jitter(taintEvery, 0.2)
			removed, err := n.RemoveStartupTaint(ctx)
			if err != nil && ctx.Err() == nil {
				klog.FromContext(ctx).Error(err, "No new pod comes to this node while the taint is there; it is tried again")
				pause = wait.Jitter(10*time.Second, 0.5)
			}
			if removed {
				klog.FromContext(ctx).Info("The node serves: startup taint removed", "taint", StartupTaint)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}
