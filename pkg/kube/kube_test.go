package kube

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func (a *api) taints() []v1.Taint {
	a.Helper()
	n, err := a.Nodes().Get(a.Context(), a.node, metav1.GetOptions{})
	a.must(err)
	// The control plane puts on its own taints of a node that doesn't report, and this one doesn't.
	return slices.DeleteFunc(n.Spec.Taints, func(t v1.Taint) bool { return strings.HasPrefix(t.Key, "node.kubernetes.io/") })
}

func (a *api) setTaints(taints ...v1.Taint) {
	a.Helper()
	patch, err := json.Marshal(map[string]any{"spec": map[string]any{"taints": taints}})
	a.must(err)
	_, err = a.Nodes().Patch(a.Context(), a.node, types.MergePatchType, patch, metav1.PatchOptions{})
	a.must(err)
}

func TestRemoveStartupTaint(t *testing.T) {
	eachAPI(t, func(a *api) {
		others := []v1.Taint{{Key: "team", Value: "vision", Effect: v1.TaintEffectNoSchedule}, {Key: "team", Effect: v1.TaintEffectPreferNoSchedule}}
		a.setTaints(others[0], v1.Taint{Key: StartupTaint, Effect: v1.TaintEffectNoSchedule}, others[1], v1.Taint{Key: StartupTaint, Value: "x", Effect: v1.TaintEffectNoExecute})
		n := NewNode(a.client, a.node)
		if removed, err := n.RemoveStartupTaint(a.Context()); err != nil || !removed {
			a.Fatal(removed, err)
		}
		if got := a.taints(); !slices.Equal(got, others) {
			a.Errorf("left are %v", got)
		}
		if removed, err := n.RemoveStartupTaint(a.Context()); err != nil || removed {
			a.Errorf("without the taint: %v, %v", removed, err)
		}
		_, err := NewNode(a.client, a.node+"-else").RemoveStartupTaint(a.Context())
		if !apierrors.IsNotFound(err) || !strings.Contains(err.Error(), "--node-id") {
			a.Errorf("without the Node: %v", err)
		}
	})
}

// TestNoTaintIsLost puts a taint on between the look and the patch.
func TestNoTaintIsLost(t *testing.T) {
	eachAPI(t, func(a *api) {
		a.setTaints(v1.Taint{Key: StartupTaint, Effect: v1.TaintEffectNoSchedule})
		raced := &racedPatch{requests: a.client.requests, before: func() {
			a.setTaints(v1.Taint{Key: StartupTaint, Effect: v1.TaintEffectNoSchedule}, v1.Taint{Key: "drain", Effect: v1.TaintEffectNoExecute})
		}}
		n := NewNode(&Client{raced}, a.node)
		if !a.real {
			raced.conflict = apierrors.NewConflict(v1.Resource("nodes"), a.node, errors.New("changed")) // the fake has none
		}
		if removed, err := n.RemoveStartupTaint(a.Context()); err != nil || !removed {
			a.Fatal(removed, err)
		}
		if got := a.taints(); len(got) != 1 || got[0].Key != "drain" {
			a.Errorf("left are %v", got)
		}
		if raced.patches != 2 {
			a.Errorf("%d patches", raced.patches)
		}
	})
}

func TestTheTaintGoesOnceTheNodeServes(t *testing.T) {
	eachAPI(t, func(a *api) {
		a.setTaints(v1.Taint{Key: StartupTaint, Effect: v1.TaintEffectNoSchedule})
		n := NewNode(a.client, a.node)
		ctx, cancel := context.WithCancel(a.Context())
		asked := make(chan error)
		done := make(chan error, 1)
		go func() { done <- n.KeepStartupTaintOff(ctx, func(context.Context) error { return <-asked }) }()
		asked <- errors.New("not registered")
		asked <- errors.New("not registered")
		if len(a.taints()) != 1 {
			a.Error("the taint was taken off before the node served")
		}
		asked <- nil
		a.eventually("the taint is off", func() bool { return len(a.taints()) == 0 })
		cancel()
		if err := <-done; err != nil {
			a.Error(err)
		}
		if len(a.taints()) != 0 {
			a.Error("a taint was put on at the end")
		}
	})
}

