// Command strata-mountd holds the FUSE mounts of a node, so that strata-node can come and go without them.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/logging"
	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/version"
)

const usage = `strata-mountd holds the FUSE mounts of a node for strata-node.

It starts a ceph-fuse process for every warm volume that strata-node stages where the kernel has no CephFS client, and with
--coldfs an engine, strata-coldfs, for every cold volume. It answers root only, mounts nothing by itself, and ends nothing
when it stops: on a host its clients go on, and the next strata-mountd adopts them from its state directory. In a container
they end with it: replace it on drained nodes.

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
	flags.StringVar(&o.CephFuse, "ceph-fuse", "ceph-fuse", "path or name of ceph-fuse; empty: no warm volumes here")
	cold := coldFlags(flags, &o.ColdFS)
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
	cold()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return mountd.Run(ctx, o)
}

// coldFlags adds the flags of the engines of tier cold; the function sets what they say, once they have been parsed.
func coldFlags(flags *pflag.FlagSet, o *mountd.ColdFSOptions) func() {
	size := resource.QuantityValue{Quantity: resource.MustParse("100Gi")}
	reserve := resource.QuantityValue{Quantity: resource.MustParse("10Gi")}
	memory := resource.QuantityValue{Quantity: resource.MustParse("256Mi")}
	flags.StringVar(&o.Binary, "coldfs", "", "path or name of strata-coldfs; empty: no cold volumes here")
	flags.Uint32Var(&o.UID, "coldfs-uid", 65534, "user and group that the engines of cold volumes run as, not 0")
	flags.StringVar(&o.CacheDir, "coldfs-cache-dir", "/var/cache/strata", "directory that all engines of the node keep blocks and files under way in, best on NVMe; it is made, and given to --coldfs-uid")
	flags.Var(&size, "coldfs-cache-size", "the most that all engines together keep there")
	flags.Var(&reserve, "coldfs-cache-reserve", "what they leave free of its disk whatever happens")
	flags.Var(&memory, "coldfs-memory", "what each engine may have resident; a control group ends one that takes much more, where one can be made")
	return func() {
		o.CacheSize, o.CacheReserve, o.Memory = size.Value(), reserve.Value(), memory.Value()
	}
}
