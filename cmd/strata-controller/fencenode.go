package main

// The sub-program that shuts a node out of the clusters: `strata-controller fence-node`. kubectl-strata runs it in the controller's container.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"github.com/strata-csi/strata/pkg/driver"
	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/warm"
)

const fenceNodeUsage = `strata-controller fence-node NODE --address IP shuts every client of a node's addresses out of all clusters of the
configuration. With --undo it lets clients of these addresses in again. It prints what it did as JSON.

Flags:
`

// fenceNodeMain returns the exit code: 0 when it prints what was done, which may be an error for each cluster.
func fenceNodeMain(args []string) int {
	err := runFenceNode(args, os.Stdout)
	if err == nil || errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	fmt.Fprintf(os.Stderr, "strata-controller fence-node: %v\n", err)
	return 2
}

func runFenceNode(args []string, out io.Writer) error {
	var o driver.ControllerOptions
	flags := pflag.NewFlagSet("strata-controller fence-node", pflag.ContinueOnError)
	limit := keeperFlags(flags, &o)
	addresses := flags.StringSlice("address", nil, "IP address from which the node reaches the clusters; can be repeated")
	hosts := flags.StringSlice("host", nil, "another name by which the node's clients may call it; can be repeated")
	undo := flags.Bool("undo", false, "let clients of the addresses in again")
	flags.Usage = func() { fmt.Fprint(os.Stderr, fenceNodeUsage, flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 || len(*addresses) == 0 {
		return errors.New("it takes the name of one node, and --address at least once")
	}
	node := warm.Node{Hosts: append(*hosts, flags.Arg(0))}
	for _, a := range *addresses {
		ip, err := netip.ParseAddr(a)
		if err != nil || ip.Zone() != "" {
			return fmt.Errorf("--address %q is no IP address", a)
		}
		node.Addresses = append(node.Addresses, ip.Unmap())
	}
	return printDone(o, *limit, out, func(ctx context.Context, backend *warm.Backend) any {
		do := backend.FenceNode
		if *undo {
			do = backend.UnfenceNode
		}
		document := inspect.NewNodeFence(flags.Arg(0), *undo)
		for _, f := range do(ctx, node) {
			document.Clusters = append(document.Clusters, shownCluster(f))
		}
		return document
	})
}

// shownCluster is what was done in a cluster, as a document.
func shownCluster(f warm.NodeFenced) inspect.ClusterFence {
	c := inspect.ClusterFence{Cluster: f.Cluster, Addresses: []string{}, ShutOut: []inspect.Client{}}
	for _, ip := range f.Addresses {
		c.Addresses = append(c.Addresses, ip.String())
	}
	for _, fs := range slices.Sorted(maps.Keys(f.ShutOut)) {
		for _, s := range f.ShutOut[fs] {
			c.ShutOut = append(c.ShutOut, inspect.Client{FileSystem: fs, Address: s.Address, Host: s.Host, User: s.User, Path: s.Root})
		}
	}
	if f.Err != nil {
		c.Error = f.Err.Error()
	}
	return c
}
