// Package examples holds what stands in examples/ and deploy/ to what the driver accepts.
package examples

import (
	"bytes"
	"os"
	"path/filepath"
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
	Provisioner string            `json:"provisioner"`
	Driver      string            `json:"driver"`
	Parameters  map[string]string `json:"parameters"`
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

func TestStorageClassesAreAccepted(t *testing.T) {
	backend := warm.New(warm.Options{Clusters: clusters.Static(clusters.Cluster{ID: "main", Monitors: []string{"10.0.0.1:3300"}, NamePrefix: "k8s-a"})})
	files, err := filepath.Glob("../../examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	classes := 0
	for _, file := range files {
		for _, o := range objects(t, file) {
			switch o.Kind {
			case "StorageClass":
				classes++
				own := map[string]string{}
				for k, v := range o.Parameters {
					if !strings.HasPrefix(k, "csi.storage.k8s.io/") {
						own[k] = v
					}
				}
				if err := backend.CheckParameters(own); err != nil {
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
	if classes == 0 {
		t.Error("no StorageClass was checked")
	}
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
