package draft

// What a store has done so far.

import (
	"sync/atomic"
)

// Stats are counters since the store was made, besides Drafts and Used, which are of now.
type Stats struct {
	Drafts int
	Used   int64 // bytes staged now

	Staged    int64 // bytes that were written to staged files
	Uploaded  int64 // bytes that the store took, those included that were sent again
	Copied    int64 // bytes that the store copied by itself
	Wasted    int64 // bytes that were sent and not used, as they were written again
	Punched   int64 // bytes that were given up after they were sent, for want of room
	Commits   int64
	Conflicts int64 // commits that met a newer object
	Failures  int64 // commits that failed otherwise
}

type counters struct {
	staged, uploaded, copied, wasted, punched, commits, conflicts, failures atomic.Int64
}

// Stats tells what the store has done.
func (s *Store) Stats() Stats {
	c := &s.counters
	s.mu.Lock()
	drafts, used := len(s.drafts), s.used
	s.mu.Unlock()
	return Stats{
		Drafts: drafts, Used: used,
		Staged: c.staged.Load(), Uploaded: c.uploaded.Load(), Copied: c.copied.Load(), Wasted: c.wasted.Load(), Punched: c.punched.Load(),
		Commits: c.commits.Load(), Conflicts: c.conflicts.Load(), Failures: c.failures.Load(),
	}
}
