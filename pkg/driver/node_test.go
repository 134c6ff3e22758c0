package driver

import (
	"strings"
	"testing"
)

func TestNodeOptions(t *testing.T) {
	good := NodeOptions{
		Common: Common{Endpoint: "unix:///run/strata/csi.sock", ClusterConfig: "/etc/strata/clusters.yaml"},
		NodeID: "n1", MountdSocket: "/run/strata/mountd.sock",
	}
	if err := good.Validate(); err != nil {
		t.Fatal(err)
	}
	cold := good
	cold.ClusterConfig, cold.Cold = "", true
	if err := cold.Validate(); err != nil {
		t.Errorf("tier cold alone: %v", err)
	}
	for flag, spoil := range map[string]func(*NodeOptions){
		"--node-id":          func(o *NodeOptions) { o.NodeID = "" },
		"--node-id: has":     func(o *NodeOptions) { o.NodeID = strings.Repeat("n", 257) },
		"--mountd-socket":    func(o *NodeOptions) { o.MountdSocket = "mountd.sock" },
		"--cold":             func(o *NodeOptions) { o.Cold, o.MountdSocket = true, "" },
		"--endpoint":         func(o *NodeOptions) { o.Endpoint = "tcp://0.0.0.0:1" },
		"--cluster-config":   func(o *NodeOptions) { o.ClusterConfig = "" },
		"--metrics-address":  func(o *NodeOptions) { o.MetricsAddress = ":9080" },
		"--registration-dir": func(o *NodeOptions) { o.RegistrationDir = "plugins_registry" },
		"--kubeconfig":       func(o *NodeOptions) { o.Kubeconfig, o.Namespace = "kubeconfig", "strata" },
		"--namespace":        func(o *NodeOptions) { o.Kubeconfig, o.Namespace = "in-cluster", "" },
	} {
		o := good
		spoil(&o)
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: got %v", flag, err)
		}
	}
}
