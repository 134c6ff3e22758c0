//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/strata-csi/strata/tests/harness"
)

// cluster is the Kubernetes under test, with the Ceph that the volumes of tier warm are in, and those of tier cold by its S3 gateway.
type cluster struct {
	config  *rest.Config
	client  kubernetes.Interface
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	ceph    *harness.Ceph
	store   store
	machine machine
	nodes   []string
	root    string // of the checkout
	// applied are the objects of the deployment, in the order in which they were made.
	applied []*unstructured.Unstructured
	// tainted says that the nodes had the startup taint before the driver was deployed.
	tainted bool
}

// connect finds everything that the environment names.
func connect(ctx context.Context) (*cluster, error) {
	for name, is := range map[string]string{
		"KUBECONFIG": "the cluster's kubeconfig", "STRATA_CEPH_DIR": "the directory of the development Ceph", "STRATA_KUBE": "the program of hack/kube",
	} {
		if os.Getenv(name) == "" {
			return nil, fmt.Errorf("%s (%s) is not set: run `make e2e`, or this inside of `hack/kube run --`", name, is)
		}
	}
	root, err := harness.Root()
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = -1, -1 // many tests share the client; the API server has its own limits
	c := &cluster{config: config, root: root, machine: machine{tool: os.Getenv("STRATA_KUBE")}}
	if c.client, err = kubernetes.NewForConfig(config); err != nil {
		return nil, err
	}
	if c.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return nil, err
	}
	c.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(c.client.Discovery()))
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, n := range nodes.Items {
		c.nodes = append(c.nodes, n.Name)
	}
	if len(c.nodes) < 2 {
		return nil, fmt.Errorf("the cluster has the nodes %v; two are needed to show that a volume is shared", c.nodes)
	}
	if c.ceph, err = openCeph(os.Getenv("STRATA_CEPH_DIR")); err != nil {
		return nil, err
	}
	c.store, err = openStore(os.Getenv("STRATA_CEPH_DIR"))
	return c, err
}

// openCeph is harness.NewCeph for what is no test.
func openCeph(dir string) (*harness.Ceph, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	c := &harness.Ceph{Dir: dir}
	out, err := c.Try("mon", "dump", "--format", "json")
	if err != nil {
		return nil, err
	}
	var dump struct {
		Mons []struct {
			Addrs struct {
				Vec []struct{ Type, Addr string } `json:"addrvec"`
			} `json:"public_addrs"`
		} `json:"mons"`
	}
	if err := json.Unmarshal([]byte(out), &dump); err != nil {
		return nil, err
	}
	for _, m := range dump.Mons {
		for _, a := range m.Addrs.Vec {
			if a.Type == "v2" {
				c.Monitor = a.Addr
			}
		}
	}
	if c.Monitor == "" {
		return nil, fmt.Errorf("the monitors of %s have no messenger v2 address", dir)
	}
	return c, nil
}

const fieldManager = "strata-e2e"

// resource is where objects of a kind are; namespace is that of a namespaced kind that names none itself.
func (c *cluster) resource(u *unstructured.Unstructured, namespace string) (dynamic.ResourceInterface, error) {
	kind := u.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		c.mapper.Reset() // a CRD that came since
		mapping, err = c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return c.dynamic.Resource(mapping.Resource), nil
	}
	if u.GetNamespace() != "" {
		namespace = u.GetNamespace()
	}
	return c.dynamic.Resource(mapping.Resource).Namespace(namespace), nil
}

// apply makes an object, or makes it what it should be.
func (c *cluster) apply(ctx context.Context, namespace string, u *unstructured.Unstructured) error {
	r, err := c.resource(u, namespace)
	if err == nil {
		_, err = r.Apply(ctx, u.GetName(), u, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	}
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", u.GetKind(), u.GetName(), err)
	}
	return nil
}

// convert makes an object of the API's own types one that apply takes.
func convert(o runtime.Object) (*unstructured.Unstructured, error) {
	kinds, _, err := scheme.Scheme.ObjectKinds(o)
	if err != nil {
		return nil, err
	}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: fields}
	u.SetGroupVersionKind(kinds[0])
	unstructured.RemoveNestedField(u.Object, "status")
	unstructured.RemoveNestedField(u.Object, "metadata", "creationTimestamp")
	return u, nil
}

// decode reads the documents of a YAML stream.
func decode(in io.Reader) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	d := utilyaml.NewYAMLOrJSONDecoder(in, 4096)
	for {
		u := &unstructured.Unstructured{}
		err := d.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		if len(u.Object) > 0 {
			all = append(all, u)
		}
	}
}

// changeNode applies a change to a node, again when somebody else was quicker.
func (c *cluster) changeNode(ctx context.Context, name string, change func(*corev1.Node)) error {
	for {
		n, err := c.client.CoreV1().Nodes().Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		change(n)
		if _, err = c.client.CoreV1().Nodes().Update(ctx, n, metav1.UpdateOptions{}); !isConflict(err) {
			return err
		}
	}
}

func (c *cluster) mergePatch(ctx context.Context, namespace string, u *unstructured.Unstructured, patch string) error {
	r, err := c.resource(u, namespace)
	if err != nil {
		return err
	}
	_, err = r.Patch(ctx, u.GetName(), types.MergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: fieldManager})
	return err
}
