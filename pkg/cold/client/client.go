// Package client is the node's side of the cold tier: it has an engine (strata-coldfs) started for a volume by strata-mountd, and finds, measures, judges and
// repairs such mounts. It keeps no state: a mount is known by its row in the mount table, so a restarted node finds what the one before it mounted.
package client

import (
	"context"
	"errors"

	"github.com/strata-csi/strata/pkg/clientmount"
	"github.com/strata-csi/strata/pkg/mountd"
	"github.com/strata-csi/strata/pkg/mountpoint"
)

// Holder starts engines and speaks with them. Its errors are those of pkg/volume. clientmount.Holder is one.
type Holder interface {
	// Start mounts, or finds the mount that an equal Start made; after an error nothing is mounted.
	Start(ctx context.Context, s mountd.Spec, secret []byte) error
	// Renew hands new credentials to the engine of a mountpoint. volume.ErrNotFound: the holder knows of none; volume.ErrPrecondition: it takes none.
	Renew(ctx context.Context, mountpoint string, secret []byte) error
	// Unmounted is told that nothing is mounted there any more, and waits until the engine has committed what it had and ended.
	Unmounted(ctx context.Context, mountpoint string) error
	Reporter
}

// Reporter knows what became of engines.
type Reporter interface {
	// Serving returns where else the running engine of a mountpoint is mounted.
	Serving(ctx context.Context, mountpoint string) ([]string, error)
	// Status returns what is known of the running engine behind a mount of that source, Fate what became of one that has ended.
	Status(ctx context.Context, source string) (s mountd.Status, known bool, err error)
	Fate(ctx context.Context, source string) string
}

// Config is what a Stager needs; every field is required.
type Config struct {
	Holder    Holder
	Prober    *mountpoint.Prober
	Unmounter *mountpoint.Unmounter
}

// Stager implements tier.Stager, tier.GroupChecker, tier.Renewer, tier.UsageReporter, tier.MountHealthReporter and node.Locator.
type Stager struct {
	holder Holder
	mounts *clientmount.Mounts
	handed handed
}

// New returns a Stager.
func New(c Config) (*Stager, error) {
	if c.Holder == nil || c.Prober == nil || c.Unmounter == nil {
		return nil, errors.New("cold client: a field of Config is missing")
	}
	return &Stager{holder: c.Holder, mounts: clientmount.New(known{}, c.Prober, c.Unmounter)}, nil
}