func TestKubeletReports(t *testing.T) {
	eachAPI(t, func(a *api) {
		n := NewNode(a.client, a.node)
		for status, reports := range map[v1.ConditionStatus]bool{"": false, v1.ConditionTrue: true, v1.ConditionFalse: false, v1.ConditionUnknown: false} {
			now, err := a.Nodes().Get(a.Context(), a.node, metav1.GetOptions{})
			a.must(err)
			now.Status.Conditions = nil
			if status != "" {
				now.Status.Conditions = []v1.NodeCondition{{Type: v1.NodeReady, Status: status, Reason: "R", LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}
			}
			_, err = a.Nodes().UpdateStatus(a.Context(), now, metav1.UpdateOptions{})
			a.must(err)
			if err := n.KubeletReports(a.Context()); (err == nil) != reports {
				a.Errorf("Ready %q: %v", status, err)
			}
		}
		if err := NewNode(a.client, "strata-none").KubeletReports(a.Context()); err == nil {
			a.Error("a Node that isn't there reports")
		}
	})
}

func TestPodsOfTheNode(t *testing.T) {
	eachAPI(t, func(a *api) {
		pods := NewNodePods(a.client, a.node)
		if uids, err := pods.Pods(a.Context()); err == nil || !strings.Contains(err.Error(), "--node-id") {
			a.Errorf("no pod at all: %v, %v", uids, err)
		}
		const staticUID = "8b6c0c51f3f0d2ab1b6f29b3a8d8a0c4"
		want := map[string]bool{staticUID: true}
		for name, phase := range map[string]v1.PodPhase{"waits": v1.PodPending, "runs": v1.PodRunning, "ended": v1.PodSucceeded, "failed": v1.PodFailed} {
			want[a.pod(name, a.node, phase, nil)] = true
		}
		want[a.pod("mirror", a.node, v1.PodRunning, map[string]string{mirrorAnnotation: staticUID, hashAnnotation: staticUID})] = true
		other := a.node + "-b"
		a.makeNode(other)
		elsewhere := a.pod("elsewhere", other, v1.PodRunning, nil)
		if !a.real { // the fake ignores field selectors, which is refused
			if uids, err := pods.Pods(a.Context()); err == nil || !strings.Contains(err.Error(), other) {
				a.Errorf("a pod of another node: %v, %v", uids, err)
			}
			a.must(a.Pods(a.namespace).Delete(a.Context(), "elsewhere", metav1.DeleteOptions{}))
		}
		got, err := pods.Pods(a.Context())
		if err != nil || !maps.Equal(got, want) || got[elsewhere] {
			a.Fatalf("got %v, %v, want %v", got, err, want)
		}
		a.Run("one recreated under its name has another UID", func(t *testing.T) {
			now := metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
			a.must(a.Pods(a.namespace).Delete(t.Context(), "runs", now))
			var made string
			if a.real {
				made = a.pod("runs", a.node, v1.PodRunning, nil)
			} else {
				_, err := a.Pods(a.namespace).Create(t.Context(), &v1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "runs", UID: "again"}, Spec: v1.PodSpec{NodeName: a.node}}, metav1.CreateOptions{})
				a.must(err)
				made = "again"
			}
			after, err := pods.Pods(t.Context())
			a.must(err)
			if len(after) != len(got) || !after[made] || maps.Equal(after, got) {
				t.Errorf("before %v, after %v", got, after)
			}
		})
	})
}

func TestADoubtAboutPodsIsAnError(t *testing.T) {
	client := fake.NewClientset()
	down := errors.New("connection refused")
	client.PrependReactor("list", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, down })
	if uids, err := NewNodePods(&Client{fakeRequests{client.CoreV1()}}, "n").Pods(t.Context()); !errors.Is(err, down) {
		t.Errorf("%v, %v", uids, err)
	}
	if handles, err := NewVolumes(&Client{fakeRequests{client.CoreV1()}}, "csi.strata.dev").Handles(t.Context()); !errors.Is(err, down) {
		t.Errorf("%v, %v", handles, err)
	}
}

