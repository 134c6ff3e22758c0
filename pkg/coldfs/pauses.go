package coldfs

// How often an engine looks at what nobody tells it.

import (
	"cmp"
	"time"
)

// Pauses are how long an engine waits before it looks again at what nobody tells it. A zero field has its default.
type Pauses struct {
	// Listing is the pause between two listings of the volume, at least (default 5 min).
	Listing time.Duration
	// FirstListing is the pause before the first, where no quota is kept by it (default 30 s): who mounts a volume has something to do there, and the store the less.
	FirstListing time.Duration
	// Capacity is the pause between two looks at the owner marker, which says how large the volume is (default 1 min). It is how late an engine knows that a claim has grown.
	Capacity time.Duration
	// Probe is the pause between two looks at the store while it fails, should nobody else ask, and at the disk of the cache (default 15 s).
	Probe time.Duration
	// Metrics is how often the holder is told what was counted (default 15 s).
	Metrics time.Duration
}

func (p Pauses) withDefaults() Pauses {
	return Pauses{
		Listing: cmp.Or(p.Listing, 5*time.Minute), FirstListing: cmp.Or(p.FirstListing, 30*time.Second), Capacity: cmp.Or(p.Capacity, time.Minute),
		Probe: cmp.Or(p.Probe, 15*time.Second), Metrics: cmp.Or(p.Metrics, 15*time.Second),
	}
}
