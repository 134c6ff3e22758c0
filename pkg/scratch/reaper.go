package scratch

// The reaper destroys what nobody owns any more: the volume of a pod that was deleted while the node was down, of a
// machine that was started anew, of a request that was interrupted and never repeated, and files of ours without a record.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// PodSource says which pods live on this node.
type PodSource interface {
	// Pods returns the UIDs of all pods that may still use a volume. An error, or a doubt, must be an error: what isn't named is
	// taken for dead.
	Pods(ctx context.Context) (map[string]bool, error)
}

// Reaper works beside the services of one Backend.
type Reaper struct {
	backend *Backend
	pods    PodSource
	grace   time.Duration
	now     func() time.Time
	proc    string // /proc
	// See Ask.
	cluster        Cluster
	seesContainers func() bool
	// ungrown are records of grown claims whose PersistentVolume wasn't there, and since when; see reapGrown.
	ungrown  map[string]time.Time
	nextLook time.Time
	// strays are what was found on a disk without a record, and when first.
	strays map[stray]time.Time
}

// stray is a volume without a record.
type stray struct{ disk, name string }

// NewReaper returns a Reaper that waits for grace between the first sight of an orphan and its end.
func NewReaper(b *Backend, pods PodSource, grace time.Duration) *Reaper {
	return &Reaper{backend: b, pods: pods, grace: grace, now: time.Now, proc: "/proc", ungrown: map[string]time.Time{}, strays: map[stray]time.Time{}}
}

// lockPatience is how long the reaper waits for a volume that a call is busy with; it comes again.
const lockPatience = time.Second

// Run reaps every so often until ctx ends.
func (r *Reaper) Run(ctx context.Context, every time.Duration) error {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := r.Reap(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Looking for scratch volumes that nobody owns")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Reap looks once at every record and every disk. After an error of one volume or of one disk the others are still done.
func (r *Reaper) Reap(ctx context.Context) error {
	all := r.backend.records()
	owners, err := r.owners(ctx, all)
	if err != nil {
		return fmt.Errorf("nothing is destroyed, since it isn't known which pods live: %w", err)
	}
	var errs []error
	for _, rec := range all {
		if err := r.look(ctx, rec.ID, owners); err != nil {
			errs = append(errs, fmt.Errorf("volume %s: %w", rec.ID, err))
		}
	}
	for _, p := range r.backend.pools {
		for _, d := range p.Usable {
			if err := r.lookForStrays(ctx, d); err != nil {
				errs = append(errs, fmt.Errorf("disk %s: %w", d.Name(), err))
			}
		}
	}
	r.backend.reaping.strays.Store(int64(len(r.strays)))
	if err := r.reapGrown(ctx); err != nil {
		errs = append(errs, fmt.Errorf("records of grown claims: %w", err))
	}
	return errors.Join(errs...)
}

// look marks a volume as an orphan, or no orphan, and destroys one that has been for long enough. Under the volume's lock: a request
// for it waits, and then finds it whole or not at all.
func (r *Reaper) look(ctx context.Context, id string, o owners) error {
	b := r.backend
	wait, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	release, err := b.locks.Acquire(wait, id, "the reaper")
	if err != nil {
		return nil // somebody wants it
	}
	defer release()
	rec, ok := b.record(id)
	if !ok {
		return nil
	}
	why := b.orphan(rec, o)
	switch {
	case why == "" && rec.Orphan.IsZero():
		return nil
	case why == "":
		rec.Orphan = time.Time{}
		logger(ctx, rec).Info("Scratch volume has an owner again")
		return b.put(rec)
	case rec.Orphan.IsZero():
		rec.Orphan = r.now().UTC().Truncate(time.Second)
		logger(ctx, rec).Info("Scratch volume seems to be nobody's; it is destroyed unless somebody asks for it", "why", why, "grace", r.grace)
		return b.put(rec)
	case r.now().Sub(rec.Orphan) < r.grace:
		return nil
	}
	logger(ctx, rec).Info("Destroying a scratch volume that nobody owns", "why", why, "since", rec.Orphan)
	failpoint.Hit("scratch/reaper/before-destroy")
	if rec.Inline {
		if err := b.unmountKubelets(ctx, rec); err != nil {
			return err
		}
	}
	if err := b.discard(ctx, rec); err != nil {
		return err
	}
	if _, still := b.record(id); !still { // of one on a lost disk, only the mount went
		b.reaping.destroyed.Add(1)
	}
	if rec.Inline {
		return mountpoint.RemoveMountpoint(rec.Path)
	}
	return nil
}

// orphan says why nobody can own a volume, or "".
func (b *Backend) orphan(r record, o owners) string {
	if r.Inline {
		if why := o.gone(r); why != "" {
			return why
		}
	}
	if _, found, err := mountpoint.Find(r.Path); err != nil || found {
		return "" // in use, as far as can be seen
	}
	switch {
	case r.Boot != b.boot:
		return "the machine was started anew and nobody asked for it since"
	case r.Block && r.Phase == ready:
		return "" // a device has no mount of its own to be seen by
	case r.Phase == ready:
		return "it is not mounted"
	default:
		return "a request for it was interrupted and not repeated (" + string(r.Phase) + ")"
	}
}

// lookForStrays destroys volumes without a record: of a journal that was lost.
func (r *Reaper) lookForStrays(ctx context.Context, d disk.Disk) error {
	names, err := d.List(ctx)
	if err != nil {
		return err
	}
	seen := map[stray]bool{}
	var errs []error
	for _, name := range names {
		key := stray{d.Name(), name}
		if r.backend.recorded(name, d) {
			continue
		}
		seen[key] = true
		first, known := r.strays[key]
		if !known {
			r.strays[key] = r.now()
			klog.FromContext(ctx).Info("A scratch volume has no record in the journal; it is destroyed unless it is in use", "disk", d.Name(), "name", name, "grace", r.grace)
			continue
		}
		if r.now().Sub(first) < r.grace {
			continue
		}
		release, ok := r.backend.claimStray(name, d)
		if !ok {
			continue
		}
		err := d.Destroy(ctx, name, disk.WipeNone)
		release()
		if err != nil && !errors.Is(err, volume.ErrUnavailable) { // in use
			errs = append(errs, fmt.Errorf("volume %s: %w", name, err))
			continue
		}
		if err == nil {
			r.backend.reaping.destroyed.Add(1)
			klog.FromContext(ctx).Info("Destroyed a scratch volume without a record", "disk", d.Name(), "name", name)
		}
	}
	for key := range r.strays {
		if key.disk == d.Name() && !seen[key] {
			delete(r.strays, key)
		}
	}
	return errors.Join(errs...)
}
