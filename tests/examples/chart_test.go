package examples

// What deploy/manifests gives the programs to read is what they accept, and every object of examples/ and deploy/ has only fields that there are.

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer/json"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/warm"
)

func TestTheChartsConfigurationIsAccepted(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key := write("keyring", "[client.strata-controller]\n\tkey = AQAAAAAAAAAAABAAbm90IGEgcmVhbCBrZXkhIQ==\n")
	seen := map[string]bool{}
	for _, o := range chart(t, "config.yaml") {
		for name, text := range o.Data {
			seen[o.Metadata.Name+"/"+name] = true
			var err error
			switch o.Metadata.Name + "/" + name {
			case "strata-clusters/node.yaml":
				_, err = clusters.Load(clusters.Options{Path: write(name, text)})
			case "strata-clusters/controller.yaml":
				text = strings.ReplaceAll(text, "/etc/strata-credentials/main/keyring", key)
				_, err = clusters.Load(clusters.Options{Path: write(name, text), Controller: true, Validate: warm.CheckCluster})
			case "strata-scratch/scratch.yaml":
				_, err = config.Load(write(name, text))
			default:
				t.Errorf("ConfigMap %s has %s", o.Metadata.Name, name)
			}
			if err != nil {
				t.Errorf("ConfigMap %s, %s: %v", o.Metadata.Name, name, err)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("only %v was read", seen)
	}
}

func TestObjectsHaveNoUnknownField(t *testing.T) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, snapshotv1.AddToScheme} {
		if err := add(s); err != nil {
			t.Fatal(err)
		}
	}
	strict := json.NewSerializerWithOptions(json.DefaultMetaFactory, s, s, json.SerializerOptions{Yaml: true, Strict: true})
	decoded := 0
	for _, pattern := range []string{"../../examples/*.yaml", "../../deploy/manifests/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for i, document := range bytes.Split(text, []byte("\n---\n")) {
				if _, _, err := strict.Decode(document, nil, nil); err != nil {
					t.Errorf("%s, document %d: %v", file, i, err)
				}
				decoded++
			}
		}
	}
	if decoded < 40 {
		t.Errorf("only %d objects were decoded", decoded)
	}
}
