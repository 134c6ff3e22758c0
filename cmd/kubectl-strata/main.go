// Command kubectl-strata is the plugin of kubectl for operators of Strata: `kubectl strata`.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/cold"
	"github.com/strata-csi/strata/pkg/kubectl"
	"github.com/strata-csi/strata/pkg/scratch/provisioner"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code, err := kubectl.Main(ctx, os.Args[1:], os.Stdout, os.Stderr, tiers(), kubectl.Connect)
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
	}
	os.Exit(code)
}

// tiers are the checks of a StorageClass's parameters that its tier makes.
func tiers() kubectl.Tiers {
	return kubectl.Tiers{
		// What a cluster may have as defaults is what a class may have as parameters.
		volume.Warm:    func(p map[string]string) error { return warm.CheckCluster(clusters.Cluster{Defaults: p}) },
		volume.Scratch: provisioner.New(nil).CheckParameters,
		volume.Cold:    cold.New(cold.Options{}).CheckParameters,
	}
}
