//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/tests/harness"
)

const (
	driverName      = "csi.strata.dev"
	driverNamespace = "strata"
	startupTaint    = driverName + "/not-ready"

	// tag and nextTag are those of the images of Strata: the same programs, so that an upgrade can be shown.
	tag, nextTag = "dev", "dev2"
)

// deploy prepares the nodes, applies what the chart renders, and waits until all of it serves.
func (c *cluster) deploy(ctx context.Context) error {
	for _, node := range c.nodes {
		if out, err := c.machine.onNode(ctx, node, makeDisks); err != nil {
			return fmt.Errorf("disks of %s: %w\n%s", node, err, out)
		}
		// As an operator's node pool has it: nothing is scheduled to a node before its driver serves. A driver that was left by another
		// run served already.
		if _, err := c.client.AppsV1().DaemonSets(driverNamespace).Get(ctx, "strata-node", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			continue
		}
		if err := c.taint(ctx, node); err != nil {
			return err
		}
		c.tainted = true
	}
	say("disks of %v are ready", c.nodes)
	namespace, err := convert(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: driverNamespace}})
	if err != nil {
		return err
	}
	if err := c.apply(ctx, "", namespace); err != nil {
		return err
	}
	if err := c.applySecrets(ctx); err != nil {
		return err
	}
	if _, err := c.store.bucket(ctx, volumesBucket); err != nil {
		return err
	}
	if err := c.applyChart(ctx, tag); err != nil {
		return err
	}
	if err := c.applyClasses(ctx); err != nil {
		return err
	}
	say("applied %d objects of the chart", len(c.applied))
	return c.serves(ctx)
}

// applySecrets makes the Secrets that an operator makes: the keyrings of the controller and of the user for fencing, and the key that nodes mount with.
func (c *cluster) applySecrets(ctx context.Context) error {
	keyring, err := os.ReadFile(c.ceph.Keyring("strata-controller"))
	if err != nil {
		return err
	}
	fencing, err := c.ceph.Try(append([]string{"auth", "get-or-create", "client.strata-fencing"}, ceph.FencingCapabilities(harness.FS)...)...)
	if err != nil {
		return err
	}
	for _, o := range []*corev1.Secret{
		{
			ObjectMeta: metav1.ObjectMeta{Name: controllerSecret, Namespace: driverNamespace},
			StringData: map[string]string{"keyring": string(keyring)},
		},
		{
			ObjectMeta: metav1.ObjectMeta{Name: "strata-fencing", Namespace: driverNamespace},
			StringData: map[string]string{"keyring": fencing},
		},
		c.stageSecret(driverNamespace),
		c.store.secret(driverNamespace),
	} {
		u, err := convert(o)
		if err != nil {
			return err
		}
		if err := c.apply(ctx, "", u); err != nil {
			return err
		}
	}
	return nil
}

// stageSecret is the Secret strata-warm, with which the nodes mount the claims of a namespace.
func (c *cluster) stageSecret(namespace string) *corev1.Secret {
	key, err := c.ceph.Try("auth", "print-key", "client.strata-node")
	if err != nil {
		panic(err) // the cluster answered a moment ago
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "strata-warm", Namespace: namespace},
		StringData: map[string]string{"userID": "strata-node", "userKey": strings.TrimSpace(key)},
	}
}

// applyChart applies what the chart renders with values.yaml, with images of a tag: definitions first.
func (c *cluster) applyChart(ctx context.Context, tag string) error {
	objects, err := c.render(ctx, tag)
	if err != nil {
		return err
	}
	for _, u := range objects {
		// A definition that was made a moment ago may not be served yet.
		err := c.wait(ctx, "apply "+u.GetKind()+" "+u.GetName(), 20*time.Second, func(ctx context.Context) error {
			return c.apply(ctx, driverNamespace, u)
		})
		if err != nil {
			return err
		}
	}
	c.applied = objects
	return nil
}

// render has hack/chart render the chart.
func (c *cluster) render(ctx context.Context, tag string) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(filepath.Join(c.root, "tests/e2e/values.yaml"))
	if err != nil {
		return nil, err
	}
	values, err := os.CreateTemp("", "strata-e2e-values-*.yaml")
	if err != nil {
		return nil, err
	}
	defer os.Remove(values.Name())
	_, err = strings.NewReplacer("$MONITOR", c.ceph.Monitor, "$ENDPOINT", c.store.endpoint, "$ROLE", c.store.role, "$TAG", tag).WriteString(values, string(text))
	if err := errors.Join(err, values.Close()); err != nil {
		return nil, err
	}
	out, err := command(ctx, "go", "-C", filepath.Join(c.root, "hack/chart"), "run", ".", "render", "-namespace", driverNamespace, "-values", values.Name())
	if err != nil {
		return nil, err
	}
	return decode(strings.NewReader(out))
}

