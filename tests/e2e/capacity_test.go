//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// A claim that is too large for the room of every node keeps its pod pending, with the reason, and the pod starts when room is made. The
// disk of class small has 1 GiB on every node, for this test alone.
func TestScheduledByScratchRoom(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.wait("the room of every node is known", patience, func(ctx context.Context) error { return k.roomOfEveryNode(ctx, scratchSmall) })
	var took []*running
	for _, node := range k.nodes {
		s.claim("on-"+node, scratchSmall, "600Mi", corev1.ReadWriteOnce)
		took = append(took, s.run("on-"+node, node, claimed("on-"+node, "/data")))
	}
	// The nodes report at once, and the provisioner asks every few seconds.
	s.wait("the room that was taken is known", patience, func(ctx context.Context) error {
		list, err := k.client.StorageV1().CSIStorageCapacities("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, o := range list.Items {
			if o.StorageClassName == scratchSmall && o.Capacity.Value() >= 600<<20 {
				return fmt.Errorf("%s is still told for %v", o.Capacity, o.NodeTopology.MatchLabels)
			}
		}
		return nil
	})
	s.claim("late", scratchSmall, "600Mi", corev1.ReadWriteOnce)
	s.create(s.pod("late", "", claimed("late", "/data")))
	s.event("late", "FailedScheduling", "enough free storage")
	pod, err := k.client.CoreV1().Pods(s.name).Get(s.ctx, "late", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if pod.Status.Phase != corev1.PodPending || pod.Spec.NodeName != "" {
		t.Fatalf("the pod is %s on %q; nowhere is room for it", pod.Status.Phase, pod.Spec.NodeName)
	}
	took[1].remove()
	if late := s.ready("late"); late.node != took[1].node {
		t.Errorf("the pod is on %s; room was made on %s", late.node, took[1].node)
	}
}

// roomOfEveryNode is nil when the scheduler knows what room every node has for a class.
func (c *cluster) roomOfEveryNode(ctx context.Context, class string) error {
	list, err := c.client.StorageV1().CSIStorageCapacities("").List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, o := range list.Items {
		if o.StorageClassName == class && o.Capacity != nil && o.Capacity.Value() > 0 && o.NodeTopology != nil {
			known[o.NodeTopology.MatchLabels["csi.strata.dev/node"]] = true
		}
	}
	for _, node := range c.nodes {
		if !known[node] {
			return errors.New("nothing is told of class " + class + " on " + node)
		}
	}
	return nil
}
