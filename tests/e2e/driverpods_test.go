//go:build e2e

package e2e

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// driverPod is the pod of a DaemonSet of the driver on a node.
func (s *space) driverPod(daemonSet, node string) *corev1.Pod {
	s.Helper()
	p, err := k.driverPod(s.ctx, daemonSet, node)
	if err != nil {
		s.Fatal(err)
	}
	return p
}

func (c *cluster) driverPod(ctx context.Context, daemonSet, node string) (*corev1.Pod, error) {
	list, err := c.client.CoreV1().Pods(driverNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for i, p := range list.Items {
		if o := metav1.GetControllerOf(&p); o != nil && o.Kind == "DaemonSet" && o.Name == daemonSet && p.Spec.NodeName == node && p.DeletionTimestamp == nil {
			return &list.Items[i], nil
		}
	}
	return nil, fmt.Errorf("no pod of DaemonSet %s is on %s", daemonSet, node)
}

// restarts is how often the main container of the driver's pod on a node was started anew.
func restarts(p *corev1.Pod, container string) int32 {
	for _, c := range p.Status.ContainerStatuses {
		if c.Name == container {
			return c.RestartCount
		}
	}
	return -1
}

// replace deletes the pod of a DaemonSet on a node and waits until another is ready.
func (s *space) replace(daemonSet, node string) {
	s.Helper()
	old := s.driverPod(daemonSet, node)
	if err := k.client.CoreV1().Pods(driverNamespace).Delete(s.ctx, old.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
		s.Fatal(err)
	}
	s.wait(daemonSet+" on "+node+" is replaced", patience, func(ctx context.Context) error {
		p, err := k.driverPod(ctx, daemonSet, node)
		if err != nil {
			return err
		}
		if p.UID == old.UID {
			return fmt.Errorf("%s is still there", p.Name)
		}
		return readiness(p)
	})
}
