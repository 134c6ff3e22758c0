// Package node is the CSI Node service, thin on purpose: validate, lock, ask the tier's backend, reply. It keeps no
// state: what is mounted is read from the mount table, so a restarted process knows as much as the one before.
//
// A call holds the lock of its volume and then that of its path; a call that finds the volume busy waits for a
// few seconds and is then told which operation runs (volume.ErrPending). Errors are those of pkg/volume;
// pkg/rpc turns them into gRPC codes.
package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// MaxNodeIDLength is the most bytes a node id may have (CSI spec, NodeGetInfoResponse.node_id).
const MaxNodeIDLength = 256

// lockWait is how long a call waits for another one on the same volume. Longer than a mount or an unmount takes, and
// shorter than an orchestrator's patience (kubelet's is two minutes): it should hear what it waits for.
const lockWait = 20 * time.Second

// Locator is a backend that finds the mounts of a volume on this node without being told where to look.
type Locator interface {
	// Locate returns the paths where the volume is mounted, dead mounts included; none is no error.
	Locate(ctx context.Context, id volume.ID) ([]string, error)
}

// Config is what a Server needs; every field is required unless it says otherwise.
type Config struct {
	NodeID    string // 1 to MaxNodeIDLength bytes, unique in the cluster
	Tiers     tier.Nodes
	Locks     *keylock.Locks
	Unmounter *mountpoint.Unmounter
	// Topology makes the node report itself as a segment even when none of its tiers reports one. It belongs to
	// identity.Service.Topology: external-provisioner makes no volume, of any tier, for a node that reports none. Optional.
	Topology bool
}

// Server is the CSI Node service.
type Server struct {
	csi.UnimplementedNodeServer

	nodeID    string
	topology  bool
	tiers     tier.Nodes
	inline    tier.InlinePublisher // nil: this node has no inline volumes
	locators  map[volume.Tier]Locator
	locks     *keylock.Locks
	unmounter *mountpoint.Unmounter
}

// New returns a Server, or an error that wraps volume.ErrInvalid.
func New(c Config) (*Server, error) {
	if c.NodeID == "" || len(c.NodeID) > MaxNodeIDLength {
		return nil, fmt.Errorf("%w: the node id has %d bytes; 1 to %d are allowed", volume.ErrInvalid, len(c.NodeID), MaxNodeIDLength)
	}
	if len(c.Tiers) == 0 || c.Locks == nil || c.Unmounter == nil {
		return nil, errors.New("node: a field of Config is missing")
	}
	s := &Server{
		nodeID: c.NodeID, topology: c.Topology, tiers: c.Tiers, locators: make(map[volume.Tier]Locator), locks: c.Locks, unmounter: c.Unmounter,
	}
	for t, b := range c.Tiers {
		if l, ok := b.Stager.(Locator); ok {
			s.locators[t] = l
		}
		if b.InlinePublisher == nil {
			continue
		}
		if s.inline != nil {
			return nil, fmt.Errorf("%w: two tiers of this node publish inline volumes, and such a volume doesn't say which it is for", volume.ErrInvalid)
		}
		s.inline = b.InlinePublisher
	}
	_, err := s.segment()
	return s, err
}

// NodeGetCapabilities lists what at least one tier can do; every entry is tested.
func (s *Server) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	types := []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
		csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP,
	}
	if s.any(func(b tier.NodeBackend) bool { return b.UsageReporter != nil }) {
		types = append(types, csi.NodeServiceCapability_RPC_GET_VOLUME_STATS)
	}
	if s.any(func(b tier.NodeBackend) bool { return b.MountHealthReporter != nil }) {
		types = append(types, csi.NodeServiceCapability_RPC_GET_VOLUME_HEALTH)
	}
	if s.any(expands) {
		types = append(types, csi.NodeServiceCapability_RPC_EXPAND_VOLUME)
	}
	resp := &csi.NodeGetCapabilitiesResponse{}
	for _, t := range types {
		resp.Capabilities = append(resp.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: t}},
		})
	}
	return resp, nil
}

// any says that at least one tier is so.
func (s *Server) any(so func(tier.NodeBackend) bool) bool {
	for _, b := range s.tiers {
		if so(b) {
			return true
		}
	}
	return false
}

// NodeGetInfo says who this node is, and where. No limit of volumes is known; 0 leaves it to the orchestrator.
func (s *Server) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	segment, err := s.segment()
	if err != nil {
		return nil, err
	}
	resp := &csi.NodeGetInfoResponse{NodeId: s.nodeID}
	if len(segment) > 0 {
		resp.AccessibleTopology = &csi.Topology{Segments: segment}
	}
	return resp, nil
}

// segment joins those of the tiers, with the node itself. The error wraps volume.ErrInvalid: kubelet makes labels of
// them, and doesn't register a driver with a label that can't be.
func (s *Server) segment() (volume.Segment, error) {
	all := volume.Segment{}
	if s.topology {
		all[tier.NodeKey] = s.nodeID
	}
	for t, b := range s.tiers {
		if b.SegmentReporter == nil {
			continue
		}
		for key, value := range b.SegmentReporter.Segment() {
			all[tier.NodeKey] = s.nodeID
			if other, ok := all[key]; ok && other != value {
				return nil, fmt.Errorf("%w: tier %s says that this node's topology key %s is %q, and it is %q", volume.ErrInvalid, t, key, value, other)
			}
			all[key] = value
		}
	}
	if len(all) == 0 {
		return nil, nil
	}
	if err := tier.CheckSegment(all); err != nil {
		return nil, fmt.Errorf("topology of node %s: %w", s.nodeID, err)
	}
	return all, nil
}

// lock takes the lock of the volume and then that of the path, always in this order. Two volumes may be asked for at one
// path, and the id may be one that no grammar knows: any text serves as a key.
func (s *Server) lock(ctx context.Context, id, path, operation string) (release func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	ofVolume, err := s.locks.Acquire(ctx, id, operation)
	if err != nil {
		return nil, err
	}
	ofPath, err := s.locks.Acquire(ctx, "path "+path, operation)
	if err != nil {
		ofVolume()
		return nil, err
	}
	return func() { ofPath(); ofVolume() }, nil
}

// backend finds who serves the volume. The error wraps volume.ErrInvalid.
func (s *Server) backend(volumeID string) (volume.ID, tier.NodeBackend, error) {
	id, err := volume.ParseID(volumeID)
	if err != nil {
		return "", tier.NodeBackend{}, err
	}
	b, err := s.tiers.For(id.Tier())
	if err != nil {
		return "", tier.NodeBackend{}, err
	}
	return id, b, nil
}
