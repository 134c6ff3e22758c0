package scratch

import (
	"context"
	"fmt"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// grow reserves what is to be added and then makes the volume larger. The record has the new size before the volume does: a disk that is
// promised too much would be worse than one that is promised too little. A volume that has the size already is grown all the same: an
// interrupted call may have come no further than the record.
func (b *Backend) grow(ctx context.Context, d disk.Disk, r record, path string, size int64) error {
	if size > r.Size {
		if err := b.reserveMore(ctx, d, r, size); err != nil {
			return err
		}
		b.changed()
		failpoint.Hit("scratch/volume/after-grow-record")
	}
	if r.Block {
		path = ""
	}
	// When it fails the larger reservation stays; the next request grows the volume to it, the unstage gives it back.
	if err := d.Grow(ctx, r.Name, path, size); err != nil {
		return err
	}
	failpoint.Hit("scratch/volume/after-grow")
	b.mu.Lock()
	defer b.mu.Unlock()
	if g := (grown{ID: r.ID, Size: size}); b.ledger.grown[r.Name] != g {
		return b.ledger.putGrown(r.Name, g)
	}
	return nil
}

func (b *Backend) reserveMore(ctx context.Context, d disk.Disk, r record, size int64) error {
	b.space.Lock()
	defer b.space.Unlock()
	p, err := b.pool(r.Pool)
	if err != nil {
		return err
	}
	room, err := b.room(ctx, p, d)
	if err != nil {
		return err
	}
	if room = min(room, b.nodeRoom()); size-r.Size > room {
		return fmt.Errorf("%w: %s more are asked for and %s are free on disk %s, where volume %s lies",
			volume.ErrExhausted, binary(size-r.Size), binary(max(room, 0)), r.Disk, r.ID)
	}
	r.Size = size
	return b.put(r)
}
