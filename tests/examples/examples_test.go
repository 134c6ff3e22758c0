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
	"github.com/strata-csi/strata/pkg/cold"
	"github.com/strata-csi/strata/pkg/identity"
	"github.com/strata-csi/strata/pkg/kube"
	"github.com/strata-csi/strata/pkg/warm"
)

// object is what these tests look at of a Kubernetes object.
type object struct {
	Kind     string `json:"kind"`
	Metadata struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Provisioner       string            `json:"provisioner"`
	Driver            string            `json:"driver"`
	VolumeBindingMode string            `json:"volumeBindingMode"`
	Parameters        map[string]string `json:"parameters"`
	// Spec is that of a claim or of a pod: no field of one means something else in the other.
	Spec struct {
		claim
		podSpec
		Source struct {
			Claim string `json:"persistentVolumeClaimName"`
		} `json:"source"`
		SnapshotClass string   `json:"volumeSnapshotClassName"`
		MountOptions  []string `json:"mountOptions"`
		// CSI is that of a PersistentVolume.
		CSI struct {
			Driver        string            `json:"driver"`
			Handle        string            `json:"volumeHandle"`
			Attributes    map[string]string `json:"volumeAttributes"`
			StageSecret   reference         `json:"nodeStageSecretRef"`
			PublishSecret reference         `json:"nodePublishSecretRef"`
		} `json:"csi"`
		VolumeClaimTemplates []struct {
			Metadata struct {
				Name string `json:"name"`
			} `json:"metadata"`
			Spec claim `json:"spec"`
		} `json:"volumeClaimTemplates"`
		Template struct {
			Spec podSpec `json:"spec"`
		} `json:"template"`
	} `json:"spec"`
	Data map[string]string `json:"data"`
	Text map[string]string `json:"stringData"` // of a Secret
}

// volumes are those of a pod, or of the pods that the object makes.
func (o object) volumes() []podVolume {
	return slices.Concat(o.Spec.Volumes, o.Spec.Template.Spec.Volumes)
}

// reference names a Secret.
type reference struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
}

// podSpec is the specification of a pod.
type podSpec struct {
	Volumes    []podVolume `json:"volumes"`
	Containers []struct {
		Image string `json:"image"`
	} `json:"containers"`
}

// claim is the specification of a PersistentVolumeClaim.
type claim struct {
	AccessModes      []string `json:"accessModes"`
	VolumeMode       string   `json:"volumeMode"`
	StorageClassName string   `json:"storageClassName"`
	VolumeName       string   `json:"volumeName"`
	Resources        struct {
		Requests struct {
			Storage string `json:"storage"`
		} `json:"requests"`
	} `json:"resources"`
	DataSource *struct {
		Kind string `json:"kind"`
		Name string `json:"name"`
	} `json:"dataSource"`
}

