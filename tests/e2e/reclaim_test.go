//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// With the policy Delete the subvolume goes with the claim.
func TestReclaimDelete(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", warm, "1Gi", corev1.ReadWriteMany)
	v := s.bound("data")
	if got, err := k.subvolumes(s.name); err != nil || len(got) != 1 || !strings.HasSuffix(v.Spec.CSI.VolumeHandle, got[0]) {
		t.Fatalf("Ceph has %v (%v); the volume is %s", got, err, v.Spec.CSI.VolumeHandle)
	}
	s.deleteClaim("data")
	s.volumeGone(v.Name)
	if got, err := k.subvolumes(s.name); err != nil || len(got) != 0 {
		t.Errorf("Ceph still has %v (%v)", got, err)
	}
}

// With the policy Retain the subvolume and its data stay; a new claim of the same volume finds them.
func TestReclaimRetain(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", warmRetain, "1Gi", corev1.ReadWriteMany)
	p := s.run("writer", "", claimed("data", "/data"))
	p.sh("echo kept > /data/file && sync")
	p.remove()
	v := s.bound("data")
	s.deleteClaim("data")
	s.wait("the volume is released", patience, func(ctx context.Context) error {
		got, err := k.client.CoreV1().PersistentVolumes().Get(ctx, v.Name, metav1.GetOptions{})
		if err == nil && got.Status.Phase != corev1.VolumeReleased {
			err = fmt.Errorf("it is %s", got.Status.Phase)
		}
		return err
	})
	if got, err := k.subvolumes(s.name); err != nil || len(got) != 1 {
		t.Errorf("Ceph has %v (%v); the subvolume of the retained volume is expected", got, err)
	}
	// The way back: the old claim is forgotten, a new one names the volume.
	if err := k.mergePatch(s.ctx, "", newObject("PersistentVolume", v.Name), `{"spec":{"claimRef":null}}`); err != nil {
		t.Fatal(err)
	}
	c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: "again", Namespace: s.name}, Spec: claimSpec(warmRetain, "1Gi", corev1.ReadWriteMany)}
	c.Spec.VolumeName = v.Name
	s.create(c)
	if got := s.run("reader", "", claimed("again", "/data")).sh("cat /data/file"); got != "kept" {
		t.Errorf("the new claim has %q", got)
	}
	// Not before the volume is bound again: a released volume with the policy Delete is deleted at once.
	if err := k.mergePatch(s.ctx, "", newObject("PersistentVolume", v.Name), `{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`); err != nil {
		t.Fatal(err)
	}
}

func (s *space) deleteClaim(name string) {
	s.Helper()
	if err := k.client.CoreV1().PersistentVolumeClaims(s.name).Delete(s.ctx, name, metav1.DeleteOptions{}); err != nil {
		s.Fatal(err)
	}
}

// volumeGone waits until a volume is deleted.
func (s *space) volumeGone(name string) {
	s.Helper()
	s.wait("volume "+name+" is gone", patience, func(ctx context.Context) error {
		v, err := k.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("it is %s; %s", v.Status.Phase, k.lastEvent(ctx, "default", name))
		}
		return err
	})
}
