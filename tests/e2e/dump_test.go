//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// dump writes what explains a failure in a namespace: its events, pods and claims, and the end of the driver's logs.
func (c *cluster) dump(w io.Writer, namespace string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	fmt.Fprintf(w, "\n---- namespace %s ----\n", namespace)
	c.dumpPods(ctx, w, namespace)
	claims, err := c.client.CoreV1().PersistentVolumeClaims(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		fmt.Fprintln(w, err)
	} else {
		for _, o := range claims.Items {
			fmt.Fprintf(w, "claim %s: %s, volume %q, class %q, %v\n", o.Name, o.Status.Phase, o.Spec.VolumeName, deref(o.Spec.StorageClassName), o.Status.Conditions)
		}
	}
	events, err := c.client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	slices.SortFunc(events.Items, func(a, b corev1.Event) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for _, e := range events.Items {
		fmt.Fprintf(w, "event %s %s/%s x%d %s: %s\n", e.CreationTimestamp.Format("15:04:05"), e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Count, e.Reason, e.Message)
	}
	if namespace != driverNamespace {
		fmt.Fprintf(w, "---- the driver ----\n")
		c.dumpPods(ctx, w, driverNamespace)
	}
	pods, err := c.client.CoreV1().Pods(driverNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	lines := int64(60)
	for _, p := range pods.Items {
		for _, o := range p.Spec.Containers {
			log, err := c.client.CoreV1().Pods(driverNamespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: o.Name, TailLines: &lines}).DoRaw(ctx)
			fmt.Fprintf(w, "---- log of %s/%s (on %s) ---- %v\n%s", p.Name, o.Name, p.Spec.NodeName, orEmpty(err), log)
		}
	}
}

func (c *cluster) dumpPods(ctx context.Context, w io.Writer, namespace string) {
	pods, err := c.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		fmt.Fprintln(w, err)
		return
	}
	for _, p := range pods.Items {
		fmt.Fprintf(w, "pod %s on %q: %s%s\n", p.Name, p.Spec.NodeName, p.Status.Phase, unmet(&p))
		for _, s := range p.Status.ContainerStatuses {
			if s.RestartCount > 0 {
				fmt.Fprintf(w, "  container %s has started %d times anew\n", s.Name, s.RestartCount)
			}
			if t := s.LastTerminationState.Terminated; t != nil {
				fmt.Fprintf(w, "  container %s ended with %d: %s\n", s.Name, t.ExitCode, strings.TrimSpace(t.Message))
			}
		}
	}
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func orEmpty(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
