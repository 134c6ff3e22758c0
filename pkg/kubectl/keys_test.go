package kubectl

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/strata-csi/strata/pkg/inspect"
)

const dataID = "warm:main:warm:k8s-a.vision:pvc-data"

// withKeys has a volume with an identity of its own, one with a shared key, and a scratch volume.
func withKeys(t *testing.T) *world {
	w := newWorld(t)
	w.inventory.Identities = []inspect.Identity{withIdentity("pvc-data"), withIdentity("pvc-gone")}
	w.add(persistent("pvc-data", dataID, "vision/data", gib, "strata-warm", corev1.ReadWriteMany),
		persistent("pvc-shared", "warm:main:warm:k8s-a.vision:pvc-shared", "vision/shared", gib, "strata-warm", corev1.ReadWriteMany),
		persistent("pvc-local", "scratch:node-a:x", "vision/local", gib, "strata-scratch", corev1.ReadWriteOnce))
	w.keys = func(volume string) inspect.Keys {
		return inspect.Keys{Volume: volume, User: "client.strata.new", Former: []string{"client.strata.old"}, Retired: []string{}}
	}
	return w
}

// configured are the flags with which the controller was started that its programs need too.
var configured = []string{"--cluster-config=/etc/strata/other.yaml", "--namespace=strata"}

// ran are the arguments of the controller's programs that change keys, without its configuration.
func (w *world) ran(program string) (all [][]string) {
	w.t.Helper()
	for _, c := range w.commands {
		if i := slices.Index(c, program); i >= 0 {
			own := len(c) - len(configured)
			if !slices.Equal(c[own:], configured) {
				w.t.Errorf("ran %q", c)
			}
			all = append(all, c[i+1:own])
		}
	}
	return all
}

func TestRotateNamesVolumes(t *testing.T) {
	for _, name := range []string{"pvc-data", "vision/data", dataID} {
		w := withKeys(t)
		code, out, stderr := w.run("rotate", name)
		if code != ExitOK || stderr != "" || !strings.Contains(out, "strata.new") || !strings.Contains(out, "vision") {
			t.Errorf("%s: exit code %d, %s\n%s", name, code, stderr, out)
		}
		if got, want := w.ran("rotate"), [][]string{{"--timeout=2m0s", dataID}}; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: ran %q", name, got)
		}
	}
}

func TestKeysFlags(t *testing.T) {
	for _, tt := range []struct{ args, program, flags string }{
		{"rotate --retire pvc-data", "rotate", "--retire"},
		{"rotate --retire --force pvc-data", "rotate", "--retire --force"},
		{"fence pvc-data", "fence", ""},
		{"fence --undo pvc-data", "fence", "--undo"},
		{"unfence pvc-data", "fence", "--undo"},
		{"rotate pvc-data pvc-data vision/data", "rotate", ""},
	} {
		w := withKeys(t)
		if code, _, stderr := w.run(strings.Fields(tt.args)...); code != ExitOK || stderr != "" {
			t.Errorf("%s: exit code %d, %s", tt.args, code, stderr)
		}
		want := append(strings.Fields(tt.flags), "--timeout=2m0s", dataID)
		if got := w.ran(tt.program); len(got) != 1 || !slices.Equal(got[0], want) {
			t.Errorf("%s: ran %q", tt.args, got)
		}
	}
}

