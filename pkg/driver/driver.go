// Package driver wires the parts of Strata into its two CSI services. It is the only package, besides the programs, that knows
// more than one tier.
package driver

import (
	"context"
	"fmt"
	"net"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/identity"
	"github.com/strata-csi/strata/pkg/kube"
	"github.com/strata-csi/strata/pkg/metrics"
	"github.com/strata-csi/strata/pkg/rpc"
	"github.com/strata-csi/strata/pkg/tracing"
	"github.com/strata-csi/strata/pkg/version"
)

// Common are the options that the controller and the node have in common.
type Common struct {
	// Endpoint is where the CSI services listen: unix:///path.
	Endpoint string
	// ClusterConfig is the path of the cluster configuration file, see docs/parameters.md; empty: tier warm is not served.
	ClusterConfig string
	// MetricsAddress is where Prometheus metrics and /healthz are served, host:port; empty: nowhere.
	MetricsAddress string
	// Topology: the driver tells nodes apart (CSI: VOLUME_ACCESSIBILITY_CONSTRAINTS), which tier scratch needs and turns on. It must be the
	// same in the controller and on every node, those without scratch disks included.
	Topology bool
	// Kubeconfig is the path of a kubeconfig, or kube.InCluster; empty: the Kubernetes API isn't asked for anything.
	Kubeconfig string
	// Namespace is the driver's own, where the nodes' ConfigMaps are.
	Namespace string
	// Tracing says where traces of the calls go.
	Tracing tracing.Options
}

// Validate says which option is wrong and what it may be.
func (o Common) Validate() error {
	if _, err := rpc.SocketPath(o.Endpoint); err != nil {
		return fmt.Errorf("--endpoint: %w", err)
	}
	if o.MetricsAddress != "" {
		if err := (metrics.Options{Address: o.MetricsAddress}).Validate(); err != nil {
			return fmt.Errorf("--metrics-address: %w", err)
		}
	}
	if err := o.Tracing.Validate(); err != nil {
		return err
	}
	if o.Kubeconfig != "" {
		return kube.CheckOptions(o.Kubeconfig, o.Namespace)
	}
	return nil
}

// service is one of the two CSI services, ready to be served.
type service struct {
	Common
	clusters *clusters.Store // nil without tier warm
	// ready answers Identity's Probe and /healthz.
	ready      func(context.Context) error
	register   func(grpc.ServiceRegistrar)
	registry   *prometheus.Registry
	topology   bool
	monitoring monitoring
	tracing    trace.TracerProvider // nil: nothing is traced
	// background runs beside the service; each ends when its context does.
	background []func(context.Context) error
}

// run serves until ctx ends, then lets running calls finish.
func (s *service) run(ctx context.Context) error {
	server, err := rpc.New(ctx, rpc.Options{DriverName: identity.DriverName, Registerer: s.registry, Tracing: s.tracing})
	if err != nil {
		return err
	}
	if s.clusters != nil {
		if err := s.registry.Register(s.clusters); err != nil {
			return fmt.Errorf("metrics of the cluster configuration: %w", err)
		}
		s.background = append(s.background, s.clusters.Watch)
	}
	if err := s.monitoring.register(s.registry); err != nil {
		return err
	}
	csi.RegisterIdentityServer(server, &identity.Service{Ready: s.ready, Topology: s.topology})
	s.register(server)
	listener, err := rpc.Listen(ctx, s.Endpoint)
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Serving", "endpoint", s.Endpoint, "version", version.String())
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Run(ctx, listener) })
	for _, run := range s.background {
		group.Go(func() error { return run(ctx) })
	}
	if s.MetricsAddress != "" {
		group.Go(func() error { return s.serveMetrics(ctx) })
	}
	if s.MetricsAddress != "" || s.monitoring.tell != (events.None{}) {
		group.Go(func() error { return s.monitoring.looks.Run(ctx) })
	}
	return group.Wait()
}

func (s *service) serveMetrics(ctx context.Context) error {
	m, err := metrics.Listen(ctx, metrics.Options{Address: s.MetricsAddress, Gatherer: s.registry, Healthy: s.ready})
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Serving metrics", "address", (m.Addr().(*net.TCPAddr)).String())
	return m.Run(ctx)
}
