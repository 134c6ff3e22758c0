package kube

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// api is an API server with a namespace and a node of the test's own.
type api struct {
	*testing.T
	corev1.CoreV1Interface
	client          *Client // of the package, for the same API server
	namespace, node string
	real            bool
}

// eachAPI runs a test with client-go's fake and, where STRATA_KUBECONFIG names one, with a real API server: the fake has neither validation
// nor field selectors, conflicts, pages and resource versions.
func eachAPI(t *testing.T, test func(a *api)) {
	t.Helper()
	t.Run("fake", func(t *testing.T) {
		core := fake.NewClientset().CoreV1()
		test(newAPI(t, core, &Client{fakeRequests{core}}, false))
	})
	path := os.Getenv("STRATA_KUBECONFIG")
	if path == "" {
		return // a machine without Kubernetes; with one, see hack/kube
	}
	t.Run("real", func(t *testing.T) {
		c, err := clientcmd.BuildConfigFromFlags("", path)
		if err != nil {
			t.Fatal(err)
		}
		c.QPS, c.Burst = 100, 100
		client, err := kubernetes.NewForConfig(c)
		if err != nil {
			t.Fatal(err)
		}
		mine, err := Connect(path, "strata-test")
		if err != nil {
			t.Fatal(err)
		}
		test(newAPI(t, client.CoreV1(), mine, true))
	})
}

func newAPI(t *testing.T, client corev1.CoreV1Interface, mine *Client, isReal bool) *api {
	t.Helper()
	name := fmt.Sprintf("strata-test-%x", time.Now().UnixNano())
	a := &api{T: t, CoreV1Interface: client, client: mine, namespace: name, node: name, real: isReal}
	_, err := client.Namespaces().Create(t.Context(), &v1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	a.must(err)
	t.Cleanup(func() { _ = client.Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{}) })
	_, err = client.ServiceAccounts(name).Create(t.Context(), &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
	if err != nil && !strings.Contains(err.Error(), "exists") {
		t.Fatal(err)
	}
	a.makeNode(name)
	return a
}

func (a *api) must(err error) {
	a.Helper()
	if err != nil {
		a.Fatal(err)
	}
}

func (a *api) makeNode(name string, taints ...v1.Taint) *v1.Node {
	a.Helper()
	n, err := a.Nodes().Create(a.Context(), &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: "fake-node-uid"}, Spec: v1.NodeSpec{Taints: taints}}, metav1.CreateOptions{})
	a.must(err)
	a.Cleanup(func() { _ = a.Nodes().Delete(context.Background(), name, metav1.DeleteOptions{}) })
	return n
}

// pod makes a pod that is on a node already; the API server gives it a UID, the fake none, so one is given.
func (a *api) pod(name, node string, phase v1.PodPhase, annotations map[string]string) string {
	a.Helper()
	pod := &v1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
		Spec:       v1.PodSpec{NodeName: node, Containers: []v1.Container{{Name: "c", Image: "none"}}},
	}
	if !a.real {
		pod.UID = types.UID("uid-of-" + name)
	}
	made, err := a.Pods(a.namespace).Create(a.Context(), pod, metav1.CreateOptions{})
	a.must(err)
	made.Status.Phase = phase
	_, err = a.Pods(a.namespace).UpdateStatus(a.Context(), made, metav1.UpdateOptions{})
	a.must(err)
	return string(made.UID)
}

func (a *api) volume(name, driver, handle string) {
	a.Helper()
	_, err := a.PersistentVolumes().Create(a.Context(), &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: a.namespace + "-" + name},
		Spec: v1.PersistentVolumeSpec{
			Capacity: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}, AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}},
		},
	}, metav1.CreateOptions{})
	a.must(err)
	a.Cleanup(func() {
		_ = a.PersistentVolumes().Delete(context.Background(), a.namespace+"-"+name, metav1.DeleteOptions{})
	})
}

// eventually waits for what a cache of the API server learns a moment later.
func (a *api) eventually(what string, ok func() bool) {
	a.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			a.Fatalf("never: %s", what)
		}
	}
}

// racedPatch does something before the first patch.
type racedPatch struct {
	requests
	before   func()
	conflict error
	patches  int
}

func (r *racedPatch) mergePatch(ctx context.Context, resource, name string, patch []byte, into runtime.Object) error {
	r.patches++
	if r.patches == 1 {
		r.before()
		if r.conflict != nil {
			return r.conflict
		}
	}
	return r.requests.mergePatch(ctx, resource, name, patch, into)
}

// fakeRequests are those of client-go's fake.
type fakeRequests struct{ corev1.CoreV1Interface }

func store[T any](into runtime.Object, got *T, err error) error {
	if err == nil {
		*any(into).(*T) = *got
	}
	return err
}

func (f fakeRequests) get(ctx context.Context, _, namespace, name string, into runtime.Object) error {
	if _, ok := into.(*v1.Node); ok {
		got, err := f.Nodes().Get(ctx, name, metav1.GetOptions{})
		return store(into, got, err)
	}
	if _, ok := into.(*v1.Secret); ok {
		got, err := f.Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
		return store(into, got, err)
	}
	if _, ok := into.(*v1.PersistentVolume); ok {
		got, err := f.PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
		return store(into, got, err)
	}
	got, err := f.ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	return store(into, got, err)
}

func (f fakeRequests) list(ctx context.Context, _, namespace string, o metav1.ListOptions, into runtime.Object) error {
	switch into.(type) {
	case *v1.PodList:
		got, err := f.Pods(namespace).List(ctx, o)
		return store(into, got, err)
	case *v1.PersistentVolumeList:
		got, err := f.PersistentVolumes().List(ctx, o)
		return store(into, got, err)
	default:
		got, err := f.ConfigMaps(namespace).List(ctx, o)
		return store(into, got, err)
	}
}

func (f fakeRequests) create(ctx context.Context, _, namespace string, object, into runtime.Object) error {
	if event, ok := object.(*v1.Event); ok {
		got, err := f.Events(namespace).Create(ctx, event, metav1.CreateOptions{})
		return store(into, got, err)
	}
	if secret, ok := object.(*v1.Secret); ok {
		got, err := f.Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{})
		return store(into, got, err)
	}
	got, err := f.ConfigMaps(namespace).Create(ctx, object.(*v1.ConfigMap), metav1.CreateOptions{})
	return store(into, got, err)
}

func (f fakeRequests) update(ctx context.Context, _, namespace, _ string, object, into runtime.Object) error {
	if secret, ok := object.(*v1.Secret); ok {
		got, err := f.Secrets(namespace).Update(ctx, secret, metav1.UpdateOptions{})
		return store(into, got, err)
	}
	got, err := f.ConfigMaps(namespace).Update(ctx, object.(*v1.ConfigMap), metav1.UpdateOptions{})
	return store(into, got, err)
}

func (f fakeRequests) mergePatch(ctx context.Context, _, name string, patch []byte, into runtime.Object) error {
	got, err := f.Nodes().Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
	return store(into, got, err)
}

func (f fakeRequests) remove(ctx context.Context, _, namespace, name string, o metav1.DeleteOptions) error {
	return f.Secrets(namespace).Delete(ctx, name, o)
}
