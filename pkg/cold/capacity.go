package cold

import (
	"context"

	"github.com/strata-csi/strata/pkg/volume"
)

// Unbounded is what a class of the tier can still hold, in bytes: 1 EiB, more than a claim asks for. S3 doesn't say how much room a store has. A scheduler that knew of
// no room would start no pod whose claim is made for it (volumeBindingMode WaitForFirstConsumer).
const Unbounded = int64(1) << 60

// Capacity returns Unbounded for parameters that Create would take. It asks no store: the request has no secret.
func (b *Backend) Capacity(_ context.Context, parameters map[string]string, _ volume.Segment) (volume.Capacity, error) {
	if len(parameters) > 0 {
		if err := b.CheckParameters(parameters); err != nil {
			return volume.Capacity{}, err
		}
	}
	return volume.Capacity{Available: Unbounded}, nil
}
