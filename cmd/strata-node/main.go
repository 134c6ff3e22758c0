// Command strata-node serves the CSI Node service: it mounts volumes on the node it runs on.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/driver"
	"github.com/strata-csi/strata/pkg/logging"
	"github.com/strata-csi/strata/pkg/version"
)

const usage = `strata-node serves the CSI Node service of Strata (csi.strata.dev) on one node.

Tier warm needs the cluster configuration file, without credentials: those of a volume come with each request. Where the
kernel has no CephFS client it needs strata-mountd, which holds the ceph-fuse processes. Tier scratch needs the scratch
configuration file and a state directory. Each of them is served when its file is given. Tier cold is served with --cold; it needs
strata-mountd, which holds its engines, and no credentials either. The program can be killed and restarted at any time: no mount
changes, and the new process finds them all.

In Kubernetes it registers itself with kubelet (--registration-dir) and, with --kubeconfig, takes the startup taint
csi.strata.dev/not-ready off its Node once kubelet has it, learns which pods live, and reports its room for scratch volumes.
It needs no API to serve: while the API doesn't answer, nothing that nobody seems to own is destroyed.

  strata-node --endpoint unix:///csi/csi.sock --node-id "$(hostname)" --cluster-config /etc/strata/clusters.yaml
  strata-node --endpoint unix:///var/lib/kubelet/plugins/csi.strata.dev/csi.sock --registration-dir /var/lib/kubelet/plugins_registry \
    --kubeconfig in-cluster --node-id "$NODE_NAME" --cluster-config /etc/strata/clusters.yaml
  strata-node --scratch-config /etc/strata/scratch.yaml --probe   # which disks can be used, how, and why the others can't

Flags:
`

func main() {
	if err := run(); err != nil {
		klog.ErrorS(err, "strata-node stops")
		klog.Flush()
		os.Exit(1)
	}
}

func run() error {
	var o driver.NodeOptions
	flags := pflag.NewFlagSet("strata-node", pflag.ExitOnError)
	flags.StringVar(&o.Endpoint, "endpoint", "unix:///csi/csi.sock", "Unix socket of the CSI services")
	flags.StringVar(&o.NodeID, "node-id", "", "this node's id, unique in the cluster, at most 256 bytes; in Kubernetes the node's name")
	flags.StringVar(&o.ClusterConfig, "cluster-config", "/etc/strata/clusters.yaml", "cluster configuration file; empty: no tier warm")
	flags.StringVar(&o.MountdSocket, "mountd-socket", "/run/strata/mountd.sock", "Unix socket of strata-mountd; empty: this node mounts with its kernel only")
	flags.BoolVar(&o.Cold, "cold", false, "serve tier cold; the strata-mountd of this node needs --coldfs")
	flags.StringVar(&o.MetricsAddress, "metrics-address", "", "host:port of Prometheus metrics and /healthz; empty: none")
	flags.StringVar(&o.Scratch.Config, "scratch-config", "", "scratch configuration file; empty: no tier scratch")
	flags.StringVar(&o.Scratch.StateDir, "state-dir", "/var/lib/strata/node", "directory of this node's journal, which must outlive the machine's restart")
	flags.StringVar(&o.Scratch.KubeletDir, "kubelet-dir", "/var/lib/kubelet", "kubelet's --root-dir: which pods are on the node")
	flags.StringVar(&o.Scratch.ReportDir, "scratch-report-dir", "", "directory to report the room for scratch volumes in; empty: a ConfigMap, with --kubeconfig")
	flags.DurationVar(&o.Scratch.ReapEvery, "scratch-reap-every", time.Minute, "how often to look for scratch volumes that nobody owns")
	probe := flags.Bool("probe", false, "try the disks of --scratch-config, print what was found, and exit: 0 when every pool has a disk")
	flags.StringVar(&o.RegistrationDir, "registration-dir", "", "kubelet's plugins_registry, where this program registers itself; empty: somebody else does (node-driver-registrar)")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "credentials of the Kubernetes API: an absolute path, or in-cluster for the pod's ServiceAccount; empty: the API isn't asked")
	flags.StringVar(&o.Namespace, "namespace", "strata", "namespace of the driver: where this node's ConfigMap with its room for scratch volumes is")
	flags.BoolVar(&o.Topology, "topology", false, "tell nodes apart, as tier scratch needs; the same in the controller and on every node")
	showVersion := flags.Bool("version", false, "print the version and exit")
	o.Tracing.AddFlags(flags)
	log := logging.AddFlags(flags)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage, flags.FlagUsages()) }
	if err := flags.Parse(os.Args[1:]); err != nil {
		return err
	}
	if *showVersion {
		fmt.Println(version.String())
		return nil
	}
	if err := log.Apply(); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *probe {
		complete, err := driver.ProbeScratch(ctx, o.Scratch, os.Stdout)
		if err == nil && !complete {
			err = errors.New("a pool has no disk that can be used")
		}
		return err
	}
	return driver.RunNode(ctx, o)
}
