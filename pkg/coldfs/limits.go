package coldfs

// What an engine holds at once is bounded: by refusing, by waiting, or by having the kernel forget.

import (
	"cmp"
	"context"
	"time"

	"github.com/strata-csi/strata/pkg/coldfs/device"
)

// Limits bound what an engine holds at once. Where one is 0 it is as it is in a cluster; tests have lower ones.
type Limits struct {
	// Handles is how many files and directories may be open: ENFILE. 0: 16,384.
	Handles int
	// Nodes is how many files and directories the kernel may know before it is asked to forget some, and half of how many it is told of when it lists a directory; who asks for a name is always answered. 0: 100,000.
	Nodes int
	// Requests are those that run at once; the others wait for their turn.
	Requests device.Limits
}

func (l Limits) withDefaults() Limits {
	l.Handles, l.Nodes = cmp.Or(l.Handles, 16<<10), cmp.Or(l.Nodes, 100_000)
	return l
}

// crowd is called when the kernel has been told of a node.
func (f *FS) crowd() {
	if f.table.Len() <= f.limits.Nodes {
		return
	}
	select {
	case f.crowded <- struct{}{}:
	default:
	}
}

// full tells whether the kernel knows so many nodes that a listing of a directory had better not add to them.
func (f *FS) full() bool { return f.table.Len() >= 2*f.limits.Nodes }

// trimPause is how long the kernel has for forgetting what it was asked to forget.
const trimPause = 20 * time.Millisecond

// trim has the kernel forget names when it knows too many, and forgets what nobody may be shown any more. forget waits for locks that requests hold.
func (f *FS) trim(ctx context.Context, forget func(parent *node, name string)) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.pages.Expire(f.oldest())
		case <-f.crowded:
		}
		f.shrink(ctx, forget)
	}
}

// maxForgotten is how many names are forgotten before it is looked again how many there are.
const maxForgotten = 4096

// shrink has the kernel forget names until the table is a little smaller than it may be, or doesn't get smaller.
func (f *FS) shrink(ctx context.Context, forget func(parent *node, name string)) {
	for before := f.table.Len(); before > f.limits.Nodes; {
		for _, n := range f.table.Idle(min(maxForgotten, before-f.limits.Nodes/16*15)) {
			if parent, name, ok := f.table.Place(n); ok && ctx.Err() == nil {
				forget(parent, name)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(trimPause):
		}
		now := f.table.Len()
		if now >= before {
			return // all is in use, or others add as many: until the next tick
		}
		before = now
	}
}
