//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// What somebody can do who has taken a node: with the token of its strata-node, and with kubelet's own certificate.

// With the token of a node's strata-node one changes that Node's startup taint and its report, and reads no Secret. What is allowed is done by the
// driver itself: TestStartupTaint, TestScheduledByScratchRoom. Nothing here would change anything if it weren't refused.
func TestTokenOfANode(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	node, other := k.nodes[0], k.nodes[1]
	const foreign = "e2e.strata.dev/foreign"
	err := k.changeNode(s.ctx, node, func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: foreign, Effect: corev1.TaintEffectPreferNoSchedule})
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := k.changeNode(s.ctx, node, func(n *corev1.Node) {
			n.Spec.Taints = slices.DeleteFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == foreign })
		})
		if err != nil {
			t.Error(err)
		}
	})
	stolen := s.withToken(s.driverPod("strata-node", node))

	patch := func(client kubernetes.Interface, node, patch string) error {
		_, err := client.CoreV1().Nodes().Patch(s.ctx, node, types.MergePatchType, []byte(patch), metav1.PatchOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	write := func(name string, change func(*corev1.ConfigMap)) error {
		all := stolen.CoreV1().ConfigMaps(driverNamespace)
		m, err := all.Get(s.ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		_, err = all.Update(s.ctx, m, metav1.UpdateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	edit := func(m *corev1.ConfigMap) { m.Labels = with(m.Labels, "e2e", "changed") }
	_, newMap := stolen.CoreV1().ConfigMaps(driverNamespace).Create(s.ctx,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "new"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	const ownReport = "may write ConfigMap strata-scratch-"
	for what, tt := range map[string]struct {
		err  error
		says string
	}{
		"another Node":          {patch(stolen, other, `{"metadata":{"labels":{"e2e":"changed"}}}`), "strata-node on " + node + " may change its own Node alone"},
		"a label":               {patch(stolen, node, `{"metadata":{"labels":{"e2e":"changed"}}}`), "may change nothing of its Node but the startup taint"},
		"cordon":                {patch(stolen, node, `{"spec":{"unschedulable":true}}`), "may change nothing of its Node but the startup taint"},
		"somebody else's taint": {patch(stolen, node, `{"spec":{"taints":null}}`), "and change no other"},
		"another taint": {patch(stolen, node, `{"spec":{"taints":[{"key":"`+foreign+`","effect":"PreferNoSchedule"},{"key":"e2e","effect":"NoExecute"}]}}`),
			"and change no other"},
		"a token without a node":     {patch(s.withToken(nil), node, `{"metadata":{"labels":{"e2e":"changed"}}}`), "must be one that names its node"},
		"the report of another node": {write("strata-scratch-"+other, edit), ownReport},
		"the driver's configuration": {write("strata-clusters", edit), ownReport},
		"a new ConfigMap":            {newMap, ownReport},
	} {
		if tt.err == nil || !strings.Contains(tt.err.Error(), tt.says) {
			t.Errorf("%s: got the answer %v; it should be refused with %q", what, tt.err, tt.says)
		}
	}
	if err := write("strata-scratch-"+node, edit); err != nil {
		t.Errorf("its own report is refused: %v", err)
	}
	s.readsNoSecret(stolen, driverNamespace, controllerSecret)
	s.readsNoSecret(stolen, driverNamespace, "strata-warm")
	s.readsNoSecret(stolen, s.name, "strata-warm")
	// The holder of mounts has no token at all.
	for _, v := range s.driverPod("strata-mountd", node).Spec.Volumes {
		if v.Projected != nil || v.Secret != nil {
			t.Errorf("strata-mountd has volume %s, with a token or a Secret", v.Name)
		}
	}
}

// kubelet, and so whoever has taken a node, reads the Secret of a volume only while a pod on that node has the volume.
func TestSecretsOfANode(t *testing.T) {
	t.Parallel()
	s := newSpace(t)
	s.claim("data", warm, "1Gi", corev1.ReadWriteMany)
	volume := s.bound("data").Name
	var kubelets []kubernetes.Interface
	for _, node := range k.nodes[:2] {
		config, err := clientcmd.BuildConfigFromFlags("", filepath.Join(os.Getenv("STRATA_KUBE_DIR"), "pki", "kubelet-"+node+".kubeconfig"))
		if err != nil {
			t.Fatal(err)
		}
		kubelets = append(kubelets, kubernetes.NewForConfigOrDie(config))
		s.readsNoSecret(kubelets[len(kubelets)-1], driverNamespace, volume)
	}
	p := s.run("has-it", k.nodes[0], claimed("data", "/data"))
	p.sh("echo works > /data/file && sync /data/file")
	secret, err := kubelets[0].CoreV1().Secrets(driverNamespace).Get(s.ctx, volume, metav1.GetOptions{})
	if err != nil {
		t.Fatalf("kubelet of %s, where the pod is, can't read the Secret: %v", p.node, err)
	}
	s.keyIsNowhereElse(secret.Data["userKey"])
	s.readsNoSecret(kubelets[1], driverNamespace, volume)
	p.remove()
	s.wait("the node may not read the Secret any more", patience, func(ctx context.Context) error {
		_, err := kubelets[0].CoreV1().Secrets(driverNamespace).Get(ctx, volume, metav1.GetOptions{})
		switch {
		case err == nil:
			return errors.New("it may")
		case apierrors.IsForbidden(err):
			return nil
		}
		return err
	})
}

// keyIsNowhereElse looks for a volume's key in the objects that are made on the way from a claim to a pod, and in what the driver's pods say.
func (s *space) keyIsNowhereElse(key []byte) {
	s.Helper()
	if len(key) == 0 {
		s.Fatal("the Secret has no key")
	}
	core, all := k.client.CoreV1(), metav1.ListOptions{}
	for what, list := range map[string]func() (any, error){
		"PersistentVolumes":      func() (any, error) { return core.PersistentVolumes().List(s.ctx, all) },
		"PersistentVolumeClaims": func() (any, error) { return core.PersistentVolumeClaims("").List(s.ctx, all) },
		"VolumeAttachments":      func() (any, error) { return k.client.StorageV1().VolumeAttachments().List(s.ctx, all) },
		"Pods":                   func() (any, error) { return core.Pods("").List(s.ctx, all) },
		"Events":                 func() (any, error) { return core.Events("").List(s.ctx, all) },
		"ConfigMaps":             func() (any, error) { return core.ConfigMaps("").List(s.ctx, all) },
		"the driver's logs":      func() (any, error) { return s.driverLogs() },
	} {
		objects, err := list()
		if err != nil {
			s.Errorf("%s: %v", what, err)
			continue
		}
		if text, err := json.Marshal(objects); err != nil || bytes.Contains(text, key) {
			s.Errorf("%s have the key of a volume, or can't be read: %v", what, err)
		}
	}
}

// driverLogs are those of all containers of the driver.
func (s *space) driverLogs() (logs []string, err error) {
	pods, err := k.client.CoreV1().Pods(driverNamespace).List(s.ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	for _, p := range pods.Items {
		for _, c := range p.Spec.Containers {
			log, err := k.client.CoreV1().Pods(driverNamespace).GetLogs(p.Name, &corev1.PodLogOptions{Container: c.Name}).DoRaw(s.ctx)
			if err != nil {
				return nil, fmt.Errorf("container %s of %s: %w", c.Name, p.Name, err)
			}
			logs = append(logs, string(log))
		}
	}
	return logs, nil
}

// readsNoSecret tries to read a Secret, all of its namespace, and all there are.
func (s *space) readsNoSecret(client kubernetes.Interface, namespace, name string) {
	s.Helper()
	secrets := client.CoreV1().Secrets
	_, get := secrets(namespace).Get(s.ctx, name, metav1.GetOptions{})
	_, list := secrets(namespace).List(s.ctx, metav1.ListOptions{})
	_, all := secrets("").List(s.ctx, metav1.ListOptions{})
	for what, err := range map[string]error{"Secret " + namespace + "/" + name: get, "the Secrets of " + namespace: list, "all Secrets": all} {
		if !apierrors.IsForbidden(err) {
			s.Errorf("reading %s: %v; it should be forbidden", what, err)
		}
	}
}

// withToken is the API for who has the token of strata-node in a pod, as kubelet asks for it; without a pod it names no node.
func (s *space) withToken(pod *corev1.Pod) kubernetes.Interface {
	s.Helper()
	var bound *authenticationv1.BoundObjectReference
	if pod != nil {
		bound = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	}
	answer, err := k.client.CoreV1().ServiceAccounts(driverNamespace).CreateToken(s.ctx, "strata-node",
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound}}, metav1.CreateOptions{})
	if err != nil {
		s.Fatal(fmt.Errorf("token of strata-node: %w", err))
	}
	config := rest.AnonymousClientConfig(k.config)
	config.BearerToken = answer.Status.Token
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		s.Fatal(err)
	}
	return client
}

// with is a copy of a map with one more entry.
func with(m map[string]string, key, value string) map[string]string {
	c := maps.Clone(m)
	if c == nil {
		c = map[string]string{}
	}
	c[key] = value
	return c
}
