package warm

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/strata-csi/strata/pkg/volume"
)

// find looks for a volume that is ready. Of a volume that is served from a snapshot, the record is made up from its own.
func (b *Backend) find(ctx context.Context, id volume.ID) (volumeRef, site, record, error) {
	ref, err := parseVolume(id)
	if err != nil {
		return ref, site{}, record{}, err
	}
	s, err := b.reach(ctx, ref.cluster, ref.fs, ref.sub)
	if err != nil {
		return ref, s, record{}, err
	}
	var rec record
	if ref.backed {
		var backed backedRecord
		backed, err = readAttr[backedRecord](ctx, s, backedPath(s, ref.sub))
		rec = record{Name: backed.Name, Path: backed.Path, Source: volume.Source{Snapshot: backed.Snapshot}, Owner: backed.Owner, Size: backed.Size}
	} else {
		rec, err = readRecord(ctx, s, ref.sub)
	}
	if unfinished(err) {
		return ref, s, rec, fmt.Errorf("%w: there is no volume %s", volume.ErrNotFound, id)
	}
	if err == nil && rec.Copy != nil {
		return ref, s, rec, fmt.Errorf("%w: the first content of volume %s is still being copied", volume.ErrPending, id)
	}
	return ref, s, rec, err
}

// Get returns a volume that is ready. See tier.Provisioner.
func (b *Backend) Get(ctx context.Context, id volume.ID) (volume.Volume, error) {
	ref, s, rec, err := b.find(ctx, id)
	if err != nil {
		return volume.Volume{}, classify(err)
	}
	v, err := b.measure(ctx, s, ref, id, rec)
	if errors.Is(err, syscall.ENOENT) {
		return volume.Volume{}, fmt.Errorf("%w: there is no volume %s, only snapshots of it", volume.ErrNotFound, id)
	}
	return v, classify(err)
}

// measure completes a volume from its record. syscall.ENOENT: it was removed and only snapshots are left.
func (b *Backend) measure(ctx context.Context, s site, ref volumeRef, id volume.ID, rec record) (volume.Volume, error) {
	size := rec.Size
	if !ref.backed {
		var err error
		if size, err = number(ctx, s.tree(), rec.Path, attrQuota); err != nil {
			return volume.Volume{}, err
		}
	}
	c := class{cluster: ref.cluster, fs: ref.fs}
	return volume.Volume{ID: id, Capacity: size, Context: c.context(rec.Path, ref.backed), Source: rec.Source}, nil
}
