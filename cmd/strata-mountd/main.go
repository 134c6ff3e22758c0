// Command strata-mountd holds the FUSE mounts of a node, so that strata-node can come and go without them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/logging"
	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/version"
)

const usage = `strata-mountd holds the FUSE mounts of a node for strata-node.

It starts a ceph-fuse process for every volume that strata-node stages where the kernel has no CephFS client.
It answers root only, mounts nothing by itself, and ends nothing when it stops: on a host its clients go on, and the
next strata-mountd adopts them from its state directory. In a container they end with it: replace it on drained nodes.

  strata-mountd --socket /run/strata/mountd.sock --state-dir /var/lib/strata/mountd --log-dir /var/log/strata

Flags:
`

func main() {
	if err := run(); err != nil {
		klog.ErrorS(err, "strata-mountd stops")
		klog.Flush()
		os.Exit(1)
	}
}

func run() error {
	var o mountd.Options
	flags := pflag.NewFlagSet("strata-mountd", pflag.ExitOnError)
	flags.StringVar(&o.Socket, "socket", "/run/strata/mountd.sock", "Unix socket to answer on")
	flags.StringVar(&o.StateDir, "state-dir", "/var/lib/strata/mountd", "directory of the records of the mounts; no two holders may share one")
	flags.StringVar(&o.LogDir, "log-dir", "/var/log/strata", "directory of what the clients print")
	flags.StringVar(&o.CephFuse, "ceph-fuse", "ceph-fuse", "path or name of ceph-fuse")
	flags.StringVar(&o.MetricsAddress, "metrics-address", "", "host:port of Prometheus metrics and /healthz; empty: none")
	flags.Uint32Var(&o.AllowUID, "allow-uid", 0, "the user who may ask")
	showVersion := flags.Bool("version", false, "print the version and exit")
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
	return mountd.Run(ctx, o)
}
