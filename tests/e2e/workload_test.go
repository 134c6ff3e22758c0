//go:build e2e

package e2e

// Pods that end by themselves, and what makes pods.

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// example applies a file of examples/ in the namespace.
func (s *space) example(file string) {
	s.Helper()
	s.exampleOf(file)
}

// exampleOf applies an example in which a reader has to put something: a placeholder, and what it is here, by turns.
func (s *space) exampleOf(file string, replace ...string) {
	s.Helper()
	objects, err := k.applyFile(s.ctx, filepath.Join(k.root, "examples", file), s.name, replace...)
	if err != nil {
		s.Fatal(err)
	}
	for _, o := range objects {
		if o.GetKind() != "Secret" || o.GetName() != coldSecret { // which all classes name
			s.extra = append(s.extra, o)
		}
	}
}

// succeeds waits until a pod has ended well and returns its log.
func (s *space) succeeds(pod string) string {
	s.Helper()
	s.wait("pod "+pod+" succeeds", patience, func(ctx context.Context) error {
		p, err := k.client.CoreV1().Pods(s.name).Get(ctx, pod, metav1.GetOptions{})
		switch {
		case err != nil:
			return err
		case p.Status.Phase == corev1.PodFailed:
			return hopeless{fmt.Errorf("it failed: %s\n%s", p.Status.Message, s.log(pod))}
		case p.Status.Phase != corev1.PodSucceeded:
			return fmt.Errorf("it is %s%s", p.Status.Phase, unmet(p))
		}
		return nil
	})
	return s.log(pod)
}

// completes waits until a Job is complete and returns the logs of the pods that succeeded.
func (s *space) completes(job string) []string {
	s.Helper()
	s.wait("job "+job+" completes", patience, func(ctx context.Context) error {
		j, err := k.client.BatchV1().Jobs(s.name).Get(ctx, job, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, c := range j.Status.Conditions {
			switch {
			case c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue:
				return nil
			case c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue:
				return hopeless{errors.New("it failed: " + c.Message)}
			}
		}
		return fmt.Errorf("%d pods are active, %d succeeded, %d failed", j.Status.Active, j.Status.Succeeded, j.Status.Failed)
	})
	pods, err := k.client.CoreV1().Pods(s.name).List(s.ctx, metav1.ListOptions{LabelSelector: batchv1.JobNameLabel + "=" + job})
	if err != nil {
		s.Fatal(err)
	}
	var logs []string
	for _, p := range pods.Items {
		if p.Status.Phase == corev1.PodSucceeded {
			logs = append(logs, s.log(p.Name))
		}
	}
	return logs
}

// log is what a pod has printed.
func (s *space) log(pod string) string {
	s.Helper()
	text, err := k.client.CoreV1().Pods(s.name).GetLogs(pod, &corev1.PodLogOptions{}).DoRaw(s.ctx)
	if err != nil {
		s.Fatalf("log of pod %s: %v", pod, err)
	}
	return string(text)
}
