package kube

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/strata-csi/strata/pkg/volume"
)

const (
	volumeID = volume.ID("warm:main:warm:dev.default:pvc-1")
	otherID  = volume.ID("warm:main:warm:dev.default:pvc-2")
)

func (a *api) secret(name string) map[string][]byte {
	a.Helper()
	s, err := a.Secrets(a.namespace).Get(a.Context(), name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	a.must(err)
	return s.Data
}

func TestSecretsAreReplacedAndNotMade(t *testing.T) {
	eachAPI(t, func(a *api) {
		s := NewSecrets(a.client, a.namespace)
		if err := s.Replace(a.Context(), "pvc-1", volumeID, map[string]string{"accessKeyID": "late"}); !errors.Is(err, volume.ErrNotFound) || a.secret("pvc-1") != nil {
			a.Errorf("replace what isn't there: %v", err)
		}
		if _, err := s.Kept(a.Context(), "pvc-1", volumeID); !errors.Is(err, volume.ErrNotFound) {
			a.Errorf("read what isn't there: %v", err)
		}
		a.must(s.Keep(a.Context(), "pvc-1", volumeID, map[string]string{"accessKeyID": "first", "expires": "soon"}))
		a.must(s.Replace(a.Context(), "pvc-1", volumeID, map[string]string{"accessKeyID": "second"}))
		got, err := s.Kept(a.Context(), "pvc-1", volumeID)
		a.must(err)
		if len(got) != 1 || got["accessKeyID"] != "second" {
			a.Errorf("there is %v", got)
		}
		if err := s.Replace(a.Context(), "pvc-1", otherID, map[string]string{"accessKeyID": "third"}); !errors.Is(err, volume.ErrExists) || strings.Contains(err.Error(), "third") {
			a.Errorf("replace another's: %v", err)
		}
		if _, err := s.Kept(a.Context(), "pvc-1", otherID); !errors.Is(err, volume.ErrExists) {
			a.Errorf("read another's: %v", err)
		}
		got, err = s.Read(a.Context(), a.namespace, "pvc-1")
		a.must(err)
		if got["accessKeyID"] != "second" {
			a.Errorf("there is %v", got)
		}
		if _, err := s.Read(a.Context(), a.namespace, "none"); !errors.Is(err, volume.ErrPrecondition) || !strings.Contains(err.Error(), "Role") {
			a.Errorf("read none: %v", err)
		}
	})
}

func TestVolumesWithAnAttribute(t *testing.T) {
	eachAPI(t, func(a *api) {
		const driver = "attributes.csi.strata.dev"
		name := a.namespace + "-own"
		pv := &v1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{deletionSecretName: "strata-cold", deletionSecretNamespace: "strata"}},
			Spec: v1.PersistentVolumeSpec{
				Capacity: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteMany},
				PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: a.namespace + "-handle", VolumeAttributes: map[string]string{"identity": "volume"}}},
			},
		}
		made, err := a.PersistentVolumes().Create(a.Context(), pv, metav1.CreateOptions{})
		a.must(err)
		a.Cleanup(func() { _ = a.PersistentVolumes().Delete(context.Background(), name, metav1.DeleteOptions{}) })
		a.volume("plain", driver, a.namespace+"-plain")
		v := NewVolumes(a.client, driver)
		all, err := v.WithAttribute(a.Context(), "identity")
		a.must(err)
		if len(all) != 1 || all[0].Name != name || all[0].Handle != a.namespace+"-handle" || all[0].SecretName != "strata-cold" || all[0].SecretNamespace != "strata" || all[0].Attributes["identity"] != "volume" {
			a.Errorf("got %+v", all)
		}
		bound := func(name, handle string, want bool) {
			a.Helper()
			if got, err := v.Bound(a.Context(), name, handle); err != nil || got != want {
				a.Errorf("%s bound: %t, %v", name, got, err)
			}
		}
		bound(name, a.namespace+"-handle", false)
		made.Status.Phase = v1.VolumeBound
		_, err = a.PersistentVolumes().UpdateStatus(a.Context(), made, metav1.UpdateOptions{})
		a.must(err)
		if !a.real { // a real controller sees that no claim has it
			bound(name, a.namespace+"-handle", true)
		}
		bound(name, "another", false)
		bound(a.namespace+"-none", "none", false)
	})
}

