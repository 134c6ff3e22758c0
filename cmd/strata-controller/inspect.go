package main

// The sub-program for operators, which kubectl-strata runs in the controller's container: `strata-controller inspect`.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/inspect"
)

const inspectUsage = `strata-controller inspect looks at the Ceph clusters of the configuration, with the controller's
credential and without changing anything, and prints what it finds as JSON.

  strata-controller inspect doctor     can the clusters serve? Checks, each with what was found and what mends it
  strata-controller inspect volumes    the volumes of this Kubernetes cluster and what they hold
  strata-controller inspect orphans    the same with snapshots, whatever state they are in

kubectl-strata runs it in the controller's container. It exits with 0 when it has looked, whatever it found.

Flags:
`

// inspectMain is the program when its first argument is "inspect", and returns its exit code.
func inspectMain(args []string) int {
	err := runInspect(args, os.Stdout)
	if err == nil || errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	fmt.Fprintln(os.Stderr, "strata-controller inspect:", err)
	return 2
}

// runInspect looks and prints.
func runInspect(args []string, out io.Writer) error {
	flags := pflag.NewFlagSet("strata-controller inspect", pflag.ContinueOnError)
	config := flags.String("cluster-config", "/etc/strata/clusters.yaml", "cluster configuration file; empty: no tier warm")
	format := flags.StringP("output", "o", "json", "format; there is json alone")
	limit := flags.Duration("timeout", time.Minute, "how long to look at most")
	users := flags.StringArray("node-user", nil, "doctor: a Ceph user that nodes mount with, NAME or CLUSTER/NAME; can be repeated")
	flags.Usage = func() { fmt.Fprint(os.Stderr, inspectUsage, flags.FlagUsages()) }
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() != 1 {
		return fmt.Errorf("inspect takes one of doctor, volumes, orphans; got %q", flags.Args())
	}
	if *format != "json" {
		return fmt.Errorf("--output %s: there is json alone", *format)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	what := flags.Arg(0)
	look := func(c *inspect.Collector) any { return c.Inventory(ctx, what == "orphans") }
	switch what {
	case "doctor":
		look = func(c *inspect.Collector) any { return c.Doctor(ctx, nodeUsers(*users)) }
	case "volumes", "orphans":
	default:
		return fmt.Errorf("inspect %s: there are doctor, volumes and orphans", what)
	}
	var list []clusters.Cluster
	if *config != "" { // else the controller serves no tier that has a cluster
		var err error
		if list, err = clusters.Load(clusters.Options{Path: *config, Controller: true}); err != nil {
			return err
		}
	}
	// Without an instance: two of these must be able to run beside each other and beside the controller.
	found := look(inspect.New(list, func(ctx context.Context, c clusters.Cluster) (ceph.Conn, error) { return dial(ctx, c, "") }))
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	return e.Encode(found)
}

func nodeUsers(list []string) (out []inspect.NodeUser) {
	for _, u := range list {
		cluster, name, ok := strings.Cut(u, "/")
		if !ok {
			cluster, name = "", u
		}
		out = append(out, inspect.NodeUser{Cluster: cluster, Name: name})
	}
	return out
}
