package warm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/strata-csi/strata/pkg/volume"
)

// Capacity is what the class's pool can still take, its redundancy paid for. Quotas may promise more than that: a shared
// drive is seldom full. See tier.CapacityReporter.
func (b *Backend) Capacity(ctx context.Context, parameters map[string]string, _ volume.Segment) (volume.Capacity, error) {
	// A team named by namespace has no bearing on the pool, and GetCapacity has no namespace.
	c, s, err := b.resolve(ctx, parameters, "any")
	if err != nil {
		return volume.Capacity{}, err
	}
	raw, err := s.conn.Mon(ctx, map[string]any{"prefix": "df", "format": "json"})
	if err != nil {
		return volume.Capacity{}, classify(err)
	}
	var df struct {
		Pools []struct {
			Name  string `json:"name"`
			Stats struct {
				Available int64 `json:"max_avail"`
			} `json:"stats"`
		} `json:"pools"`
	}
	if err := json.Unmarshal(raw, &df); err != nil {
		return volume.Capacity{}, fmt.Errorf("df: %w", err)
	}
	for _, p := range df.Pools {
		if p.Name == c.pool {
			return volume.Capacity{Available: p.Stats.Available}, nil
		}
	}
	return volume.Capacity{}, fmt.Errorf("%w: the cluster reports no capacity of pool %s yet", volume.ErrUnavailable, c.pool)
}

// Health looks at a volume and what it stands on. See tier.HealthReporter.
func (b *Backend) Health(ctx context.Context, id volume.ID) ([]volume.Condition, error) {
	conditions, err := b.health(ctx, id)
	return conditions, classify(err)
}

func (b *Backend) health(ctx context.Context, id volume.ID) ([]volume.Condition, error) {
	ref, err := parseVolume(id)
	if err != nil {
		return nil, err
	}
	s, err := b.reach(ctx, ref.cluster, ref.fs, ref.sub)
	if err != nil {
		return nil, err
	}
	v, err := b.checks.look(ctx, s.conn, ref.cluster, freshView)
	if err != nil {
		return nil, err
	}
	if !v.filesystems[ref.fs].active { // and nothing about the volume can be read
		return []volume.Condition{{Severity: volume.Inaccessible, Reason: "NoActiveMDS",
			Message: fmt.Sprintf("file system %s has no active MDS: reads and writes wait; see `ceph fs status %s`", ref.fs, ref.fs)}}, nil
	}
	_, _, rec, err := b.find(ctx, id)
	if errors.Is(err, volume.ErrPending) {
		return []volume.Condition{{Severity: volume.Inaccessible, Reason: "Copying", Message: err.Error()}}, nil
	}
	if err != nil {
		return nil, err
	}
	var out []volume.Condition
	switch p := v.pools[rec.Pool]; {
	case p.full:
		out = append(out, volume.Condition{Severity: volume.Inaccessible, Reason: "PoolFull",
			Message: fmt.Sprintf("pool %s is full: writes fail or wait; see `ceph df` and add OSDs or delete data", rec.Pool)})
	case p.nearFull:
		out = append(out, volume.Condition{Severity: volume.Degraded, Reason: "PoolNearFull",
			Message: fmt.Sprintf("pool %s is nearly full; see `ceph df`", rec.Pool)})
	}
	if ref.backed {
		return out, nil
	}
	quota, err := number(ctx, s.tree(), rec.Path, attrQuota)
	if err != nil {
		return nil, err
	}
	used, err := number(ctx, s.tree(), rec.Path, attrBytes)
	if err != nil {
		return nil, err
	}
	if quota > 0 && used >= quota {
		out = append(out, volume.Condition{Severity: volume.Degraded, Reason: "QuotaReached",
			Message: fmt.Sprintf("the volume holds %d of %d bytes: writes get EDQUOT; delete files or grow the volume", used, quota)})
	}
	return out, nil
}
