package main

// The sub-program that removes what opens a volume that isn't there: `strata-controller revoke`. kubectl-strata runs it in the controller's
// container.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/driver"
	"github.com/strata-csi/strata/pkg/volume"
)

const revokeUsage = `strata-controller revoke VOLUME_ID... removes the Ceph identities that were made for volumes which
aren't there any more, and the Secrets with their keys. It refuses for a volume that is there.

Flags:
`

// revokeMain is the program when its first argument is "revoke", and returns its exit code.
func revokeMain(args []string) int {
	err := runRevoke(args)
	if err == nil || errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(os.Stderr, "strata-controller revoke:", err)
	return 2
}

func runRevoke(args []string) error {
	var o driver.ControllerOptions
	flags := pflag.NewFlagSet("strata-controller revoke", pflag.ContinueOnError)
	limit := keeperFlags(flags, &o)
	flags.Usage = func() { fmt.Fprint(os.Stderr, revokeUsage, flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("it takes the ids of volumes; kubectl strata orphans lists them")
	}
	ids, err := parseIDs(flags.Args())
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	// Without an instance, as inspect: it must be able to run beside the controller.
	return driver.Revoke(ctx, o, func(ctx context.Context, c clusters.Cluster) (ceph.Conn, error) { return dial(ctx, c, "") }, ids)
}

// keeperFlags adds the flags of a sub-program that works at identities and their Secrets, and returns how long it may try.
func keeperFlags(flags *pflag.FlagSet, o *driver.ControllerOptions) *time.Duration {
	flags.StringVar(&o.ClusterConfig, "cluster-config", "/etc/strata/clusters.yaml", "cluster configuration file")
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "in-cluster", "credentials of the Kubernetes API, as the controller has them")
	flags.StringVar(&o.Namespace, "namespace", "strata", "namespace of the Secrets")
	return flags.Duration("timeout", time.Minute, "how long to try at most")
}

func parseIDs(args []string) ([]volume.ID, error) {
	var ids []volume.ID
	for _, arg := range args {
		id, err := volume.ParseID(arg)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, nil
}
