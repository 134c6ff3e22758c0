package kubectl

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/strata-csi/strata/pkg/inspect"
)

// withTakenNode has two volumes with keys of their own and one with a shared key. On node-b a pod has pvc-data, and a client pvc-mounted.
func withTakenNode(t *testing.T) *world {
	w := withKeys(t)
	node := object[*corev1.Node](w, "node-b")
	node.Labels[corev1.LabelHostname] = "b.example"
	node.Spec.Unschedulable = true
	node.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.7"}, {Type: corev1.NodeHostName, Address: "b.example"}, {Type: corev1.NodeInternalIP, Address: "fd00::7"}}
	object[*corev1.Node](w, "node-a").Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.6"}}
	mounted := persistent("pvc-mounted", "warm:main:warm:k8s-a.vision:pvc-mounted", "vision/mounted", gib, "strata-warm", corev1.ReadWriteMany)
	mounted.Spec.CSI.VolumeAttributes = map[string]string{"path": "/volumes/k8s-a.vision/pvc-mounted/uuid"}
	w.add(mounted, userPod("p", "vision", "node-b", claimed("data"), claimed("shared"), claimed("local")), userPod("q", "vision", "node-a", claimed("data")))
	for _, name := range []string{"pvc-data", "pvc-mounted"} {
		object[*corev1.PersistentVolume](w, name).Spec.CSI.NodeStageSecretRef = &corev1.SecretReference{Namespace: "strata", Name: name}
	}
	w.fence = []inspect.ClusterFence{{Cluster: "main", Addresses: []string{"10.0.0.7", "fd00::7"}, ShutOut: []inspect.Client{
		{FileSystem: "warm", Address: "10.0.0.7:0/12", Host: "node-b", User: "strata.x", Path: "/volumes/k8s-a.vision/pvc-mounted/uuid"}}}}
	return w
}

func TestFenceNode(t *testing.T) {
	w := withTakenNode(t)
	code, out, stderr := w.run("fence", "node/node-b", "--address", "10.9.0.7", "--address", "10.0.0.7")
	if code != ExitOK || stderr != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	for _, want := range []string{"10.0.0.7,fd00::7", "shut out of main: 10.0.0.7:0/12, host node-b", "kubectl strata rotate pvc-data pvc-mounted\n", "which no command renews: pvc-shared\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("without %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "cordon") {
		t.Errorf("it is cordoned:\n%s", out)
	}
	want := []string{"--address=10.0.0.7", "--address=10.9.0.7", "--address=fd00::7", "--host=b.example", "--timeout=2m0s", "node-b"}
	if got := w.ran("fence-node"); len(got) != 1 || !slices.Equal(got[0], want) {
		t.Errorf("ran %q", got)
	}
	_, out, _ = w.run("fence", "node/node-b", "-o", "json")
	var f NodeFence
	if err := json.Unmarshal([]byte(out), &f); err != nil || f.Kind != "NodeFence" || f.Node != "node-b" || !f.Cordoned || len(f.Volumes) != 3 || !f.Volumes[0].Own ||
		f.Volumes[0].PVC != "data" || f.Volumes[2].Own || f.Clusters[0].ShutOut[0].FileSystem != "warm" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestFenceNodeThatIsNotCordoned(t *testing.T) {
	w := withTakenNode(t)
	object[*corev1.Node](w, "node-b").Spec.Unschedulable = false
	if _, out, _ := w.run("fence", "node/node-b"); !strings.Contains(out, "kubectl cordon node-b") {
		t.Error(out)
	}
}

func TestUnfenceNode(t *testing.T) {
	for _, args := range []string{"fence --undo node/node-b", "unfence node/node-b"} {
		w := withTakenNode(t)
		w.fence[0].ShutOut = nil
		code, out, stderr := w.run(strings.Fields(args)...)
		if code != ExitOK || stderr != "" || !strings.Contains(out, "let in again") || strings.Contains(out, "rotate") {
			t.Errorf("%s: exit code %d, %s\n%s", args, code, stderr, out)
		}
		if got := w.ran("fence-node"); len(got) != 1 || !slices.Contains(got[0], "--undo") {
			t.Errorf("%s: ran %q", args, got)
		}
	}
}

// TestFenceNodeThatIsGone: its addresses are named.
func TestFenceNodeThatIsGone(t *testing.T) {
	w := withTakenNode(t)
	if code, _, stderr := w.run("fence", "node/node-z", "--address=10.0.0.9"); code != ExitOK || stderr != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if got := w.ran("fence-node"); len(got) != 1 || !slices.Equal(got[0], []string{"--address=10.0.0.9", "--timeout=2m0s", "node-z"}) {
		t.Errorf("ran %q", got)
	}
}

func TestFenceNodeNotInEveryCluster(t *testing.T) {
	w := withTakenNode(t)
	w.fence = append(w.fence, inspect.ClusterFence{Cluster: "far", Error: "no user\nfor it"})
	code, out, _ := w.run("fence", "node/node-b")
	if code != ExitFound || !strings.Contains(out, "in far its addresses are not on the blocklist\nFAILED far: no user for it\n") {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

func TestNodesThatCantBeFenced(t *testing.T) {
	for args, want := range map[string]string{
		"fence node/":                              "one node at a time",
		"fence node/node-b pvc-data":               "one node at a time",
		"fence pvc-data --address=10.0.0.7":        "for node/NAME",
		"fence node/node-z":                        "--address",
		"fence node/node-b --address=10.0.0.6":     "node node-a has the address 10.0.0.6 too",
		"fence node/node-b --address=10.0.0.0/24":  "no IP address",
		"fence node/node-a":                        "it would shut itself out",
		"fence --undo node/node-b --address=there": "no IP address",
	} {
		w := withTakenNode(t)
		code, _, stderr := w.run(strings.Fields(args)...)
		if code != ExitNotSeen || !strings.Contains(stderr, want) || len(w.ran("fence-node"))+len(w.ran("fence")) != 0 {
			t.Errorf("%s: exit code %d, %s", args, code, stderr)
		}
	}
	w := withTakenNode(t)
	w.add(persistent("pvc-ambiguous", "warm:main:warm:k8s-a.node:x", "node/node-b", gib, "strata-warm", corev1.ReadWriteMany))
	if code, _, stderr := w.run("fence", "node/node-b"); code != ExitNotSeen || !strings.Contains(stderr, "pvc-ambiguous") || len(w.ran("fence-node")) != 0 {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	w = withTakenNode(t)
	object[*corev1.Node](w, "node-b").Status.Addresses = nil
	if code, _, stderr := w.run("fence", "node/node-b"); code != ExitNotSeen || !strings.Contains(stderr, "no IP address in its status") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}
