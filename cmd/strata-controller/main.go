// Command strata-controller serves the CSI Controller service: it makes, grows, copies, snapshots and removes volumes.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/librados"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/driver"
	"github.com/strata-csi/strata/pkg/logging"
	"github.com/strata-csi/strata/pkg/version"
)

const usage = `strata-controller serves the CSI Controller service of Strata (csi.strata.dev).

It needs the cluster configuration file, which says where the Ceph clusters are and with which
credential the controller works; the file is read again when it changes. It keeps no state: any number may
run, though the sidecars of Kubernetes elect one to work.

  strata-controller --endpoint unix:///csi/csi.sock --cluster-config /etc/strata/clusters.yaml

  strata-controller inspect --help     what operators can ask it about the clusters
  strata-controller revoke --help      remove the identities of volumes that aren't there
  strata-controller rotate --help      give volumes new keys, and retire the old ones
  strata-controller fence --help       take volumes from all who have them
  strata-controller fence-node --help  shut a node out of the clusters

Flags:
`

func main() {
	if len(os.Args) > 1 && os.Args[1] == "inspect" {
		os.Exit(inspectMain(os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "revoke" {
		os.Exit(revokeMain(os.Args[2:]))
	}
	if len(os.Args) > 1 && (os.Args[1] == "rotate" || os.Args[1] == "fence") {
		os.Exit(keysMain(os.Args[1], os.Args[2:]))
	}
	if len(os.Args) > 1 && os.Args[1] == "fence-node" {
		os.Exit(fenceNodeMain(os.Args[2:]))
	}
	if err := run(); err != nil {
		klog.ErrorS(err, "strata-controller stops")
		klog.Flush()
		os.Exit(1)
	}
}

func run() error {
	var o driver.ControllerOptions
	flags := pflag.NewFlagSet("strata-controller", pflag.ExitOnError)
	flags.StringVar(&o.Endpoint, "endpoint", "unix:///csi/csi.sock", "Unix socket of the CSI services")
	flags.StringVar(&o.ClusterConfig, "cluster-config", "/etc/strata/clusters.yaml", "cluster configuration file; empty: no tier warm")
	flags.StringVar(&o.MetricsAddress, "metrics-address", "", "host:port of Prometheus metrics and /healthz; empty: none")
	flags.DurationVar(&o.LockLease, "lock-lease", 10*time.Second, "how long a lock in Ceph outlives a controller that was killed")
	flags.DurationVar(&o.CopyWait, "copy-wait", 30*time.Second, "how long CreateVolume waits for a copy before it reports progress; the caller's deadline may be shorter")
	flags.BoolVar(&o.Scratch, "scratch", false, "serve tier scratch")
	flags.BoolVar(&o.Cold, "cold", false, "serve tier cold: volumes in S3 buckets, with the access keys of the requests' secrets")
	flags.StringVar(&o.ScratchReportDir, "scratch-report-dir", "", "directory in which the nodes report their room for scratch volumes; empty: they do in ConfigMaps, with --kubeconfig; without either it isn't known, and every node is taken to have some")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "credentials of the Kubernetes API: an absolute path, or in-cluster for the pod's ServiceAccount; empty: the API isn't asked")
	flags.StringVar(&o.Namespace, "namespace", "strata", "namespace of the driver: where the nodes' ConfigMaps with their room for scratch volumes are, and the Secrets of volumes with identity: volume")
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
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	return driver.RunController(ctx, o, func(ctx context.Context, c clusters.Cluster) (ceph.Conn, error) {
		// A container that is started again has its pod's host name and its socket still, and no other has both.
		return dial(ctx, c, strings.Join([]string{"strata", c.NamePrefix, c.ID, host, o.Endpoint}, ":"))
	})
}

// dial connects with the controller's own credential.
func dial(ctx context.Context, c clusters.Cluster, instance string) (ceph.Conn, error) {
	key, err := c.Credential.Key()
	if err != nil {
		return nil, err
	}
	return librados.Dial(ctx, librados.Options{Monitors: c.Monitors, User: c.Credential.User, Key: key, Instance: instance})
}
