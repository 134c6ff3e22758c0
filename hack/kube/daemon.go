package main

// The daemons of a cluster and their command lines.

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Daemon is a program that runs in the cluster.
type Daemon struct {
	Name    string
	Node    string // whose namespaces it runs in; "" for the machine's
	Program string // absolute path
	Args    []string
}

// daemons lists all of them in the order in which they are started.
func daemons(l Layout) []Daemon {
	bin := func(name string) string { return filepath.Join(l.Bin(), name) }
	all := []Daemon{
		{Name: "etcd", Program: bin("etcd"), Args: []string{
			"--data-dir=" + l.path("etcd"),
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=default=http://127.0.0.1:2380",
			"--unsafe-no-fsync", "--log-level=warn",
		}},
		{Name: "kube-apiserver", Program: bin("kube-apiserver"), Args: []string{
			"--etcd-servers=http://127.0.0.1:2379",
			"--bind-address=0.0.0.0", "--advertise-address=" + machineAddress, fmt.Sprintf("--secure-port=%d", apiPort),
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
			"--client-ca-file=" + l.pki("ca.crt"),
			"--tls-cert-file=" + l.pki("kube-apiserver.crt"), "--tls-private-key-file=" + l.pki("kube-apiserver.key"),
			"--kubelet-certificate-authority=" + l.pki("ca.crt"),
			"--kubelet-client-certificate=" + l.pki("kube-apiserver-kubelet-client.crt"),
			"--kubelet-client-key=" + l.pki("kube-apiserver-kubelet-client.key"),
			"--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc",
			"--service-account-key-file=" + l.pki("service-accounts.key"),
			"--service-account-signing-key-file=" + l.pki("service-accounts.key"),
			"--service-cluster-ip-range=" + serviceNetwork,
			"--shutdown-delay-duration=0s",
		}},
		{Name: "kube-controller-manager", Program: bin("kube-controller-manager"), Args: []string{
			"--kubeconfig=" + l.kubeconfig("kube-controller-manager"), "--bind-address=127.0.0.1",
			"--use-service-account-credentials", "--leader-elect=false",
			"--service-account-private-key-file=" + l.pki("service-accounts.key"), "--root-ca-file=" + l.pki("ca.crt"),
			"--cluster-signing-cert-file=" + l.pki("ca.crt"), "--cluster-signing-key-file=" + l.pki("ca.key"),
			"--flex-volume-plugin-dir=" + l.path("volume-plugins"),
		}},
		{Name: "kube-scheduler", Program: bin("kube-scheduler"), Args: []string{
			"--kubeconfig=" + l.kubeconfig("kube-scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false",
		}},
		{Name: "kube-proxy", Program: bin("kube-proxy"), Args: []string{
			"--config=" + l.path("kube-proxy.yaml"), "--hostname-override=" + nodes[0].Name,
		}},
	}
	for _, n := range nodes {
		all = append(all,
			Daemon{Name: "containerd-" + n.Name, Node: n.Name, Program: "/usr/bin/containerd", Args: []string{
				"--config", l.node(n, "containerd.toml"),
			}},
			Daemon{Name: "kubelet-" + n.Name, Node: n.Name, Program: bin("kubelet"), Args: []string{
				"--config=" + l.node(n, "kubelet.yaml"), "--kubeconfig=" + l.kubeconfig("kubelet-"+n.Name),
				"--hostname-override=" + n.Name, "--node-ip=" + n.Address, "--root-dir=" + kubeletDir, "--v=2",
			}})
	}
	return all
}

func findDaemon(l Layout, name string) (Daemon, error) {
	for _, d := range daemons(l) {
		if d.Name == name {
			return d, nil
		}
	}
	return Daemon{}, fmt.Errorf("no daemon %q; there is %s", name, daemonNames(l))
}

func daemonNames(l Layout) string {
	var names []string
	for _, d := range daemons(l) {
		names = append(names, d.Name)
	}
	return strings.Join(names, ", ")
}

// commandLine is what /proc says of the daemon while it runs.
func (d Daemon) commandLine() []string { return append([]string{d.Program}, d.Args...) }

// environment is what a daemon gets of it: nothing of who happens to start it.
func (l Layout) environment() []string {
	return []string{
		"PATH=" + l.Bin() + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root",
		"TMPDIR=" + l.tmp(),
	}
}
