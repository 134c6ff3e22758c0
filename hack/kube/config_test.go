package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestConfigurationsParse(t *testing.T) {
	l := Layout{Root: "/src", Dir: filepath.Join(t.TempDir(), "cluster")}
	if err := writeConfigs(l); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		var kubelet struct{ Kind, Address, CgroupRoot string }
		readYAML(t, l.node(n, "kubelet.yaml"), &kubelet)
		if kubelet.Kind != "KubeletConfiguration" || kubelet.Address != n.Address || kubelet.CgroupRoot != l.cgroup()+"/"+n.Name {
			t.Errorf("%s: %+v", n.Name, kubelet)
		}
		text, err := os.ReadFile(l.node(n, "cni", "10-strata-pods.conflist"))
		if err != nil {
			t.Fatal(err)
		}
		var cni struct {
			Plugins []struct{ Type, Bridge string }
		}
		if err := json.Unmarshal(text, &cni); err != nil {
			t.Fatal(err)
		}
		if len(cni.Plugins) == 0 || cni.Plugins[0].Bridge != n.Bridge {
			t.Errorf("%s: %+v", n.Name, cni)
		}
	}
	var proxy struct{ Kind string }
	readYAML(t, l.path("kube-proxy.yaml"), &proxy)
	if proxy.Kind != "KubeProxyConfiguration" {
		t.Errorf("%+v", proxy)
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// A daemon is found by its command line: that of another daemon or another cluster must differ.
func TestCommandLinesAreUnique(t *testing.T) {
	var seen [][]string
	for _, dir := range []string{"/tmp/one", "/tmp/two"} {
		for _, d := range daemons(Layout{Root: "/src", Dir: dir}) {
			line := d.commandLine()
			if slices.ContainsFunc(seen, func(s []string) bool { return slices.Equal(s, line) }) {
				t.Errorf("%s: %q is another's, too", d.Name, line)
			}
			seen = append(seen, line)
		}
	}
}
