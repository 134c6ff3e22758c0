package cephtest

// Faults and counts: every call of every connection passes here.

import (
	"errors"
	"maps"
	"sync"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
)

// Kind is which part of Ceph a call goes to.
type Kind string

// The kinds of calls.
const (
	Mgr     Kind = "mgr"
	Mon     Kind = "mon"
	MDS     Kind = "mds"
	Tree    Kind = "tree"
	Objects Kind = "objects"
)

// Call is one call as the intercept function sees it.
type Call struct {
	Kind Kind
	// Op is the command's prefix ("fs subvolume create") or the method's name ("SetXattr").
	Op string
	// Args are a command's arguments without its prefix and format; of methods "fs", "path", "name", "value" or "pool",
	// "namespace", "object", "name", "cookie".
	Args map[string]any
	// Count is how many calls with this Op there were, this one included.
	Count int
	Conn  *Conn
}

// Action is what happens to a call. The zero Action does it as ever.
type Action struct {
	// Before is called first, outside of the cluster's lock: it may do anything, another client's calls included.
	Before func()
	// Delay passes next.
	Delay time.Duration
	// Fail is answered without doing the call. A syscall.Errno becomes a *ceph.Error.
	Fail error
	// Hang holds the call back: it is done when Until is closed (never, when nil), also after its caller has left.
	Hang  bool
	Until <-chan struct{}
	// Lose does the call and answers this instead: the reply was lost, or the caller died before it came.
	Lose error
	// LoseAndHang does the call and gives no answer; it has ended when Until is closed.
	LoseAndHang bool
}

// Counts is how many calls there were.
type Counts struct {
	Mgr, Mon, MDS, Tree, Objects int
	// Ops counts by Op.
	Ops map[string]int
}

type hooks struct {
	mu        sync.Mutex
	intercept func(Call) Action
	counts    Counts
}

// Intercept sets the function that is asked about every call; nil for none. It is called from the caller's
// goroutine without any lock held.
func (c *Cluster) Intercept(f func(Call) Action) {
	c.hooks.mu.Lock()
	defer c.hooks.mu.Unlock()
	c.hooks.intercept = f
}

// Counts returns how many calls there were since the last ResetCounts, failed ones included.
func (c *Cluster) Counts() Counts {
	c.hooks.mu.Lock()
	defer c.hooks.mu.Unlock()
	n := c.hooks.counts
	n.Ops = maps.Clone(n.Ops)
	return n
}

// ResetCounts begins counting anew.
func (c *Cluster) ResetCounts() {
	c.hooks.mu.Lock()
	defer c.hooks.mu.Unlock()
	c.hooks.counts = Counts{}
}

// begin counts a call and asks what to do with it.
func (h *hooks) begin(call Call) Action {
	h.mu.Lock()
	n := &h.counts
	switch call.Kind {
	case Mgr:
		n.Mgr++
	case Mon:
		n.Mon++
	case MDS:
		n.MDS++
	case Tree:
		n.Tree++
	case Objects:
		n.Objects++
	}
	if n.Ops == nil {
		n.Ops = map[string]int{}
	}
	n.Ops[call.Op]++
	call.Count = n.Ops[call.Op]
	f := h.intercept
	h.mu.Unlock()
	if f == nil {
		return Action{}
	}
	return f(call)
}

// asError makes a *ceph.Error of an errno.
func asError(err error) error {
	if n := syscall.Errno(0); errors.As(err, &n) && !errors.As(err, new(*ceph.Error)) {
		return &ceph.Error{Errno: n}
	}
	return err
}
