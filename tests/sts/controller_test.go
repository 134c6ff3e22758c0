package sts

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/cold/secret"
	"github.com/strata-csi/strata/pkg/cold/session"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/tests/harness"
)

// The program itself: it mints at CreateVolume, renews what is old when it starts, and removes the Secret with the volume. When renewals are due is tested in pkg/cold/renewal.
func TestTheControllerKeepsCredentialsFresh(t *testing.T) {
	l := newLab(t)
	kube := harness.NewKubeAPI(t)
	kube.PutSecret("strata-cold", map[string]string{secret.KeyAccessKeyID: l.key.AccessKeyID, secret.KeySecretAccessKey: l.key.SecretAccessKey})
	first := harness.NewColdControllerInKubernetes(t, &s3test.Server{Endpoint: l.endpoint, Credentials: l.key}, l.bucket.Location().Bucket, "", kube)
	ctx, cancel := context.WithTimeout(context.Background(), harness.Patience)
	defer cancel()
	const name = "pvc-kept"
	req := first.Request(name, 1<<30, "identity", "volume", "roleARN", l.role, "csi.storage.k8s.io/pv/name", name)
	made, err := first.CreateVolume(ctx, req)
	must(t, err)
	v := made.GetVolume()
	minted := kube.Secrets()[name]
	if minted[secret.KeySessionToken] == "" || time.Until(session.Expires(minted)) < 50*time.Minute {
		t.Fatalf("the Secret has no session of an hour, but ends at %s", minted[secret.KeyExpires])
	}

	// thief is somebody's own PersistentVolume with what stands in the other.
	const thief = "pvc-thief"
	for _, pv := range []string{name, thief} {
		kube.PutVolume(v1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: pv, Annotations: map[string]string{
				"volume.kubernetes.io/provisioner-deletion-secret-name": "strata-cold", "volume.kubernetes.io/provisioner-deletion-secret-namespace": kube.Namespace}},
			Spec: v1.PersistentVolumeSpec{PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{
				Driver: "csi.strata.dev", VolumeHandle: strings.Replace(v.GetVolumeId(), name, pv, 1), VolumeAttributes: v.GetVolumeContext()}}},
			Status: v1.PersistentVolumeStatus{Phase: v1.VolumeBound},
		})
	}
	kube.PutSecret(name, map[string]string{secret.KeyExpires: time.Now().Add(5 * time.Minute).UTC().Format(time.RFC3339)})
	second := harness.NewColdControllerInKubernetes(t, &s3test.Server{Endpoint: l.endpoint, Credentials: l.key}, l.bucket.Location().Bucket, "", kube)
	var fresh map[string]string
	for end := time.Now().Add(harness.Patience); ; time.Sleep(20 * time.Millisecond) {
		if fresh = kube.Secrets()[name]; fresh[secret.KeyAccessKeyID] != minted[secret.KeyAccessKeyID] {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the Secret isn't renewed:\n%s", second.Log())
		}
	}
	harness.Eventually(t, "the thief is refused", harness.Patience, func() error {
		if !strings.Contains(second.Log(), `is that of PersistentVolume \"`+name+`\"`) {
			return errors.New("the controller doesn't say so")
		}
		return nil
	})
	if stolen, ok := kube.Secrets()[thief]; ok {
		t.Errorf("whoever makes a PersistentVolume gets the credentials of the volume that it names: they end at %s", stolen[secret.KeyExpires])
	}
	if time.Until(session.Expires(fresh)) < 50*time.Minute {
		t.Errorf("the new credentials end at %s", fresh[secret.KeyExpires])
	}
	b := l.open(s3.Credentials{AccessKeyID: fresh[secret.KeyAccessKeyID], SecretAccessKey: fresh[secret.KeySecretAccessKey], SessionToken: fresh[secret.KeySessionToken]}, l.bucket.Location().Bucket)
	_, err = b.List(ctx, s3.ListRequest{Prefix: v.GetVolumeContext()["prefix"]})
	must(t, err)
	_, err = b.List(ctx, s3.ListRequest{})
	denied(t, "list the bucket with the new credentials", err)

	_, err = second.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId(), Secrets: second.Secrets})
	must(t, err)
	if _, ok := kube.Secrets()[name]; ok {
		t.Error("the Secret of a deleted volume is there still")
	}
	for key, place := range map[string]string{"log of the first": first.Log(), "log of the second": second.Log(), "volume context": strings.Join(values(v.GetVolumeContext()), " ")} {
		for _, hidden := range []string{l.key.SecretAccessKey, minted[secret.KeySecretAccessKey], minted[secret.KeySessionToken], fresh[secret.KeySecretAccessKey], fresh[secret.KeySessionToken]} {
			if strings.Contains(place, hidden) {
				t.Errorf("%s holds a secret", key)
			}
		}
	}
}

func values(m map[string]string) (all []string) {
	for _, v := range m {
		all = append(all, v)
	}
	return all
}
