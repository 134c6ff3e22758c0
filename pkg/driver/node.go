package driver

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"

	"github.com/strata-csi/strata/pkg/clientmount"
	"github.com/strata-csi/strata/pkg/clusters"
	coldclient "github.com/strata-csi/strata/pkg/cold/client"
	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/metrics"
	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/node"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/tracing"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm/client"
)

// NodeOptions are the options of strata-node.
type NodeOptions struct {
	Common
	// NodeID names this node in the cluster, 1 to node.MaxNodeIDLength bytes; in Kubernetes the node's name.
	NodeID string
	// MountdSocket is the path of strata-mountd's socket; empty: this node mounts with its kernel only.
	MountdSocket string
	// Cold: tier cold is served, with engines that strata-mountd starts.
	Cold bool
	// RegistrationDir is kubelet's plugins_registry; empty: somebody else registers the driver.
	RegistrationDir string
	Scratch         ScratchNodeOptions
}

// Validate says which option is wrong and what it may be.
func (o NodeOptions) Validate() error {
	if o.NodeID == "" || len(o.NodeID) > node.MaxNodeIDLength {
		return fmt.Errorf("--node-id: has %d bytes; 1 to %d are allowed", len(o.NodeID), node.MaxNodeIDLength)
	}
	if o.MountdSocket != "" && !filepath.IsAbs(o.MountdSocket) {
		return fmt.Errorf("--mountd-socket: %q is not an absolute path", o.MountdSocket)
	}
	if o.RegistrationDir != "" && !filepath.IsAbs(o.RegistrationDir) {
		return fmt.Errorf("--registration-dir: %q is not an absolute path", o.RegistrationDir)
	}
	if o.Cold && o.MountdSocket == "" {
		return errors.New("--cold: needs --mountd-socket: strata-mountd holds the engines of cold volumes")
	}
	if o.ClusterConfig == "" && o.Scratch.Config == "" && !o.Cold {
		return errors.New("--cluster-config, --scratch-config, --cold: one of them must be given; without any this node serves no tier")
	}
	return errors.Join(o.Common.Validate(), o.Scratch.Validate())
}

// RunNode serves the Node service until ctx ends. It leaves every mount as it is: the next strata-node finds them.
func RunNode(ctx context.Context, o NodeOptions) error {
	if err := o.Validate(); err != nil {
		return err
	}
	provider, stopTracing, err := tracing.Start(ctx, o.Tracing, "strata-node")
	if err != nil {
		return err
	}
	defer stopTracing()
	s := service{
		Common: o.Common,
		// A mistake in a new cluster configuration doesn't make a node unready: the old one is in force, and a node that was
		// restarted for it could not start at all. The metric of the configuration tells.
		ready:    func(context.Context) error { return nil },
		registry: metrics.NewRegistry(),
		topology: o.Topology || o.Scratch.Config != "",

		monitoring: monitoring{tell: events.None{}},
		tracing:    provider,
	}
	kubelet, err := register(o)
	if err != nil {
		return err
	}
	if kubelet != nil {
		s.ready = kubelet.Ready
		s.background = append(s.background, kubelet.Run)
	}
	api, err := openCluster(o)
	if err != nil {
		return err
	}
	if api != nil {
		s.background = append(s.background, func(ctx context.Context) error { return api.KeepStartupTaintOff(ctx, s.ready) }, api.events.Run)
		s.monitoring.tell = api.events
	}
	prober := mountpoint.NewProber(0)
	unmounter := mountpoint.NewUnmounter(prober)
	locks := new(keylock.Locks)
	tiers := tier.Nodes{}
	if o.ClusterConfig != "" {
		store, err := clusters.Open(clusters.Options{Path: o.ClusterConfig})
		if err != nil {
			return err
		}
		s.clusters = store
		warm, err := warmNode(store, o.MountdSocket, prober, unmounter)
		if err != nil {
			return err
		}
		tiers.Register(volume.Warm, warm)
		s.monitoring.warmMounts(warm)
	}
	if o.Cold {
		cold, err := coldclient.New(coldclient.Config{
			Holder: clientmount.NewHolder(o.MountdSocket, mountd.KindColdFS), Prober: prober, Unmounter: unmounter})
		if err != nil {
			return err
		}
		tiers.Register(volume.Cold, cold)
		s.monitoring.coldMounts(cold)
	}
	if o.ClusterConfig != "" || o.Cold {
		s.monitoring.tiers = append(s.monitoring.tiers, prober)
	}
	if o.Scratch.Config != "" {
		scratch, err := openScratch(ctx, o, locks, unmounter, api, kubelet)
		if err != nil {
			return err
		}
		defer scratch.close(ctx)
		tiers.Register(volume.Scratch, scratch.backend)
		s.monitoring.scratch(scratch.backend)
		s.background = append(s.background, scratch.background()...)
	}
	server, err := node.New(node.Config{NodeID: o.NodeID, Tiers: tiers, Locks: locks, Unmounter: unmounter, Topology: s.topology})
	if err != nil {
		return err
	}
	s.register = func(r grpc.ServiceRegistrar) { csi.RegisterNodeServer(r, server) }
	return s.run(ctx)
}

func warmNode(store *clusters.Store, mountdSocket string, prober *mountpoint.Prober, unmounter *mountpoint.Unmounter) (*client.Stager, error) {
	var fuse client.Mounter = client.NoFuse{}
	if mountdSocket != "" {
		fuse = client.NewFuseMounter(mountdSocket)
	}
	return client.New(client.Config{
		Clusters:  store,
		Kernel:    client.NewKernelMounter(),
		Fuse:      fuse,
		Prober:    prober,
		Unmounter: unmounter,
	})
}
