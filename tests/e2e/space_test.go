//go:build e2e

package e2e

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// patience is how long anything may take that has no reason to take long. The machine may have two cores and run ten scenarios.
const patience = 3 * time.Minute

// space is a namespace of a test or a benchmark and all that is made in it.
type space struct {
	testing.TB
	ctx  context.Context
	name string
	// extra is what clean has to delete by itself, last made first: what makes pods, and what is in no namespace.
	extra []*unstructured.Unstructured
}

var notName = regexp.MustCompile(`[^a-z0-9]+`)

// newSpace makes a namespace, with the secrets of classes that have one for each team in it. With the test everything in it is deleted, and must be gone from
// Kubernetes and from Ceph.
func newSpace(t testing.TB) *space {
	t.Helper()
	var random [3]byte
	_, _ = rand.Read(random[:])
	plain := strings.Trim(notName.ReplaceAllString(strings.ToLower(strings.TrimPrefix(strings.TrimPrefix(t.Name(), "Test"), "Benchmark")), "-"), "-")
	if len(plain) > 40 {
		plain = plain[:40]
	}
	s := &space{TB: t, ctx: context.WithoutCancel(t.Context()), name: plain + "-" + hex.EncodeToString(random[:])}
	start := time.Now()
	say("%s begins", t.Name())
	t.Cleanup(func() {
		if t.Failed() {
			say("%s FAILED", t.Name())
			var b strings.Builder
			k.dump(&b, s.name)
			t.Log(b.String())
		}
		s.clean()
		keepTime(t.Name(), time.Since(start), t.Failed())
		say("%s took %.1f s", t.Name(), time.Since(start).Seconds())
	})
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.name}})
	s.create(k.stageSecret(s.name))
	s.create(k.store.secret(s.name))
	s.wait("the namespace has its service account", patience, func(ctx context.Context) error {
		_, err := k.client.CoreV1().ServiceAccounts(s.name).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return s
}

// create makes an object in the namespace, or changes the one that is there.
func (s *space) create(o runtime.Object) {
	s.Helper()
	u, err := convert(o)
	if err == nil {
		err = k.apply(s.ctx, s.name, u)
	}
	if err != nil {
		s.Fatal(err)
	}
}

// createExtra makes an object that isn't deleted with the namespace's pods and claims.
func (s *space) createExtra(o runtime.Object) {
	s.Helper()
	s.create(o)
	u, err := convert(o)
	if err != nil {
		s.Fatal(err)
	}
	s.extra = append(s.extra, u)
}

// hopeless is an error that waiting doesn't cure.
type hopeless struct{ error }

// wait waits until ok returns nil. It says every 20 seconds what it waits for, and fails with the last error.
func (s *space) wait(what string, limit time.Duration, ok func(context.Context) error) {
	s.Helper()
	if err := k.wait(s.ctx, s.Name()+": "+what, limit, ok); err != nil {
		s.Fatal(err)
	}
}

func (c *cluster) wait(ctx context.Context, what string, limit time.Duration, ok func(context.Context) error) error {
	start, said := time.Now(), time.Now()
	for {
		err := ok(ctx)
		if err == nil {
			return nil
		}
		if h := (hopeless{}); errors.As(err, &h) {
			return fmt.Errorf("%s: %w", what, err)
		}
		if time.Since(start) > limit {
			return fmt.Errorf("%s: not within %s: %w", what, limit, err)
		}
		if time.Since(said) > 20*time.Second {
			say("  still waiting: %s: %v", what, err)
			said = time.Now()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w: %w", what, ctx.Err(), err)
		case <-time.After(300 * time.Millisecond):
		}
	}
}

// clean deletes everything in the namespace and waits until nothing of it is left: pods first, so that nothing is in use.
func (s *space) clean() {
	s.Helper()
	now, background := metav1.DeleteOptions{}, metav1.DeletePropagationBackground
	for _, u := range slices.Backward(s.extra) {
		r, err := k.resource(u, s.name)
		if err == nil {
			err = r.Delete(s.ctx, u.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			s.Errorf("delete %s %s: %v", u.GetKind(), u.GetName(), err)
		}
	}
	pods := k.client.CoreV1().Pods(s.name)
	if err := pods.DeleteCollection(s.ctx, now, metav1.ListOptions{}); err != nil {
		s.Errorf("delete the pods: %v", err)
	}
	check := func(what string, ok func(context.Context) error) {
		if err := k.wait(s.ctx, s.Name()+": "+what, patience, ok); err != nil {
			s.Error(err)
		}
	}
	check("the pods are gone", func(ctx context.Context) error {
		list, err := pods.List(ctx, metav1.ListOptions{})
		if err == nil && len(list.Items) > 0 {
			err = fmt.Errorf("%d left, the first is %s", len(list.Items), list.Items[0].Name)
		}
		return err
	})
	for _, r := range snapshotResources {
		err := k.dynamic.Resource(r).Namespace(s.name).DeleteCollection(s.ctx, now, metav1.ListOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			s.Errorf("delete the snapshots: %v", err)
		}
	}
	if err := k.client.CoreV1().PersistentVolumeClaims(s.name).DeleteCollection(s.ctx, now, metav1.ListOptions{}); err != nil {
		s.Errorf("delete the claims: %v", err)
	}
	check("the volumes and snapshots are gone", func(ctx context.Context) error {
		volumes, err := k.client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, v := range volumes.Items {
			if v.Spec.ClaimRef != nil && v.Spec.ClaimRef.Namespace == s.name {
				return fmt.Errorf("volume %s of claim %s is %s", v.Name, v.Spec.ClaimRef.Name, v.Status.Phase)
			}
		}
		return k.noSnapshots(ctx, s.name)
	})
	if err := k.client.CoreV1().Namespaces().Delete(s.ctx, s.name, now); err != nil {
		s.Errorf("delete the namespace: %v", err)
	}
	check("Ceph has no volume of the namespace", func(context.Context) error {
		left, err := k.subvolumes(s.name)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("%v", left)
		}
		return err
	})
}

func isConflict(err error) bool { return apierrors.IsConflict(err) }
