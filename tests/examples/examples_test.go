// Package examples holds what stands in examples/, deploy/ and README.md to what the driver accepts.
package examples

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/identity"
	"github.com/strata-csi/strata/pkg/warm"
)

// object is what these tests look at of a Kubernetes object.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Provisioner       string            `json:"provisioner"`
	Driver            string            `json:"driver"`
	VolumeBindingMode string            `json:"volumeBindingMode"`
	Parameters        map[string]string `json:"parameters"`
	// Spec is that of a claim or of a pod: no field of one means something else in the other.
	Spec struct {
		claim
		Volumes []podVolume `json:"volumes"`
	} `json:"spec"`
}

// claim is the specification of a PersistentVolumeClaim.
type claim struct {
	AccessModes      []string `json:"accessModes"`
	VolumeMode       string   `json:"volumeMode"`
	StorageClassName string   `json:"storageClassName"`
	Resources        struct {
		Requests struct {
			Storage string `json:"storage"`
		} `json:"requests"`
	} `json:"resources"`
}

// podVolume is an entry of a pod's volumes.
type podVolume struct {
	Name string `json:"name"`
	CSI  *struct {
		Driver           string            `json:"driver"`
		FSType           string            `json:"fsType"`
		ReadOnly         bool              `json:"readOnly"`
		VolumeAttributes map[string]string `json:"volumeAttributes"`
	} `json:"csi"`
	Ephemeral *struct {
		VolumeClaimTemplate struct {
			Spec claim `json:"spec"`
		} `json:"volumeClaimTemplate"`
	} `json:"ephemeral"`
}

func objects(t *testing.T, path string) []object {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []object
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var o object
		if err := yaml.Unmarshal(document, &o); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		out = append(out, o)
	}
	return out
}

// all returns the objects of each example.
func all(t *testing.T) map[string][]object {
	t.Helper()
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	out := map[string][]object{}
	for _, file := range files {
		out[file] = objects(t, file)
	}
	return out
}

// own is what the driver gets of a StorageClass' parameters: external-provisioner keeps Kubernetes' own.
func own(parameters map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range parameters {
		if !strings.HasPrefix(k, "csi.storage.k8s.io/") {
			out[k] = v
		}
	}
	return out
}

func TestStorageClassesAreAccepted(t *testing.T) {
	backends := map[string]interface{ CheckParameters(map[string]string) error }{
		"warm":    warm.New(warm.Options{Clusters: clusters.Static(clusters.Cluster{ID: "main", Monitors: []string{"10.0.0.1:3300"}, NamePrefix: "k8s-a"})}),
		"scratch": scratchController(),
	}
	seen := map[string]bool{}
	for file, all := range all(t) {
		for _, o := range all {
			switch o.Kind {
			case "StorageClass":
				tier := o.Parameters["tier"]
				backend, ok := backends[tier]
				if !ok {
					t.Errorf("%s: StorageClass %s is of tier %q", file, o.Metadata.Name, tier)
					continue
				}
				seen[tier] = true
				if err := backend.CheckParameters(own(o.Parameters)); err != nil {
					t.Errorf("%s: StorageClass %s: %v", file, o.Metadata.Name, err)
				}
				if o.Provisioner != identity.DriverName {
					t.Errorf("%s: StorageClass %s is of provisioner %q", file, o.Metadata.Name, o.Provisioner)
				}
			case "VolumeSnapshotClass":
				if o.Driver != identity.DriverName {
					t.Errorf("%s: VolumeSnapshotClass %s is of driver %q", file, o.Metadata.Name, o.Driver)
				}
			case "":
				t.Errorf("%s: a document without a kind", file)
			}
		}
	}
	if len(seen) != len(backends) {
		t.Errorf("only StorageClasses of the tiers %v were checked", seen)
	}
}

// An example applies as it stands: what it refers to is in it.
func TestClaimsNameAClassOfTheirFile(t *testing.T) {
	for file, all := range all(t) {
		var classes []string
		for _, o := range all {
			if o.Kind == "StorageClass" {
				classes = append(classes, o.Metadata.Name)
			}
		}
		for what, c := range claims(all) {
			if !slices.Contains(classes, c.StorageClassName) {
				t.Errorf("%s: %s is of StorageClass %q, and the file has %v", file, what, c.StorageClassName, classes)
			}
		}
	}
}

// claims returns those of PersistentVolumeClaims and of generic ephemeral volumes.
func claims(all []object) map[string]claim {
	out := map[string]claim{}
	for _, o := range all {
		if o.Kind == "PersistentVolumeClaim" {
			out["claim "+o.Metadata.Name] = o.Spec.claim
		}
		for _, v := range o.Spec.Volumes {
			if v.Ephemeral != nil {
				out["volume "+v.Name+" of pod "+o.Metadata.Name] = v.Ephemeral.VolumeClaimTemplate.Spec
			}
		}
	}
	return out
}

func TestClusterConfigurationsAreAccepted(t *testing.T) {
	key := filepath.Join(t.TempDir(), "keyring")
	if err := os.WriteFile(key, []byte("[client.strata-controller]\n\tkey = AQAAAAAAAAAAABAAbm90IGEgcmVhbCBrZXkhIQ==\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, controller := range map[string]bool{"clusters-controller.yaml": true, "clusters-node.yaml": false} {
		text, err := os.ReadFile(filepath.Join("../../deploy", file))
		if err != nil {
			t.Fatal(err)
		}
		// The key is where an operator puts it; here it is elsewhere.
		text = bytes.ReplaceAll(text, []byte("/etc/strata/ceph.client.strata-controller.keyring"), []byte(key))
		path := filepath.Join(t.TempDir(), file)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := clusters.Load(clusters.Options{Path: path, Controller: controller, Validate: warm.CheckCluster}); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}
