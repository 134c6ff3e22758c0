package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/strata-csi/strata/hack/chart/render"
)

const someScratch = "tiers: {warm: {enabled: false}, scratch: {enabled: true, config: {pools: [{name: p, disks: [{path: /mnt/a}]}], classes: [{name: default, pool: p}]}}}\n"

// warmClasses are values of tier warm with one class, up to the two braces that close them.
func warmClasses(class string) string {
	return "tiers: {warm: {clusters: [{clusterID: a, monitors: ['10.0.0.1:3300'], namePrefix: k, controller: {user: u, secretName: s}}], storageClasses: [" + class + "]"
}

// Values that can't be meant are refused, and the refusal names them.
func TestMistakesAreRefused(t *testing.T) {
	for _, c := range []struct{ values, want string }{
		{"tier: {}", "'tier' not allowed"},
		{"tiers: {warm: {enabeld: true}}", "'enabeld' not allowed"},
		{"tiers: {lukewarm: {enabled: true}}", "'lukewarm' not allowed"},
		{"tiers: {cold: {storageClasses: [{name: c, secret: {name: s}}]}}", "'parameters'"},
		{"tiers: {cold: {storageClasses: [{name: c, secret: {name: s}, parameters: {bucket: b}}]}}", "'endpoint'"},
		{"tiers: {cold: {storageClasses: [{name: c, secret: {name: s}, parameters: {endpoint: s3.example.com, bucket: b}}]}}", "/tiers/cold/storageClasses/0/parameters/endpoint"},
		{"tiers: {cold: {storageClasses: [{name: c, parameters: {endpoint: 'https://s3', bucket: b}}]}}", "'secret'"},
		{"tiers: {cold: {storageClasses: [{name: c, secret: {name: s}, parameters: {endpoint: 'https://s3', bucket: b, uid: 5}}]}}", "/tiers/cold/storageClasses/0/parameters/uid"},
		{"tiers: {cold: {cache: {size: 100}}}", "/tiers/cold/cache/size"},
		{"tiers: {cold: {uid: 0}}", "/tiers/cold/uid"},
		{"tiers: {warm: {enabled: false}, cold: {enabled: true, cache: {dir: /var/lib/kubelet/cache}}}", "tiers.cold.cache.dir: /var/lib/kubelet/cache is, lies in, or holds /var/lib/kubelet"},
		{"tiers: {warm: {clusters: [{clusterID: a, monitors: ['10.0.0.1:3300'], namePrefix: k, controler: {}}]}}", "'controler' not allowed"},
		{"tiers: {warm: {clusters: [{clusterID: a, monitors: ['ceph.example.com:3300'], namePrefix: k, controller: {user: u, secretName: s}}]}}", "/tiers/warm/clusters/0/monitors/0"},
		{"tiers: {warm: {clusters: [{clusterID: a, monitors: ['10.0.0.1:3300'], namePrefix: k, controller: {user: client.u, secretName: s}}]}}", "/tiers/warm/clusters/0/controller/user"},
		{"tiers: {warm: {clusters: []}}", "tiers.warm.clusters: is empty"},
		{"tiers: {warm: {enabled: false}}", "tiers: none is enabled"},
		{"tiers: {warm: {enabled: false}, scratch: {enabled: true}}", "tiers.scratch.config: is empty"},
		{"tiers: {scratch: {config: {pools: [{name: p, disks: [{path: /a, volumeGroup: b}]}]}}}", "/tiers/scratch/config/pools/0/disks/0"},
		{"tiers: {scratch: {config: {clases: []}}}", "'clases' not allowed"},
		{"tiers: {scratch: {groups: [{name: default}]}}", "/tiers/scratch/groups/0/name"},
		{someScratch + "node: {stateDir: /mnt/a/state}", "/mnt/a is, lies in, or holds /mnt/a/state"},
		{someScratch + "node: {kubeletDir: /mnt}", "/mnt/a is, lies in, or holds /mnt"},
		{"images: {node: {repository: r, tag: latest}}", "/images/node/tag"},
		{"images: {node: {repository: r, digest: 'md5:12'}}", "/images/node/digest"},
		{"logging: {format: yaml}", "/logging/format"},
		{"controller: {replicas: 0}", "/controller/replicas"},
		{"controller: {maxUnavailable: most}", "/controller/maxUnavailable"},
		{"node: {kubeletDir: var/lib/kubelet}", "/node/kubeletDir"},
		{"tracing: {endpoint: 'collector'}", "/tracing/endpoint"},
		{"tracing: {samplingRate: 2}", "/tracing/samplingRate"},
		{"csiDriver: {fsGroupPolicy: Always}", "/csiDriver/fsGroupPolicy"},
		{"tiers: {warm: {storageClasses: [{name: a, parameters: {tier: scratch}}]}}", "/tiers/warm/storageClasses/0/parameters"},
		{warmClasses("{name: a}") + "}}", "StorageClass a: nodes have nothing to mount with"},
		{warmClasses("{name: a, parameters: {identity: volume}, secret: {name: s}}") + "}}", "StorageClass a: with identity: volume the controller makes the Secret"},
		{warmClasses("{name: a, parameters: {identity: volume}}") + ", volumeIdentities: false}}", "needs tiers.warm.volumeIdentities: true"},
		{coldClass("parameters: {endpoint: 'http://s3', bucket: b, identity: volume}, secret: {name: s}"), "roleARN"},
		{coldClass("parameters: {endpoint: 'http://s3', bucket: b, identity: node}, secret: {name: s}"), "/tiers/cold/storageClasses/0/parameters"},
		{coldClass("parameters: {endpoint: 'http://s3', bucket: b, identity: volume, roleARN: 'arn:aws:iam:::role/r'}, secret: {name: s}, controllerSecret: {name: c}"),
			"StorageClass a: with identity: volume nodes get a Secret of each volume"},
		// Numbers would be rendered as helm writes them: 1e+06.
		{"tiers: {warm: {storageClasses: [{name: a, parameters: {maxFiles: 1000000}}]}}", "/tiers/warm/storageClasses/0/parameters/maxFiles"},
		{"tiers: {scratch: {config: {maxPerPod: 1073741824}}}", "/tiers/scratch/config/maxPerPod"},
	} {
		file := filepath.Join(t.TempDir(), "values.yaml")
		if err := os.WriteFile(file, []byte(c.values+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := render.Files(options(file))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n got %v\nwant %s", c.values, err, c.want)
		}
	}
}

func coldClass(class string) string {
	return "tiers: {cold: {enabled: true, storageClasses: [{name: a, " + class + "}]}}"
}

func TestAnOlderKubernetesIsRefused(t *testing.T) {
	o := options(values("warm"))
	o.KubeVersion = "v1.29.9"
	if _, err := render.Files(o); err == nil || !strings.Contains(err.Error(), "1.30") {
		t.Errorf("Kubernetes 1.29: %v", err)
	}
}

// Every key of values.yaml has a comment, its own or that of what holds it, and is known to the schema as closed.
func TestSchemaIsStrictAndComplete(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(read(t, filepath.Join(root, "deploy", "strata", "values.schema.json")), &schema); err != nil {
		t.Fatal(err)
	}
	var values map[string]any
	if err := yaml.UnmarshalStrict(read(t, filepath.Join(root, "deploy", "strata", "values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	definitions := schema["$defs"].(map[string]any)
	// Objects of Kubernetes, and maps whose keys are the operator's.
	free := []string{"global", "requests", "limits", "affinity", "metricsFrom", "valueFrom", "stringMap", "parameters", "defaults"}
	var walk func(path string, s map[string]any)
	walk = func(path string, s map[string]any) {
		if s["type"] == "object" && !slices.Contains(free, filepath.Base(path)) {
			if s["additionalProperties"] != false {
				t.Errorf("%s: takes any key", path)
			}
		}
		properties, _ := s["properties"].(map[string]any)
		for name, p := range properties {
			if p, ok := p.(map[string]any); ok { // else false: not allowed
				walk(path+"/"+name, p)
			}
		}
		if items, ok := s["items"].(map[string]any); ok {
			walk(path, items)
		}
	}
	walk("", schema)
	for name, d := range definitions {
		walk("$defs/"+name, d.(map[string]any))
	}
	var compare func(path string, v, s map[string]any)
	compare = func(path string, v, s map[string]any) {
		if ref, ok := s["$ref"].(string); ok {
			s = definitions[filepath.Base(ref)].(map[string]any)
		}
		properties, _ := s["properties"].(map[string]any)
		for name, value := range v {
			p, known := properties[name].(map[string]any)
			if !known && s["additionalProperties"] == false {
				t.Errorf("%s/%s of values.yaml isn't in the schema", path, name)
			}
			if inner, ok := value.(map[string]any); ok && known {
				compare(path+"/"+name, inner, p)
			}
		}
		if path == "" || s["additionalProperties"] == false && !strings.HasPrefix(path, "/tiers/scratch/config") {
			for name := range properties {
				if _, ok := v[name]; !ok && name != "global" {
					t.Errorf("%s/%s of the schema isn't in values.yaml", path, name)
				}
			}
		}
	}
	compare("", values, schema)
}