// TestRequests: what is destroyed by must not come from a cache that is behind, so lists name no resource version.
func TestRequests(t *testing.T) {
	var got []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if q.Get("timeout") != "30s" || !strings.HasPrefix(r.UserAgent(), "strata-node/") {
			t.Errorf("timeout %q, user agent %q", q.Get("timeout"), r.UserAgent())
		}
		q.Del("timeout")
		got = append(got, strings.TrimSuffix(r.Method+" "+r.URL.Path+"?"+q.Encode(), "?"))
		w.Header().Set("Content-Type", "application/json")
		switch {
		case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "configmaps/"):
			w.WriteHeader(http.StatusNotFound)
			fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404}`)
		case strings.HasSuffix(r.URL.Path, "/pods"):
			fmt.Fprint(w, `{"kind":"PodList","apiVersion":"v1","items":[{"metadata":{"uid":"u"},"spec":{"nodeName":"n"}}]}`)
		case strings.HasSuffix(r.URL.Path, "/persistentvolumes"):
			fmt.Fprint(w, `{"kind":"PersistentVolumeList","apiVersion":"v1"}`)
		case strings.Contains(r.URL.Path, "/nodes/"):
			fmt.Fprintf(w, `{"kind":"Node","apiVersion":"v1","metadata":{"name":"n","resourceVersion":"7"},"spec":{"taints":[{"key":%q}]}}`, StartupTaint)
		case len(q) > 0:
			fmt.Fprint(w, `{"kind":"ConfigMapList","apiVersion":"v1"}`)
		default:
			fmt.Fprint(w, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"strata-scratch-n","resourceVersion":"1"}}`)
		}
	}))
	defer server.Close()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: '%s'}}]\ncontexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n", server.URL)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := Connect(path, "strata-node")
	if err != nil {
		t.Fatal(err)
	}
	node := NewNode(client, "n")
	report := NewReports(client, "ns").Of(node)
	for _, do := range []func() error{
		func() error { _, err := NewNodePods(client, "n").Pods(t.Context()); return err },
		func() error { _, err := NewVolumes(client, "d").Handles(t.Context()); return err },
		func() error { _, err := node.RemoveStartupTaint(t.Context()); return err },
		func() error { _, err := NewReports(client, "ns").List(t.Context()); return err },
		func() error { return report.Write(t.Context(), []byte("1")) },
		func() error { return report.Write(t.Context(), []byte("2")) },
	} {
		if err := do(); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"GET /api/v1/pods?fieldSelector=spec.nodeName%3Dn",
		"GET /api/v1/persistentvolumes?limit=500",
		"GET /api/v1/nodes/n", "PATCH /api/v1/nodes/n",
		"GET /api/v1/namespaces/ns/configmaps?labelSelector=csi.strata.dev%2Fscratch-report%3Dtrue&resourceVersion=0",
		"GET /api/v1/namespaces/ns/configmaps/strata-scratch-n", "GET /api/v1/nodes/n", "POST /api/v1/namespaces/ns/configmaps",
		"PUT /api/v1/namespaces/ns/configmaps/strata-scratch-n",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

func TestHandles(t *testing.T) {
	eachAPI(t, func(a *api) {
		driver := a.namespace + ".strata.dev"
		a.volume("one", driver, "scratch:default:pvc-1")
		a.volume("two", driver, "scratch:default:pvc-2")
		a.volume("other", "other.dev", "scratch:default:pvc-3")
		got, err := NewVolumes(a.client, driver).Handles(a.Context())
		if want := map[string]bool{"scratch:default:pvc-1": true, "scratch:default:pvc-2": true}; err != nil || !maps.Equal(got, want) {
			a.Errorf("got %v, %v", got, err)
		}
	})
}

// TestHandlesOfAllPages needs a real API server, or the pages of one.
func TestHandlesOfAllPages(t *testing.T) {
	client := fake.NewClientset()
	page := func(handle, next string) *v1.PersistentVolumeList {
		return &v1.PersistentVolumeList{ListMeta: metav1.ListMeta{Continue: next}, Items: []v1.PersistentVolume{{Spec: v1.PersistentVolumeSpec{
			PersistentVolumeSource: v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{Driver: "d", VolumeHandle: handle}}}}}}
	}
	gone := apierrors.NewResourceExpired("the moment is too long ago")
	expire := false
	client.PrependReactor("list", "persistentvolumes", func(action clienttesting.Action) (bool, runtime.Object, error) {
		switch action.(clienttesting.ListActionImpl).GetListOptions().Continue {
		case "":
			return true, page("one", "next"), nil
		case "next":
			if expire {
				return true, nil, gone
			}
			return true, page("two", ""), nil
		}
		return true, nil, errors.New("no such page")
	})
	v := NewVolumes(&Client{fakeRequests{client.CoreV1()}}, "d")
	if got, err := v.Handles(t.Context()); err != nil || !maps.Equal(got, map[string]bool{"one": true, "two": true}) {
		t.Errorf("got %v, %v", got, err)
	}
	expire = true
	if got, err := v.Handles(t.Context()); !apierrors.IsResourceExpired(err) {
		t.Errorf("half a list: %v, %v", got, err)
	}
}

