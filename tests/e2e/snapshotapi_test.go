//go:build e2e

package e2e

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const snapshotGroup = "snapshot.storage.k8s.io"

var (
	snapshots         = schema.GroupVersionResource{Group: snapshotGroup, Version: "v1", Resource: "volumesnapshots"}
	snapshotContents  = schema.GroupVersionResource{Group: snapshotGroup, Version: "v1", Resource: "volumesnapshotcontents"}
	snapshotResources = []schema.GroupVersionResource{snapshots}
)

// snapshot takes a snapshot of a claim and waits until it can be used.
func (s *space) snapshot(name, claim string) {
	s.Helper()
	u := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": snapshotGroup + "/v1", "kind": "VolumeSnapshot", "metadata": map[string]any{"name": name},
		"spec": map[string]any{"volumeSnapshotClassName": snapshotClass, "source": map[string]any{"persistentVolumeClaimName": claim}},
	}}
	if err := k.apply(s.ctx, s.name, u); err != nil {
		s.Fatal(err)
	}
	s.wait("snapshot "+name+" can be used", patience, func(ctx context.Context) error {
		got, err := k.dynamic.Resource(snapshots).Namespace(s.name).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if ready, _, _ := unstructured.NestedBool(got.Object, "status", "readyToUse"); !ready {
			message, _, _ := unstructured.NestedString(got.Object, "status", "error", "message")
			return fmt.Errorf("it isn't ready; %s; %s", message, k.lastEvent(ctx, s.name, name))
		}
		return nil
	})
}

// from makes a claim with the content of a snapshot or of another claim.
func (s *space) from(kind, source, name, class, size string, mode corev1.PersistentVolumeAccessMode) {
	s.Helper()
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.name}, Spec: claimSpec(class, size, mode)}
	c.Spec.DataSource = &corev1.TypedLocalObjectReference{Kind: kind, Name: source}
	if kind == "VolumeSnapshot" {
		group := snapshotGroup
		c.Spec.DataSource.APIGroup = &group
	}
	s.create(c)
}

// noSnapshots is nil when nothing of the snapshots of a namespace is left.
func (c *cluster) noSnapshots(ctx context.Context, namespace string) error {
	contents, err := c.dynamic.Resource(snapshotContents).List(ctx, metav1.ListOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, o := range contents.Items {
		if of, _, _ := unstructured.NestedString(o.Object, "spec", "volumeSnapshotRef", "namespace"); namespace == "" || of == namespace {
			return fmt.Errorf("snapshot content %s is still there", o.GetName())
		}
	}
	return nil
}
