package tier

import (
	"fmt"

	"github.com/strata-csi/strata/pkg/volume"
)

// Backend is the controller's side of one tier: the interfaces it was found to have, nil where it has none.
type Backend struct {
	Provisioner
	SecretUser       SecretUser
	AccessChecker    AccessChecker
	Expander         Expander
	Snapshotter      Snapshotter
	Lister           Lister
	CapacityReporter CapacityReporter
	HealthReporter   HealthReporter
}

// NodeBackend is the node's side of one tier.
type NodeBackend struct {
	Stager
	UsageReporter       UsageReporter
	MountHealthReporter MountHealthReporter
	GroupChecker        GroupChecker
	Renewer             Renewer
	NodeExpander        NodeExpander
	BlockStager         BlockStager
	InlinePublisher     InlinePublisher
	SegmentReporter     SegmentReporter
}

// Controllers are the backends of a controller by tier.
type Controllers map[volume.Tier]Backend

// Nodes are the backends of a node by tier.
type Nodes map[volume.Tier]NodeBackend

// Register finds what the backend can do.
func (c Controllers) Register(t volume.Tier, p Provisioner) { c[t] = backendOf(p) }

func backendOf(p Provisioner) Backend {
	b := Backend{Provisioner: p}
	b.SecretUser, _ = p.(SecretUser)
	b.AccessChecker, _ = p.(AccessChecker)
	b.Expander, _ = p.(Expander)
	b.Snapshotter, _ = p.(Snapshotter)
	b.Lister, _ = p.(Lister)
	b.CapacityReporter, _ = p.(CapacityReporter)
	b.HealthReporter, _ = p.(HealthReporter)
	return b
}

// With returns the backend for a request with these secrets: itself, unless it is a SecretUser.
func (b Backend) With(secrets map[string]string) Backend {
	if b.SecretUser == nil {
		return b
	}
	return backendOf(b.SecretUser.WithSecrets(secrets))
}

// Register finds what the backend can do.
func (n Nodes) Register(t volume.Tier, s Stager) {
	b := NodeBackend{Stager: s}
	b.UsageReporter, _ = s.(UsageReporter)
	b.MountHealthReporter, _ = s.(MountHealthReporter)
	b.GroupChecker, _ = s.(GroupChecker)
	b.Renewer, _ = s.(Renewer)
	b.NodeExpander, _ = s.(NodeExpander)
	b.BlockStager, _ = s.(BlockStager)
	b.InlinePublisher, _ = s.(InlinePublisher)
	b.SegmentReporter, _ = s.(SegmentReporter)
	n[t] = b
}

// For returns the backend of the tier, or an error that wraps volume.ErrInvalid.
func (c Controllers) For(t volume.Tier) (Backend, error) {
	b, ok := c[t]
	if !ok {
		return Backend{}, fmt.Errorf("%w: this controller doesn't serve tier %q", volume.ErrInvalid, t)
	}
	return b, nil
}

// For returns the backend of the tier, or an error that wraps volume.ErrInvalid.
func (n Nodes) For(t volume.Tier) (NodeBackend, error) {
	b, ok := n[t]
	if !ok {
		return NodeBackend{}, fmt.Errorf("%w: this node doesn't serve tier %q", volume.ErrInvalid, t)
	}
	return b, nil
}