// podVolume is an entry of a pod's volumes.
type podVolume struct {
	Name  string `json:"name"`
	Claim *struct {
		Name string `json:"claimName"`
	} `json:"persistentVolumeClaim"`
	CSI *struct {
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

// chart is what deploy/manifests has: the chart's own classes among it.
func chart(t *testing.T, file string) []object {
	t.Helper()
	return objects(t, filepath.Join("../../deploy/manifests", file))
}

// kubeconfig is one of a server that isn't there.
func kubeconfig(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := `{"apiVersion":"v1","kind":"Config","clusters":[{"name":"c","cluster":{"server":"http://127.0.0.1:1"}}],"contexts":[{"name":"c","context":{"cluster":"c"}}],"current-context":"c"}`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestStorageClassesAreAccepted(t *testing.T) {
	client, err := kube.ConnectController(kubeconfig(t), "test") // nothing is asked
	if err != nil {
		t.Fatal(err)
	}
	backends := map[string]interface{ CheckParameters(map[string]string) error }{
		"warm": warm.New(warm.Options{Clusters: clusters.Static(clusters.Cluster{ID: "main", Monitors: []string{"10.0.0.1:3300"}, NamePrefix: "k8s-a"}),
			Keeper: kube.NewSecrets(client, "strata")}),
		"cold":    cold.New(cold.Options{}),
		"scratch": scratchController(),
	}
	seen := map[string]bool{}
	files := all(t)
	files["storageclasses.yaml"], files["volumesnapshotclasses.yaml"] = chart(t, "storageclasses.yaml"), chart(t, "volumesnapshotclasses.yaml")
	for file, all := range files {
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

// An example applies as it stands: what it refers to is in it, in the chart, or in the example that its first lines say to apply first.
func TestExamplesReferToWhatIsThere(t *testing.T) {
	files := all(t)
	for file, objects := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		there := slices.Concat(objects, chart(t, "storageclasses.yaml"), chart(t, "volumesnapshotclasses.yaml"))
		for other, all := range files {
			if strings.Contains(string(text), "Apply "+filepath.Base(other)+" first") {
				there = append(there, all...)
			}
		}
		has := func(kind, name string) bool {
			return slices.ContainsFunc(there, func(o object) bool { return o.Kind == kind && o.Metadata.Name == name })
		}
		for what, c := range claims(objects) {
			// A claim that names its volume is of no class.
			if c.VolumeName != "" && c.StorageClassName == "" {
				if !has("PersistentVolume", c.VolumeName) {
					t.Errorf("%s: %s is of volume %q", file, what, c.VolumeName)
				}
				continue
			}
			if !has("StorageClass", c.StorageClassName) {
				t.Errorf("%s: %s is of StorageClass %q", file, what, c.StorageClassName)
			}
			if c.DataSource != nil && !has(c.DataSource.Kind, c.DataSource.Name) {
				t.Errorf("%s: %s comes from %s %q", file, what, c.DataSource.Kind, c.DataSource.Name)
			}
		}
		for _, o := range objects {
			if o.Kind == "VolumeSnapshot" && (!has("PersistentVolumeClaim", o.Spec.Source.Claim) || !has("VolumeSnapshotClass", o.Spec.SnapshotClass)) {
				t.Errorf("%s: VolumeSnapshot %s is of claim %q and class %q", file, o.Metadata.Name, o.Spec.Source.Claim, o.Spec.SnapshotClass)
			}
			for _, v := range o.volumes() {
				// The old volume of a migration is the reader's.
				if v.Claim != nil && !has("PersistentVolumeClaim", v.Claim.Name) && v.Claim.Name != "old-data" {
					t.Errorf("%s: %s mounts claim %q", file, o.Metadata.Name, v.Claim.Name)
				}
			}
		}
	}
}

// Names are those of one namespace: two examples don't get into each other's way.
func TestExamplesShareNoName(t *testing.T) {
	seen := map[string]string{}
	for file, objects := range all(t) {
		for _, o := range objects {
			key := o.Kind + " " + o.Metadata.Name
			if other, twice := seen[key]; twice {
				t.Errorf("%s is in %s and in %s", key, file, other)
			}
			seen[key] = file
		}
	}
}

// The tier of every example is one that there is, and everything that the driver does has one.
func TestEveryUseHasAnExample(t *testing.T) {
	uses := map[string]bool{"shared": false, "inline": false, "generic ephemeral": false, "snapshot": false, "restore": false, "clone": false, "set": false, "both tiers": false, "all tiers": false, "a bucket that is there": false}
	for _, objects := range all(t) {
		mounted := map[string]int{}
		tiers := map[string]bool{}
		for what, c := range claims(objects) {
			tiers[strings.TrimSuffix(c.StorageClassName, "-fast")] = true
			if strings.HasPrefix(what, "volume ") {
				uses["generic ephemeral"] = true
			}
			if d := c.DataSource; d != nil && d.Kind == "VolumeSnapshot" {
				uses["restore"] = true
			} else if d != nil {
				uses["clone"] = true
			}
		}
		for _, o := range objects {
			if o.Kind == "VolumeSnapshot" {
				uses["snapshot"] = true
			}
			if o.Kind == "StatefulSet" {
				uses["set"] = true
			}
			for _, v := range o.volumes() {
				if v.CSI != nil {
					uses["inline"] = true
				}
				if v.Claim != nil {
					mounted[v.Claim.Name]++
				}
			}
			if o.Kind == "Job" && tiers["strata-warm"] && tiers["strata-scratch"] {
				uses["both tiers"] = true
				uses["all tiers"] = uses["all tiers"] || tiers["strata-cold"]
			}
			uses["a bucket that is there"] = uses["a bucket that is there"] || o.Kind == "PersistentVolume" && o.Spec.CSI.Handle != ""
		}
		for _, n := range mounted {
			uses["shared"] = uses["shared"] || n > 1
		}
	}
	for use, has := range uses {
		if !has {
			t.Errorf("no example of: %s", use)
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
		for _, v := range o.volumes() {
			if v.Ephemeral != nil {
				out["volume "+v.Name+" of pod "+o.Metadata.Name] = v.Ephemeral.VolumeClaimTemplate.Spec
			}
		}
		for _, v := range o.Spec.VolumeClaimTemplates {
			out["claim "+v.Metadata.Name+" of set "+o.Metadata.Name] = v.Spec
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