func TestSecretsOfVolumes(t *testing.T) {
	eachAPI(t, func(a *api) {
		s := NewSecrets(a.client, a.namespace)
		for _, key := range []string{"first", "first", "second"} {
			a.must(s.Keep(a.Context(), "pvc-1", volumeID, map[string]string{"userID": "u", "userKey": key}))
			if got := a.secret("pvc-1"); string(got["userKey"]) != key || string(got["userID"]) != "u" {
				a.Fatalf("kept %q, there is %q", key, got)
			}
		}
		list, err := a.Secrets(a.namespace).List(a.Context(), metav1.ListOptions{LabelSelector: SecretLabel + "=true"})
		a.must(err)
		if len(list.Items) != 1 || list.Items[0].Type != SecretType || list.Items[0].Annotations[SecretVolume] != string(volumeID) {
			a.Fatalf("listed are %v", list.Items)
		}
		// Another volume's stays what it is.
		if err := s.Keep(a.Context(), "pvc-1", otherID, map[string]string{"userKey": "third"}); !errors.Is(err, volume.ErrExists) || strings.Contains(err.Error(), "third") {
			a.Errorf("keep another's: %v", err)
		}
		a.must(s.Drop(a.Context(), "pvc-1", otherID))
		if got := a.secret("pvc-1"); string(got["userKey"]) != "second" {
			a.Errorf("another volume changed it to %q", got)
		}
		for range 2 {
			a.must(s.Drop(a.Context(), "pvc-1", volumeID))
			if got := a.secret("pvc-1"); got != nil {
				a.Fatal("it is still there")
			}
		}
	})
}

func TestSecretOfSomethingElseStays(t *testing.T) {
	eachAPI(t, func(a *api) {
		_, err := a.Secrets(a.namespace).Create(a.Context(), &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ceph", Annotations: map[string]string{SecretVolume: string(volumeID)}},
			Data: map[string][]byte{"key": []byte("precious")}}, metav1.CreateOptions{})
		a.must(err)
		s := NewSecrets(a.client, a.namespace)
		if err := s.Keep(a.Context(), "ceph", volumeID, map[string]string{"userKey": "k"}); !errors.Is(err, volume.ErrExists) {
			a.Errorf("keep: %v", err)
		}
		a.must(s.Drop(a.Context(), "ceph", volumeID))
		if got := a.secret("ceph"); string(got["key"]) != "precious" {
			a.Errorf("now it holds %q", got)
		}
	})
}

func TestSecretsKeptAtTheSameTime(t *testing.T) {
	eachAPI(t, func(a *api) {
		var group sync.WaitGroup
		for range 8 {
			group.Go(func() {
				if err := NewSecrets(a.client, a.namespace).Keep(a.Context(), "pvc-1", volumeID, map[string]string{"userKey": "same"}); err != nil && !errors.Is(err, volume.ErrUnavailable) {
					a.Error(err)
				}
			})
		}
		group.Wait()
		if got := a.secret("pvc-1"); string(got["userKey"]) != "same" {
			a.Errorf("kept is %q", got)
		}
	})
}

func TestWhyASecretCantBeKept(t *testing.T) {
	for _, tt := range []struct {
		name string
		code int
		want error
		says string
	}{
		{"not allowed", http.StatusForbidden, volume.ErrPrecondition, "needs get, create, update and delete of secrets"},
		{"no such namespace", http.StatusNotFound, volume.ErrPrecondition, "--namespace"},
		{"not a name", http.StatusUnprocessableEntity, volume.ErrInvalid, "Secret strata/pvc-1"},
		{"overloaded", http.StatusInternalServerError, volume.ErrUnavailable, "Secret strata/pvc-1"},
		{"gone", 0, volume.ErrUnavailable, "can't be reached"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(tt.code) }))
			defer server.Close()
			if tt.code == 0 {
				server.Close()
			}
			path := filepath.Join(t.TempDir(), "kubeconfig")
			if err := os.WriteFile(path, []byte(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"`+server.URL+`"}}],"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`), 0o600); err != nil {
				t.Fatal(err)
			}
			client, err := ConnectController(path, "test")
			if err != nil {
				t.Fatal(err)
			}
			err = NewSecrets(client, "strata").Keep(context.Background(), "pvc-1", volumeID, map[string]string{"userKey": "sentinel"})
			if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "sentinel") {
				t.Errorf("got %v", err)
			}
		})
	}
}