// serves waits until the driver is ready everywhere, every node has it, and the startup taint is gone.
func (c *cluster) serves(ctx context.Context) error {
	return c.wait(ctx, "the driver serves on every node", 3*time.Minute, c.serving)
}

func (c *cluster) serving(ctx context.Context) error {
	apps := c.client.AppsV1()
	daemons, err := apps.DaemonSets(driverNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range daemons.Items {
		s := d.Status
		if s.ObservedGeneration != d.Generation || s.NumberReady != int32(len(c.nodes)) ||
			d.Name == "strata-node" && s.UpdatedNumberScheduled != int32(len(c.nodes)) {
			return fmt.Errorf("DaemonSet %s: %d of %d ready, %d up to date", d.Name, s.NumberReady, len(c.nodes), s.UpdatedNumberScheduled)
		}
	}
	deployments, err := apps.Deployments(driverNamespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		s := d.Status
		if s.ObservedGeneration != d.Generation || s.ReadyReplicas != *d.Spec.Replicas || s.UpdatedReplicas != *d.Spec.Replicas || s.Replicas != *d.Spec.Replicas {
			return fmt.Errorf("Deployment %s: %d of %d ready, %d up to date", d.Name, s.ReadyReplicas, *d.Spec.Replicas, s.UpdatedReplicas)
		}
	}
	if len(daemons.Items) < 2 || len(deployments.Items) == 0 {
		return fmt.Errorf("the chart made %d DaemonSets and %d Deployments", len(daemons.Items), len(deployments.Items))
	}
	for _, node := range c.nodes {
		csi, err := c.client.StorageV1().CSINodes().Get(ctx, node, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(csi.Spec.Drivers) == 0 || csi.Spec.Drivers[0].Name != driverName {
			return fmt.Errorf("kubelet of %s knows no driver %s", node, driverName)
		}
		if err := c.untainted(ctx, node); err != nil {
			return err
		}
	}
	return nil
}

// taint puts the startup taint on a node.
func (c *cluster) taint(ctx context.Context, node string) error {
	return c.changeNode(ctx, node, func(n *corev1.Node) {
		has := slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == startupTaint })
		if !has {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: startupTaint, Effect: corev1.TaintEffectNoSchedule})
		}
	})
}

func (c *cluster) untainted(ctx context.Context, node string) error {
	n, err := c.client.CoreV1().Nodes().Get(ctx, node, metav1.GetOptions{})
	if err != nil {
		return err
	}
	for _, t := range n.Spec.Taints {
		if t.Key == startupTaint {
			return fmt.Errorf("node %s still has the taint %s", node, startupTaint)
		}
	}
	return nil
}

// undeploy deletes the deployment, last made first, and waits until its pods are gone.
func (c *cluster) undeploy(ctx context.Context) error {
	background := metav1.DeletePropagationBackground
	for _, u := range slices.Backward(c.applied) {
		r, err := c.resource(u, driverNamespace)
		if err == nil {
			err = r.Delete(ctx, u.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		}
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("delete %s %s: %w", u.GetKind(), u.GetName(), err)
		}
	}
	return c.wait(ctx, "the driver's pods are gone", 2*time.Minute, func(ctx context.Context) error {
		pods, err := c.client.CoreV1().Pods(driverNamespace).List(ctx, metav1.ListOptions{})
		if err == nil && len(pods.Items) > 0 {
			err = fmt.Errorf("%s is still there", pods.Items[0].Name)
		}
		return err
	})
}

// applyFile applies the documents of a YAML file in a namespace. replace are texts of the file, and what stands in their place, by turns.
func (c *cluster) applyFile(ctx context.Context, path, namespace string, replace ...string) ([]*unstructured.Unstructured, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	all, err := decode(strings.NewReader(strings.NewReplacer(replace...).Replace(string(text))))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, u := range all {
		if err := c.apply(ctx, namespace, u); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return all, nil
}

// newObject is an object of a kind that the API's own types have, with its name alone, for patches.
func newObject(kind, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	for gvk := range scheme.Scheme.AllKnownTypes() {
		if gvk.Kind == kind && !strings.Contains(gvk.Version, "alpha") && !strings.Contains(gvk.Version, "beta") {
			u.SetGroupVersionKind(gvk)
		}
	}
	u.SetName(name)
	return u
}
