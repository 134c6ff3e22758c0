package warm

// How much of the clusters each team has, for the metrics. It is read from the file system's own recursive statistics, an attribute
// of each volume's directory: neither does anybody walk through files, nor is the manager asked for anything.

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/strata-csi/strata/pkg/metrics"
	"github.com/strata-csi/strata/pkg/volume"
)

// usagePause is what is left to the metadata server between two volumes: a look asks one question at a time, at most some
// hundred in a second.
const usagePause = 5 * time.Millisecond

// Usage counts the volumes of all clusters by team and data pool. Look asks the clusters, Volumes answers from memory.
type Usage struct {
	backend *Backend

	mu   sync.Mutex
	sums map[metrics.Group]metrics.Sum
}

// NewUsage returns a Usage that has not looked yet, and so knows nothing.
func NewUsage(b *Backend) *Usage { return &Usage{backend: b} }

// Volumes returns what the last look that went to the end has found. See metrics.Volumes.
func (u *Usage) Volumes() map[metrics.Group]metrics.Sum {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sums
}

// Look goes through all volumes. When it fails what was known before stays: a sum without a cluster that doesn't answer would look
// as if its volumes were gone.
func (u *Usage) Look(ctx context.Context) error {
	sums := map[metrics.Group]metrics.Sum{}
	for s, err := range u.backend.sites(ctx) {
		if err != nil {
			return classify(err)
		}
		refs, err := volumeRefs(ctx, s)
		if err != nil {
			return classify(err)
		}
		for _, ref := range refs {
			if err := u.add(ctx, s, ref, sums); err != nil && !unfinished(err) {
				return fmt.Errorf("%s/%s: %w", ref.sub.Group, ref.sub.Name, classify(err))
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("the %d volumes of file system %s could not all be looked at in time: %w", len(refs), s.fs.Name(), ctx.Err())
			case <-time.After(usagePause):
			}
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.sums = sums
	return nil
}

// add counts one volume. One that is served from a snapshot is a volume, and its bytes are the snapshot's.
func (u *Usage) add(ctx context.Context, s site, ref volumeRef, sums map[metrics.Group]metrics.Sum) error {
	g := metrics.Group{Tier: string(volume.Warm), Team: strings.TrimPrefix(ref.sub.Group, s.cluster.NamePrefix+groupSeparator)}
	one := metrics.Sum{Count: 1}
	if ref.backed {
		if _, err := readAttr[backedRecord](ctx, s, backedPath(s, ref.sub)); err != nil {
			return err
		}
	} else {
		rec, err := readRecord(ctx, s, ref.sub)
		if err != nil {
			return err
		}
		g.Pool, one.Bytes = rec.Pool, rec.Size
		if one.Used, err = number(ctx, s.tree(), rec.Path, attrBytes); err != nil {
			return err // removed, with snapshots left, among others
		}
	}
	sum := sums[g]
	sums[g] = metrics.Sum{Count: sum.Count + one.Count, Bytes: sum.Bytes + one.Bytes, Used: sum.Used + one.Used}
	return nil
}
