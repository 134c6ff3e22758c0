package harness

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
)

// KubeAPI stands for the part of a Kubernetes API server that keeps Secrets, for tests that kill the controller some dozen times: it
// creates, reads, replaces and removes them with the API's conflicts, and shows PersistentVolumes that a test has put there. tests/e2e has a real one.
type KubeAPI struct {
	// Kubeconfig is the path of the credentials.
	Kubeconfig string
	// Namespace is the one that it has.
	Namespace string

	mu      sync.Mutex
	secrets map[string]v1.Secret
	volumes []v1.PersistentVolume
	version int
	broken  bool
}

// Break makes every request fail, or lets them work again.
func (k *KubeAPI) Break(broken bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.broken = broken
}

// NewKubeAPI starts one, which ends with the test.
func NewKubeAPI(t testing.TB) *KubeAPI {
	t.Helper()
	k := &KubeAPI{Namespace: "strata", Kubeconfig: filepath.Join(shortDir(t), "kubeconfig"), secrets: map[string]v1.Secret{}}
	scheme := runtime.NewScheme()
	metav1.AddToGroupVersion(scheme, v1.SchemeGroupVersion)
	if err := v1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		code, answer := k.serve(r, decoder)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(answer) // a client that left needs no answer
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close()
		<-ended
	})
	config := fmt.Sprintf(`{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"http://%s"}}],`+
		`"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`, listener.Addr())
	if err := os.WriteFile(k.Kubeconfig, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return k
}

// PutVolume makes a PersistentVolume.
func (k *KubeAPI) PutVolume(pv v1.PersistentVolume) {
	k.mu.Lock()
	defer k.mu.Unlock()
	pv.TypeMeta = metav1.TypeMeta{Kind: "PersistentVolume", APIVersion: "v1"}
	k.volumes = append(k.volumes, pv)
}

// PutSecret makes a Secret, or changes some fields of one.
func (k *KubeAPI) PutSecret(name string, fields map[string]string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.secrets[name]
	if !ok {
		s = v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: k.Namespace, UID: types.UID(rand.Text())}, Type: v1.SecretTypeOpaque}
	}
	data := map[string][]byte{}
	maps.Copy(data, s.Data)
	for key, value := range fields {
		data[key] = []byte(value)
	}
	s.Data = data
	k.store(s)
}

// Secrets are the names of those that it has, with their fields.
func (k *KubeAPI) Secrets() map[string]map[string]string {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := map[string]map[string]string{}
	for name, s := range k.secrets {
		fields := map[string]string{}
		for key, value := range s.Data {
			fields[key] = string(value)
		}
		all[name] = fields
	}
	return all
}

func (k *KubeAPI) serve(r *http.Request, decoder runtime.Decoder) (int, any) {
	if rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/persistentvolumes"); ok && r.Method == http.MethodGet {
		return k.showVolumes(strings.TrimPrefix(rest, "/"))
	}
	rest, ok := strings.CutPrefix(r.URL.Path, "/api/v1/namespaces/"+k.Namespace+"/secrets")
	name := strings.TrimPrefix(rest, "/")
	if !ok || strings.Contains(name, "/") {
		return refuse(http.StatusNotFound, metav1.StatusReasonNotFound, r.URL.Path)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return refuse(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	have, there := k.secrets[name]
	switch {
	case k.broken:
		return refuse(http.StatusInternalServerError, metav1.StatusReasonInternalError, "it is broken")
	case r.Method == http.MethodPost && name == "":
		return k.create(body, decoder)
	case !there:
		return refuse(http.StatusNotFound, metav1.StatusReasonNotFound, name)
	case r.Method == http.MethodGet:
		return http.StatusOK, have
	case r.Method == http.MethodPut:
		var s v1.Secret
		if _, _, err := decoder.Decode(body, nil, &s); err != nil {
			return refuse(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		}
		if s.ResourceVersion != have.ResourceVersion || s.Type != have.Type {
			return refuse(http.StatusConflict, metav1.StatusReasonConflict, name)
		}
		return http.StatusOK, k.store(s)
	case r.Method == http.MethodDelete:
		var o metav1.DeleteOptions
		if _, _, err := decoder.Decode(body, nil, &o); err != nil {
			return refuse(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
		}
		if p := o.Preconditions; p != nil && p.UID != nil && *p.UID != have.UID {
			return refuse(http.StatusConflict, metav1.StatusReasonConflict, name)
		}
		delete(k.secrets, name)
		return http.StatusOK, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess}
	}
	return refuse(http.StatusMethodNotAllowed, metav1.StatusReasonMethodNotAllowed, r.Method)
}

func (k *KubeAPI) showVolumes(name string) (int, any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if name == "" {
		return http.StatusOK, v1.PersistentVolumeList{TypeMeta: metav1.TypeMeta{Kind: "PersistentVolumeList", APIVersion: "v1"}, Items: k.volumes}
	}
	for _, pv := range k.volumes {
		if pv.Name == name {
			return http.StatusOK, pv
		}
	}
	return refuse(http.StatusNotFound, metav1.StatusReasonNotFound, name)
}

func (k *KubeAPI) create(body []byte, decoder runtime.Decoder) (int, any) {
	var s v1.Secret
	if _, _, err := decoder.Decode(body, nil, &s); err != nil {
		return refuse(http.StatusBadRequest, metav1.StatusReasonBadRequest, err.Error())
	}
	if _, there := k.secrets[s.Name]; there {
		return refuse(http.StatusConflict, metav1.StatusReasonAlreadyExists, s.Name)
	}
	s.UID, s.Namespace = types.UID(rand.Text()), k.Namespace
	return http.StatusCreated, k.store(s)
}

func (k *KubeAPI) store(s v1.Secret) v1.Secret {
	k.version++
	s.ResourceVersion = fmt.Sprint(k.version)
	s.TypeMeta = metav1.TypeMeta{Kind: "Secret", APIVersion: "v1"}
	k.secrets[s.Name] = s
	return s
}

func refuse(code int, reason metav1.StatusReason, message string) (int, any) {
	return code, metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Code: int32(code), Reason: reason, Message: message}
}