func TestReports(t *testing.T) {
	eachAPI(t, func(a *api) {
		reports := NewReports(a.client, a.namespace)
		mine := reports.Of(NewNode(a.client, a.node))
		read := func() string {
			all, err := reports.List(a.Context())
			a.must(err)
			return string(all[ReportName(a.node)])
		}
		write := func(text string) {
			a.Helper()
			a.must(mine.Write(a.Context(), []byte(text)))
			a.eventually("the report is read", func() bool { return read() == text })
		}
		write("1")
		write("2")
		made, err := a.ConfigMaps(a.namespace).Get(a.Context(), ReportName(a.node), metav1.GetOptions{})
		a.must(err)
		node, err := a.Nodes().Get(a.Context(), a.node, metav1.GetOptions{})
		a.must(err)
		if o := made.OwnerReferences; len(o) != 1 || o[0].Kind != "Node" || o[0].UID != node.UID || o[0].Name != a.node || o[0].APIVersion != "v1" {
			a.Errorf("owners: %v", o)
		}
		// Another process of the node wrote meanwhile, as one does that is about to be replaced.
		a.must(reports.Of(NewNode(a.client, a.node)).Write(a.Context(), []byte("3")))
		if !a.real {
			mine.last = nil // the fake has no conflicts
		}
		write("4")
		a.must(a.ConfigMaps(a.namespace).Delete(a.Context(), ReportName(a.node), metav1.DeleteOptions{}))
		write("5")
		// Somebody made it by hand.
		a.must(a.ConfigMaps(a.namespace).Delete(a.Context(), ReportName(a.node), metav1.DeleteOptions{}))
		_, err = a.ConfigMaps(a.namespace).Create(a.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: ReportName(a.node)}}, metav1.CreateOptions{})
		a.must(err)
		mine.last = nil
		write("6")
		// Not one of ours.
		_, err = a.ConfigMaps(a.namespace).Create(a.Context(), &v1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "strata-scratch-config"}}, metav1.CreateOptions{})
		a.must(err)
		if all, err := reports.List(a.Context()); err != nil || len(all) != 1 {
			a.Errorf("%v, %v", all, err)
		}
	})
}

func TestOptions(t *testing.T) {
	for _, c := range []struct{ kubeconfig, namespace, want string }{
		{InCluster, "strata", ""},
		{"/etc/kubernetes/strata.conf", "strata", ""},
		{"strata.conf", "strata", "--kubeconfig"},
		{InCluster, "", "--namespace"},
		{InCluster, "Strata", "--namespace"},
	} {
		if err := CheckOptions(c.kubeconfig, c.namespace); (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"empty": "", "torn": "apiVersion: v1\nkind: [", "other": "hello"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Connect(path, "strata-node"); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Connect(filepath.Join(dir, "none"), "strata-node"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	good := filepath.Join(dir, "good")
	text := "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]\ncontexts: [{name: x, context: {cluster: c}}]\ncurrent-context: x\n"
	if err := os.WriteFile(good, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Config(good, "strata-node")
	if err != nil || !strings.HasPrefix(c.UserAgent, "strata-node/") || c.Timeout != callTimeout || c.Host != "https://127.0.0.1:1" {
		t.Errorf("%+v, %v", c, err)
	}
}
