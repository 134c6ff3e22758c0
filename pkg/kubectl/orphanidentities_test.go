package kubectl

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/strata-csi/strata/pkg/inspect"
)

// withIdentity is the identity that the controller sees for a volume.
func withIdentity(name string) inspect.Identity {
	return inspect.Identity{User: "client.strata.k8s-a.volume.vision.warm." + name, Volume: "warm:main:warm:k8s-a.vision:" + name, Secret: name,
		Cluster: "main", FileSystem: "warm", Directory: "/strata/k8s-a/identities/volume/k8s-a.vision/" + name, Changed: ptr(now.Add(-48 * time.Hour))}
}

func keySecret(name, id string) *corev1.Secret {
	m := inNamespace(name)
	m.UID = types.UID("uid-of-" + name)
	m.Labels, m.Annotations = map[string]string{identityLabel: "true"}, map[string]string{identityAnnotation: id}
	return &corev1.Secret{ObjectMeta: m, Data: map[string][]byte{"userKey": []byte("AQsentinel==")}}
}

// leftBehind has an identity and a Secret in use, and some that nobody has.
func leftBehind(t *testing.T) *world {
	w := newWorld(t)
	data, husk := held("vision", "pvc-data", gib, 0), held("vision", "pvc-husk", gib, 0)
	husk.State, husk.Used = inspect.Retained, nil
	w.inventory.Volumes = append(w.inventory.Volumes, data, husk)
	w.inventory.Snapshots = []inspect.Snapshot{{ID: "warm:main:warm:k8s-a.vision:pvc-husk:kept", Cluster: "main", FileSystem: "warm", Group: "k8s-a.vision", Volume: "pvc-husk",
		Name: "kept", State: inspect.Ready, Created: ptr(now.Add(-48 * time.Hour)), Readers: []string{}}}
	w.snapshots = append(w.snapshots, content("c-kept", w.inventory.Snapshots[0].ID))
	young := withIdentity("pvc-young")
	young.Changed = ptr(now.Add(-time.Minute))
	w.inventory.Identities = []inspect.Identity{withIdentity("pvc-data"), withIdentity("pvc-husk"), withIdentity("pvc-gone"), young}
	w.add(persistent("pvc-data", data.ID, "vision/data", gib, "strata-warm", corev1.ReadWriteMany),
		keySecret("pvc-data", data.ID), keySecret("pvc-gone", "warm:main:warm:k8s-a.vision:pvc-gone"), keySecret("pvc-alone", "warm:main:warm:k8s-a.vision:pvc-alone"),
		keySecret("pvc-far", "warm:elsewhere:warm:k8s-a.vision:pvc-far"))
	return w
}

func TestIdentitiesNobodyHas(t *testing.T) {
	w := leftBehind(t)
	code, out, stderr := w.run("orphans")
	if code != ExitFound || stderr != "" {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	for _, want := range []string{"identity client.strata.k8s-a.volume.vision.warm.pvc-gone", "identity client.strata.k8s-a.volume.vision.warm.pvc-husk", "secret pvc-alone",
		"$ ceph auth rm client.strata.k8s-a.volume.vision.warm.pvc-gone", "$ kubectl -n strata delete secret pvc-gone --ignore-not-found",
		"$ rmdir MOUNT/strata/k8s-a/identities/volume/k8s-a.vision/pvc-gone", "Nothing was removed", "3 of them hold no data", "1 more changed within"} {
		if !strings.Contains(out, want) {
			t.Errorf("without %q:\n%s", want, out)
		}
	}
	for _, mustNot := range []string{"pvc-data", "pvc-far", "AQsentinel", "secret pvc-gone ("} {
		if strings.Contains(out, mustNot) {
			t.Errorf("with %q:\n%s", mustNot, out)
		}
	}
	if slices.ContainsFunc(w.commands, func(c []string) bool { return slices.Contains(c, "revoke") }) {
		t.Error("it removed without being told")
	}
}

func TestRemoveIdentities(t *testing.T) {
	w := leftBehind(t)
	code, out, stderr := w.run("orphans", "--remove-identities")
	if code != ExitFound || stderr != "" || !strings.Contains(out, "3 of them removed.") || strings.Contains(out, "ceph auth rm") {
		t.Errorf("exit code %d, %s\n%s", code, stderr, out)
	}
	var revoked []string
	for _, c := range w.commands {
		if i := slices.Index(c, "revoke"); i >= 0 {
			revoked = append(revoked, c[i+1])
			if !slices.Contains(c, "--cluster-config=/etc/strata/other.yaml") {
				t.Errorf("ran %q", c)
			}
		}
	}
	slices.Sort(revoked)
	if want := []string{"warm:main:warm:k8s-a.vision:pvc-gone", "warm:main:warm:k8s-a.vision:pvc-husk"}; !slices.Equal(revoked, want) {
		t.Errorf("revoked %q", revoked)
	}
}

func TestIdentityThatStays(t *testing.T) {
	w := leftBehind(t)
	w.revokeErr = errors.New("the volume is there")
	code, out, _ := w.run("orphans", "--remove-identities")
	if code != ExitNotSeen || !strings.Contains(out, "1 of them removed.") { // the Secret that is alone
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// TestSecretsThatCantBeListed: an operator may see volumes and no Secrets.
func TestSecretsThatCantBeListed(t *testing.T) {
	w := leftBehind(t)
	w.forbid = "secrets"
	code, out, stderr := w.run("orphans")
	if code != ExitFound || !strings.Contains(stderr, "Secrets of volumes aren't compared") || strings.Contains(out, "secret pvc-alone") ||
		!strings.Contains(out, "identity client.strata.k8s-a.volume.vision.warm.pvc-gone") {
		t.Errorf("exit code %d, %s\n%s", code, stderr, out)
	}
}
