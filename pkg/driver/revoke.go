package driver

import (
	"context"
	"errors"

	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

// Revoke removes the identities of warm volumes that aren't there, with the credentials of the controller: see warm.Backend.Revoke. All
// are tried; the errors come together.
func Revoke(ctx context.Context, o ControllerOptions, dial warm.Dial, ids []volume.ID) error {
	backend, err := OpenWarm(o, dial)
	if err != nil {
		return err
	}
	defer backend.Close()
	var errs []error
	for _, id := range ids {
		errs = append(errs, backend.Revoke(ctx, id))
	}
	return errors.Join(errs...)
}

// OpenWarm is tier warm with the credentials of the controller, for the programs that operators run beside it. Close it.
func OpenWarm(o ControllerOptions, dial warm.Dial) (*warm.Backend, error) {
	store, err := clusters.Open(clusters.Options{Path: o.ClusterConfig, Controller: true, Validate: warm.CheckCluster})
	if err != nil {
		return nil, err
	}
	keeper, err := openKeeper(o)
	if err != nil {
		return nil, err
	}
	return warm.New(warm.Options{Clusters: store, Dial: dial, Keeper: keeper, Lease: o.LockLease}), nil
}
