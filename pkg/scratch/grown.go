package scratch

// The record of a claim's size outlives its volume, see grow. Nobody tells a node that a claim is gone: the API is asked.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/klog/v2"
)

// handlesEvery is the least time between two questions for all PersistentVolumes of a cluster. Nothing waits for the answer.
const handlesEvery = 10 * time.Minute

// reapGrown removes the records of grown claims whose PersistentVolume isn't there at two looks, the grace time apart. As for volumes,
// nothing is removed when the API can't be asked, and only when kubelet has to do with that very API.
func (r *Reaper) reapGrown(ctx context.Context) error {
	candidates := r.backend.grownWithoutVolume()
	for id := range r.ungrown {
		if !candidates[id] {
			delete(r.ungrown, id)
		}
	}
	if r.cluster == nil || len(candidates) == 0 || r.now().Before(r.nextLook) {
		return nil
	}
	if err := r.cluster.KubeletReports(ctx); err != nil {
		return err
	}
	handles, err := r.cluster.Handles(ctx)
	if err != nil {
		return err
	}
	r.nextLook = r.now().Add(max(r.grace, handlesEvery))
	var errs []error
	for id := range candidates {
		first, known := r.ungrown[id]
		switch {
		case handles[id]:
			delete(r.ungrown, id)
		case !known:
			r.ungrown[id] = r.now()
		case r.now().Sub(first) >= r.grace:
			if err := r.forgetGrown(ctx, id); err != nil {
				errs = append(errs, fmt.Errorf("volume %s: %w", id, err))
			}
		}
	}
	return errors.Join(errs...)
}

// forgetGrown removes one record, unless the volume is made anew meanwhile.
func (r *Reaper) forgetGrown(ctx context.Context, id string) error {
	b := r.backend
	wait, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	release, err := b.locks.Acquire(wait, id, "the reaper")
	if err != nil {
		return nil // somebody wants it
	}
	defer release()
	if _, there := b.record(id); there {
		return nil
	}
	delete(r.ungrown, id)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.ledger.removeGrown(nameOf(id)); err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Forgot the size of a grown claim: its PersistentVolume is gone", "volume", id)
	return nil
}

// grownWithoutVolume are the ids of grown claims that have no volume on this node now.
func (b *Backend) grownWithoutVolume() map[string]bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	ids := map[string]bool{}
	for name, g := range b.ledger.grown {
		if _, there := b.ledger.records[name]; !there {
			ids[g.ID] = true
		}
	}
	return ids
}
