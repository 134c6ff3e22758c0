package driver

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/cephtrace"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/cold"
	"github.com/strata-csi/strata/pkg/controller"
	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/metrics"
	"github.com/strata-csi/strata/pkg/scratch/provisioner"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/tracing"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

// ControllerOptions are the options of strata-controller.
type ControllerOptions struct {
	Common
	// LockLease is how long a lock in Ceph outlives a controller that was killed.
	LockLease time.Duration
	// CopyWait is how long CreateVolume waits for a copy to finish before it reports progress.
	CopyWait time.Duration
	// Scratch: tier scratch is served.
	Scratch bool
	// Cold: tier cold is served.
	Cold bool
	// ScratchReportDir is where the nodes say what room they have, see ScratchNodeOptions; empty: they say it through the Kubernetes API, and
	// without Kubeconfig it isn't known.
	ScratchReportDir string
}

// Validate says which option is wrong and what it may be.
func (o ControllerOptions) Validate() error {
	if o.LockLease < time.Second || o.LockLease > time.Minute {
		return fmt.Errorf("--lock-lease: %s is not between 1s and 1m", o.LockLease)
	}
	if o.CopyWait < 0 || o.CopyWait > 10*time.Minute {
		return fmt.Errorf("--copy-wait: %s is not between 0 and 10m", o.CopyWait)
	}
	if o.ClusterConfig == "" && !o.Scratch && !o.Cold {
		return errors.New("--cluster-config, --scratch, --cold: one of them must be given; without any this controller serves no tier")
	}
	if o.ScratchReportDir != "" && !filepath.IsAbs(o.ScratchReportDir) {
		return fmt.Errorf("--scratch-report-dir: %q is not an absolute path", o.ScratchReportDir)
	}
	return o.Common.Validate()
}

// RunController serves the Controller service until ctx ends. dial makes the connections to Ceph: only the program that
// gives it needs librados.
func RunController(ctx context.Context, o ControllerOptions, dial warm.Dial) error {
	if err := o.Validate(); err != nil {
		return err
	}
	provider, stopTracing, err := tracing.Start(ctx, o.Tracing, "strata-controller")
	if err != nil {
		return err
	}
	defer stopTracing()
	tiers := tier.Controllers{}
	s := service{
		Common:   o.Common,
		ready:    func(context.Context) error { return nil },
		registry: metrics.NewRegistry(),
		topology: o.Topology || o.Scratch,

		monitoring: monitoring{tell: events.None{}},
		tracing:    provider,
	}
	if o.ClusterConfig != "" {
		store, err := clusters.Open(clusters.Options{Path: o.ClusterConfig, Controller: true, Validate: warm.CheckCluster})
		if err != nil {
			return err
		}
		keeper, err := openKeeper(o)
		if err != nil {
			return err
		}
		backend := warm.New(warm.Options{Clusters: store, Dial: tracedDial(dial, provider), Keeper: keeper, Lease: o.LockLease, CopyWait: o.CopyWait})
		defer backend.Close()
		tiers.Register(volume.Warm, backend)
		s.monitoring.teams(backend)
		s.clusters = store
		s.ready = func(ctx context.Context) error { return errors.Join(store.Err(), backend.Ready(ctx)) }
	}
	if o.Scratch {
		reports, err := openReports(ctx, o)
		if err != nil {
			return err
		}
		tiers.Register(volume.Scratch, provisioner.New(reports))
	}
	if o.Cold {
		keeper, err := openKeeper(o)
		if err != nil {
			return err
		}
		tiers.Register(volume.Cold, cold.New(cold.Options{Keeper: keeper}))
		if err := s.renew(o); err != nil {
			return err
		}
	}
	s.register = func(r grpc.ServiceRegistrar) { csi.RegisterControllerServer(r, controller.New(tiers)) }
	return s.run(ctx)
}

// tracedDial makes connections whose commands are seen in the traces of the calls.
func tracedDial(dial warm.Dial, provider trace.TracerProvider) warm.Dial {
	if provider == nil {
		return dial
	}
	return func(ctx context.Context, c clusters.Cluster) (ceph.Conn, error) {
		conn, err := dial(ctx, c)
		if err != nil {
			return nil, err
		}
		return cephtrace.New(conn, provider, c.ID), nil
	}
}

// reportAge is how old a node's report may be and still count.
const reportAge = 5 * reportEvery
