package warm

import (
	"context"
	"fmt"
	"strconv"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// Expand raises the quota; the clients that have the volume mounted see it within seconds. See tier.Expander.
//
// The quota is set where the manager's `resize` would set it, on the data directory, without the manager: its
// --no_shrink guards only what is used, so the comparison has to be ours anyway, under a lock.
func (b *Backend) Expand(ctx context.Context, id volume.ID, want volume.CapacityRange) (int64, bool, error) {
	size, err := b.expand(ctx, id, want)
	return size, false, classify(err)
}

func (b *Backend) expand(ctx context.Context, id volume.ID, want volume.CapacityRange) (int64, error) {
	if err := want.Check(); err != nil {
		return 0, err
	}
	ref, s, rec, err := b.find(ctx, id)
	if err != nil {
		return 0, err
	}
	if ref.backed {
		return 0, fmt.Errorf("%w: %s is served read-only from a snapshot and can't grow; restore the snapshot into a writable volume",
			volume.ErrInvalid, id)
	}
	if rec.Size >= want.Required { // it has grown: what its team may have now doesn't matter
		return b.grow(ctx, s, ref, id, want)
	}
	var size int64
	err = b.withinTeam(ctx, s, ref.sub, 0, sizeFor(want), func(ctx context.Context) (err error) {
		size, err = b.grow(ctx, s, ref, id, want)
		return err
	})
	return size, err
}

func (b *Backend) grow(ctx context.Context, s site, ref volumeRef, id volume.ID, want volume.CapacityRange) (_ int64, err error) {
	lock, err := b.lock(ctx, s, "volume", ref.sub.String(), "expand")
	if err != nil {
		return 0, err
	}
	defer func() { _ = lock.end(err, nil) }()
	ctx = lock.ctx
	_, _, rec, err := b.find(ctx, id) // anew: it may be another by now
	if err != nil {
		return 0, err
	}
	have, err := number(ctx, s.tree(), rec.Path, attrQuota)
	if err != nil {
		return 0, err
	}
	if want.Limit > 0 && have > want.Limit {
		return 0, fmt.Errorf("%w: the volume has %d bytes and never shrinks; limit_bytes %d is below that", volume.ErrOutOfRange, have, want.Limit)
	}
	if have >= want.Required {
		return have, nil
	}
	size := sizeFor(want)
	failpoint.Hit("warm/expand/before-record")
	rec.Size = size
	if err := replaceRecord(ctx, s, ref.sub, rec); err != nil {
		return 0, err
	}
	failpoint.Hit("warm/expand/before-quota")
	if err := s.tree().SetXattr(ctx, rec.Path, attrQuota, strconv.FormatInt(size, 10)); err != nil {
		return 0, err
	}
	failpoint.Hit("warm/expand/after-quota")
	return size, nil
}
