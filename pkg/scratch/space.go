package scratch

// Who gets how much of which disk.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// Pool is a pool of the configuration with the disks that were found to work.
type Pool struct {
	config.Pool
	Usable  []disk.Disk
	Held    []disk.Disk // refused now, but volumes may lie on them from before; they take no new ones
	Refused []error     // why the others aren't used, for the operator
}

// room is the bytes of a disk that nobody was promised. It may be negative, when others filled the disk. All that lies on the disk counts,
// in whatever way it was used and whatever its pool was called when a volume was made.
func (b *Backend) room(ctx context.Context, p Pool, d disk.Disk) (int64, error) {
	capacity, err := d.Capacity(ctx)
	if err != nil {
		return 0, err
	}
	b.mu.Lock()
	promised := b.ledger.sum(func(r record) bool { return r.Disk == d.Name() })
	b.mu.Unlock()
	return capacity - capacity/100*int64(p.ReservePercent) - promised, nil
}

// nodeRoom is what the node's own limit leaves; without one, more than any disk has.
func (b *Backend) nodeRoom() int64 {
	if b.config.MaxPerNode == 0 {
		return 1<<63 - 1
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.config.MaxPerNode - b.ledger.sum(func(record) bool { return true })
}

// reserve chooses the disk with the most room and writes the record, in one step for all requests of the node.
func (b *Backend) reserve(ctx context.Context, r record, spec disk.Spec) (disk.Disk, error) {
	b.space.Lock()
	defer b.space.Unlock()
	if err := b.checkLimits(r); err != nil {
		return nil, err
	}
	p, err := b.pool(r.Pool)
	if err != nil {
		return nil, err
	}
	var best disk.Disk
	var most int64
	var unfit, failed []error
	for _, d := range p.Usable {
		if err := suits(d, spec, r.Wipe); err != nil {
			unfit = append(unfit, fmt.Errorf("%s: %w", d.Name(), err))
			continue
		}
		room, err := b.room(ctx, p, d)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", d.Name(), err))
			continue
		}
		if best == nil || room > most {
			best, most = d, room
		}
	}
	switch {
	case best == nil && len(failed) == 0:
		return nil, errors.Join(unfit...)
	case best == nil:
		return nil, fmt.Errorf("%w: no disk of pool %s can be looked at: %v", volume.ErrUnavailable, p.Name, errors.Join(failed...))
	case most < r.Size:
		return nil, fmt.Errorf("%w: %d bytes (%s) are asked for and the disk with the most room in pool %s has %d (%s) free, the inline volumes of all pods counted; "+
			"ask for less, or for another class", volume.ErrExhausted, r.Size, binary(r.Size), p.Name, max(most, 0), binary(max(most, 0)))
	}
	r.Disk, r.Kind = best.Name(), best.Kind()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.strays[r.Name] {
		return nil, fmt.Errorf("%w: what an earlier volume %s left on a disk is being destroyed", volume.ErrPending, r.ID)
	}
	return best, b.ledger.put(r)
}

// suits says whether a volume can be made on a disk, and destroyed as its class wants, whatever room there is.
func suits(d disk.Disk, spec disk.Spec, wipe disk.Wipe) error {
	if err := d.CheckSpec(spec); err != nil {
		return err
	}
	if c, ok := d.(disk.WipeChecker); ok {
		return c.CheckWipe(wipe)
	}
	return nil
}

// checkLimits holds a new record against what one pod, and all of them, may have.
func (b *Backend) checkLimits(r record) error {
	if free := b.nodeRoom(); r.Size > free {
		return fmt.Errorf("%w: %d bytes (%s) are asked for and %d (%s) are left of the %s that scratch volumes may have on this node (maxPerNode)",
			volume.ErrExhausted, r.Size, binary(r.Size), max(free, 0), binary(max(free, 0)), binary(b.config.MaxPerNode))
	}
	if !r.Inline || b.config.MaxPerPod == 0 {
		return nil
	}
	b.mu.Lock()
	has := b.ledger.sum(func(o record) bool { return o.Inline && o.Pod.UID == r.Pod.UID })
	b.mu.Unlock()
	if has+r.Size > b.config.MaxPerPod {
		// Nothing that becomes free changes it: the pod must ask for less.
		return fmt.Errorf("%w: the inline volumes of one pod may have %s together (maxPerPod); this pod has %s and asks for %s more",
			volume.ErrInvalid, binary(b.config.MaxPerPod), binary(has), binary(r.Size))
	}
	return nil
}

// pool finds a pool that has a usable disk. The error wraps volume.ErrPrecondition.
func (b *Backend) pool(name string) (Pool, error) {
	p, ok := b.pools[name]
	if !ok {
		return Pool{}, fmt.Errorf("%w: the node's configuration has no scratch pool %q any more", volume.ErrPrecondition, name)
	}
	if len(p.Usable) == 0 {
		return Pool{}, fmt.Errorf("%w: no disk of scratch pool %s can be used: %v", volume.ErrPrecondition, name, errors.Join(p.Refused...))
	}
	return p, nil
}

// diskOf is the disk of a record, which the configuration may have lost, or have in a pool of another name.
func (b *Backend) diskOf(r record) (disk.Disk, error) {
	for _, p := range b.pools {
		for _, d := range slices.Concat(p.Usable, p.Held) {
			if d.Name() == r.Disk && d.Kind() == r.Kind {
				return d, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: volume %s lies on disk %s (%s) of pool %s, which this node can't use now: %v",
		volume.ErrUnavailable, r.ID, r.Disk, r.Kind, r.Pool, errors.Join(b.pools[r.Pool].Refused...))
}

// Capacities returns what each class can still have on this node.
func (b *Backend) Capacities(ctx context.Context) (map[string]volume.Capacity, error) {
	rooms := map[string]volume.Capacity{}
	var errs []error
	limit := max(b.nodeRoom(), 0)
	for name, p := range b.pools {
		var c volume.Capacity
		for _, d := range p.Usable {
			room, err := b.room(ctx, p, d)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", d.Name(), err))
				continue
			}
			c.Available += max(room, 0)
			c.Largest = max(c.Largest, room)
		}
		rooms[name] = volume.Capacity{Available: min(c.Available, limit), Largest: min(c.Largest, limit)}
	}
	classes := make(map[string]volume.Capacity, len(b.config.Classes))
	for _, c := range b.config.Classes {
		has := rooms[c.Pool]
		if c.MaxSize > 0 {
			has.Largest = min(has.Largest, c.MaxSize)
		}
		classes[c.Name] = has
	}
	return classes, errors.Join(errs...)
}

// binary writes bytes in the largest unit that keeps one decimal honest.
func binary(n int64) string {
	units := strings.Fields("Ki Mi Gi Ti Pi Ei")
	if n < 1<<10 {
		return fmt.Sprintf("%d bytes", n)
	}
	v, i := float64(n)/1024, 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0") + units[i]
}
