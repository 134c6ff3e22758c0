package main

// Configuration files of the daemons that don't take everything by flags.

import "fmt"

// The kubelet sets these for the whole machine, namespaces or not. It leaves alone what has the value it wants, so a node
// sees files with them (k8s.io/kubernetes/pkg/kubelet/cm/container_manager_linux.go, setupKernelTunables).
var kubeletSysctls = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// Paths inside a node, where each has its own.
const (
	containerdSocket = "/run/containerd/containerd.sock"
	kubeletDir       = "/var/lib/kubelet"
	containerdDir    = "/var/lib/containerd"
	podLogs          = "/var/log/pods"
)

// pauseImage is the container that holds a pod's namespaces.
const pauseImage = "registry.k8s.io/pause:3.10.1"

// writeConfigs writes all of them.
func writeConfigs(l Layout) error {
	for _, n := range nodes {
		for name, text := range map[string]string{
			"containerd.toml":             containerdConfig(l, n),
			"kubelet.yaml":                kubeletConfig(l, n),
			"cni/10-strata-pods.conflist": cniConfig(n),
		} {
			if err := writeFile(l.node(n, name), []byte(text), 0o644); err != nil {
				return err
			}
		}
		for name, value := range kubeletSysctls {
			if err := writeFile(l.node(n, "sysctl", name), []byte(value+"\n"), 0o644); err != nil {
				return err
			}
		}
	}
	return writeFile(l.path("kube-proxy.yaml"), []byte(proxyConfig(l)), 0o644)
}

// containerdConfig is for Debian's containerd 1.6. Without CAP_SYS_RESOURCE nobody may lower an OOM score, and a kernel
// without the hugetlb controller is no reason to fail.
func containerdConfig(l Layout, n Node) string {
	return fmt.Sprintf(`version = 2
root = %[1]q
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.internal.v1.opt",
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp",
  "io.containerd.internal.v1.tracing",
]

[grpc]
  address = %[2]q

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = %[3]q
  stream_server_address = %[4]q
  disable_apparmor = true
  restrict_oom_score_adj = true
  tolerate_missing_hugetlb_controller = true

[plugins."io.containerd.grpc.v1.cri".containerd]
  snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
  SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = %[5]q
`, containerdDir, containerdSocket, pauseImage, n.Address, l.node(n, "cni"))
}

// kubeletConfig lets the kubelet work with cgroup v1 and without the right to raise limits.
func kubeletConfig(l Layout, n Node) string {
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: %[1]s
port: 10250
readOnlyPort: 0
healthzBindAddress: %[1]s
healthzPort: 10248
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: %[2]s}
authorization: {mode: Webhook}
tlsCertFile: %[3]s
tlsPrivateKeyFile: %[4]s
containerRuntimeEndpoint: unix://%[5]s
cgroupDriver: cgroupfs
cgroupRoot: %[6]s
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
maxOpenFiles: 20000
maxPods: 110
resolvConf: ""
podLogsDir: %[7]s
volumePluginDir: %[8]s/volume-plugins
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 50Mi, nodefs.available: 100Mi, imagefs.available: 100Mi}
volumeStatsAggPeriod: 10s
nodeStatusUpdateFrequency: 5s
`, n.Address, l.pki("ca.crt"), l.pki("kubelet-server-"+n.Name+".crt"), l.pki("kubelet-server-"+n.Name+".key"),
		containerdSocket, l.cgroup()+"/"+n.Name, podLogs, kubeletDir)
}

func cniConfig(n Node) string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0",
  "name": "strata-pods",
  "plugins": [
    {
      "type": "bridge", "bridge": %q, "isGateway": true, "hairpinMode": true, "ipMasq": false,
      "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, n.Bridge, n.Pods)
}

// proxyConfig is of the one kube-proxy that serves both nodes, which share a network. Everything is masqueraded: two pods
// on one bridge would else answer each other past the translation. The limits of connection tracking are the machine's.
func proxyConfig(l Layout) string {
	return fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: %s}
clusterCIDR: %s
bindAddress: 0.0.0.0
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
conntrack: {maxPerCore: 0, min: 0}
iptables: {masqueradeAll: true, syncPeriod: 30s, minSyncPeriod: 200ms}
`, l.kubeconfig("kube-proxy"), podNetwork)
}
