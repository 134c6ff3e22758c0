package report

import (
	"context"
	"maps"
)

// Keeper writes the reports of this node to where each costs others something, as the Kubernetes API: what says nothing new is written only
// now and then. It isn't for several goroutines at once.
type Keeper struct {
	put  func(ctx context.Context, report []byte) error
	last Report // as it was written last; zero: none
}

// NewKeeper writes with put, which replaces the report of this node.
func NewKeeper(put func(ctx context.Context, report []byte) error) *Keeper { return &Keeper{put: put} }

// Write writes a report that differs from the last one in more than its time, or is half of MaxAge newer. Call it as often as Writer.Write.
func (k *Keeper) Write(ctx context.Context, r Report) error {
	age := r.Time.Sub(k.last.Time)
	if maps.Equal(r.Segment, k.last.Segment) && maps.Equal(r.Classes, k.last.Classes) && age >= 0 && age < MaxAge/2 {
		return nil
	}
	raw, err := encode(r)
	if err != nil {
		return err
	}
	if err := k.put(ctx, raw); err != nil {
		k.last = Report{} // it isn't known what is there
		return err
	}
	k.last = r
	return nil
}
