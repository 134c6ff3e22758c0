// Package controller is the CSI Controller service, thin on purpose: validate, lock, ask the tier's backend, reply.
//
// A call that finds its volume busy waits a few seconds and is then told which operation runs, and for how long
// (volume.ErrPending). Errors are those of pkg/volume; pkg/rpc turns them into gRPC codes.
package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// lockWait is how long a call waits for another on the same volume: longer than most take, and shorter than a sidecar's
// patience (external-provisioner's is 15 s), so that it hears what it waits for.
const lockWait = 10 * time.Second

// Server is the CSI Controller service.
type Server struct {
	csi.UnimplementedControllerServer

	tiers tier.Controllers
	locks keylock.Locks
}

// New returns the service of the tiers.
func New(tiers tier.Controllers) *Server { return &Server{tiers: tiers} }

// ControllerGetCapabilities lists what at least one tier can do; every entry is tested. A tier that lacks an operation
// refuses it by name.
func (s *Server) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	resp := &csi.ControllerGetCapabilitiesResponse{}
	add := func(has func(tier.Backend) bool, types ...csi.ControllerServiceCapability_RPC_Type) {
		if s.none(has) {
			return
		}
		for _, t := range types {
			resp.Capabilities = append(resp.Capabilities, &csi.ControllerServiceCapability{
				Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: t}},
			})
		}
	}
	add(func(b tier.Backend) bool { return b.Provisioner != nil },
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER)
	add(func(b tier.Backend) bool { return b.Provisioner != nil && b.SecretUser == nil }, // the request brings no secret
		csi.ControllerServiceCapability_RPC_GET_VOLUME)
	add(func(b tier.Backend) bool { return b.Lister != nil },
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES)
	add(func(b tier.Backend) bool { return b.CapacityReporter != nil },
		csi.ControllerServiceCapability_RPC_GET_CAPACITY)
	add(func(b tier.Backend) bool { return b.Snapshotter != nil },
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_GET_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME)
	add(func(b tier.Backend) bool { return b.Expander != nil },
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME)
	add(func(b tier.Backend) bool { return b.HealthReporter != nil },
		csi.ControllerServiceCapability_RPC_GET_VOLUME_HEALTH)
	add(listsHealth,
		csi.ControllerServiceCapability_RPC_LIST_VOLUME_HEALTH)
	return resp, nil
}

// none says that no tier is so.
func (s *Server) none(so func(tier.Backend) bool) bool {
	for _, b := range s.tiers {
		if so(b) {
			return false
		}
	}
	return true
}

// lock takes the lock of a volume or snapshot. The release is given the call's error: while a backend that did not
// answer in time is still at work for the call, the lock stays taken.
func (s *Server) lock(ctx context.Context, key, operation string) (release func(error), err error) {
	wait, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	free, err := s.locks.Acquire(wait, key, operation)
	if err != nil {
		return nil, err
	}
	return func(err error) {
		var pending interface{ InFlight() <-chan struct{} }
		if !errors.As(err, &pending) {
			free()
			return
		}
		go func() {
			<-pending.InFlight()
			free()
		}()
	}, nil
}

// backend finds the tier of a volume id. An id that can't be one of ours wraps volume.ErrNotFound.
func (s *Server) backend(id string) (volume.ID, tier.Backend, error) {
	if id == "" {
		return "", tier.Backend{}, missing("volume_id")
	}
	parsed, err := volume.ParseID(id)
	if err == nil {
		var b tier.Backend
		if b, err = s.tiers.For(parsed.Tier()); err == nil {
			return parsed, b, nil
		}
	}
	return "", tier.Backend{}, notOurs("volume", err)
}

// snapshotter finds the tier of a snapshot id; the errors are those of backend.
func (s *Server) snapshotter(id string) (volume.SnapshotID, tier.Snapshotter, error) {
	if id == "" {
		return "", nil, missing("snapshot_id")
	}
	parsed, err := volume.ParseSnapshotID(id)
	if err == nil {
		var b tier.Backend
		if b, err = s.tiers.For(parsed.Tier()); err == nil {
			if b.Snapshotter == nil {
				return "", nil, lacks(parsed.Tier(), "snapshots")
			}
			return parsed, b.Snapshotter, nil
		}
	}
	return "", nil, notOurs("snapshot", err)
}

func missing(field string) error { return fmt.Errorf("%w: %s is missing", volume.ErrInvalid, field) }

func lacks(t volume.Tier, what string) error {
	return fmt.Errorf("%w: tier %s has no %s", volume.ErrUnsupported, t, what)
}

// nobody is lacks of every tier: the capability isn't advertised.
func nobody(what string) error {
	return fmt.Errorf("%w: no tier of this controller has %s", volume.ErrUnsupported, what)
}

// notOurs says why an id can't name anything here. The reason is text: it must not make the answer an invalid request.
func notOurs(kind string, reason error) error {
	return fmt.Errorf("%w: no %s of this driver: %v", volume.ErrNotFound, kind, reason)
}