func TestRotateAll(t *testing.T) {
	w := withKeys(t)
	code, out, stderr := w.run("rotate", "--all")
	if code != ExitOK || stderr != "" || strings.Contains(out, "shared") {
		t.Errorf("exit code %d, %s\n%s", code, stderr, out)
	}
	if got := w.ran("rotate"); len(got) != 1 || !slices.Contains(got[0], dataID) || len(got[0]) != 2 {
		t.Errorf("ran %q", got)
	}
	w = withKeys(t)
	w.inventory.Identities = nil
	if code, out, _ := w.run("rotate", "--all"); code != ExitOK || !strings.Contains(out, "No volume") || len(w.ran("rotate")) != 0 {
		t.Errorf("exit code %d\n%s", code, out)
	}
	w = withKeys(t)
	w.inventory.Missed = []inspect.Missed{{Cluster: "far", Reason: "no answer"}}
	if code, _, stderr := w.run("rotate", "--all"); code != ExitNotSeen || !strings.Contains(stderr, "far") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestManyKeys: a command line is bounded.
func TestManyKeys(t *testing.T) {
	w := withKeys(t)
	for i := range 2*keysTogether + 1 {
		name := fmt.Sprintf("pvc-%d", i)
		w.inventory.Identities = append(w.inventory.Identities, withIdentity(name))
		w.add(persistent(name, "warm:main:warm:k8s-a.vision:"+name, "", gib, "strata-warm", corev1.ReadWriteMany))
	}
	if code, _, stderr := w.run("rotate", "--all"); code != ExitOK {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if got := w.ran("rotate"); len(got) != 3 {
		t.Errorf("ran it %d times", len(got))
	}
}

func TestFenceSaysWhatItDid(t *testing.T) {
	w := withKeys(t)
	w.keys = func(volume string) inspect.Keys {
		k := inspect.Keys{Volume: volume, Former: []string{}, Retired: []string{"client.a", "client.b"}, Fenced: true,
			ShutOut: []inspect.Client{{Address: "10.0.0.7:0/12", Host: "node-b", User: "a", Path: "/volumes/k8s-a.vision/pvc-data"}}}
		if strings.HasSuffix(volume, "shared") {
			k = inspect.Keys{Volume: volume, Former: []string{}, Retired: []string{}, Error: "the volume has no identity of its own"}
		}
		return k
	}
	code, out, stderr := w.run("fence", "pvc-data", "pvc-shared")
	if code != ExitFound || stderr != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	for _, want := range []string{"(fenced)", "shut out of pvc-data: 10.0.0.7:0/12, host node-b", "FAILED pvc-shared: the volume has no identity of its own"} {
		if !strings.Contains(out, want) {
			t.Errorf("without %q:\n%s", want, out)
		}
	}
	_, out, _ = w.run("fence", "pvc-data", "pvc-shared", "-o", "json")
	var list KeyList
	if err := json.Unmarshal([]byte(out), &list); err != nil || list.Kind != "KeyList" || len(list.Volumes) != 2 || list.Volumes[0].PVC != "data" ||
		list.Volumes[0].ShutOut[0].Host != "node-b" || list.Volumes[1].Error == "" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestKeysThatCantBe(t *testing.T) {
	for args, want := range map[string]string{
		"rotate":                  "--all",
		"rotate --all pvc-data":   "--all",
		"rotate --force pvc-data": "--retire",
		"rotate nobody":           "kubectl strata volumes -o wide",
		"rotate pvc-local":        "tier scratch",
		"fence":                   "takes volumes",
		"fence cold:a:b":          "tier cold",
	} {
		w := withKeys(t)
		code, _, stderr := w.run(strings.Fields(args)...)
		if code != ExitNotSeen || !strings.Contains(stderr, want) || len(w.ran("rotate"))+len(w.ran("fence")) != 0 {
			t.Errorf("%s: exit code %d, %s", args, code, stderr)
		}
	}
	w := withKeys(t)
	w.err = errors.New("the pod is gone")
	if code, _, stderr := w.run("fence", "pvc-data"); code != ExitNotSeen || !strings.Contains(stderr, "the pod is gone") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// TestOrphanWithTwoKeys: an identity that was rotated is removed with those before it.
func TestOrphanWithTwoKeys(t *testing.T) {
	w := leftBehind(t)
	w.inventory.Identities[2].Former = []string{"client.strata.k8s-a.former"}
	if _, out, _ := w.run("orphans"); !strings.Contains(out, "$ ceph auth rm client.strata.k8s-a.former") {
		t.Error(out)
	}
}
