package coldfs

// What is wrong with the volume, as the holder is told. It is noticed where it happens and ends when the store answers well again.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/coldfs/draft"
	"github.com/strata-csi/strata/pkg/s3"
)

// health collects conditions by their reason.
type health struct {
	ill     atomic.Bool // the store: so that well costs nothing mostly
	changed chan struct{}

	mu         sync.Mutex
	conditions map[string]string
}

func newHealth() *health {
	return &health{changed: make(chan struct{}, 1), conditions: map[string]string{}}
}

// failed notes an error of an operation, if it says something of the volume.
func (h *health) failed(err error) {
	for _, c := range []struct {
		err    error
		reason string
	}{
		{s3.ErrDenied, control.CredentialRefused},
		{s3.ErrNoBucket, control.BucketMissing},
		{s3.ErrUnavailable, control.EndpointUnreachable},
	} {
		if errors.Is(err, c.err) && !errors.Is(err, context.Canceled) {
			h.ill.Store(true)
			h.set(c.reason, err.Error())
			return
		}
	}
	if errors.Is(err, draft.ErrNoRoom) {
		h.set(control.CacheDiskFull, err.Error())
	}
}

// well notes that the store has answered.
func (h *health) well() {
	if h.ill.Load() {
		h.ill.Store(false)
		h.end(control.CredentialRefused, control.BucketMissing, control.EndpointUnreachable)
	}
}

func (h *health) set(reason, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, known := h.conditions[reason]; known {
		return // the first error says why; the next ones only change in the key
	}
	h.conditions[reason] = text
	h.tell()
}

func (h *health) end(reasons ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := len(h.conditions)
	for _, r := range reasons {
		delete(h.conditions, r)
	}
	if len(h.conditions) != before {
		h.tell()
	}
}

func (h *health) has(reason string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.conditions[reason]
	return ok
}

// tell wakes who sends. The mutex is held.
func (h *health) tell() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// now is all that is wrong.
func (h *health) now() control.Health {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := control.Health{Conditions: []control.Condition{}}
	for reason, text := range h.conditions {
		all.Conditions = append(all.Conditions, control.Condition{Reason: reason, Text: text})
	}
	slices.SortFunc(all.Conditions, func(a, b control.Condition) int { return strings.Compare(a.Reason, b.Reason) })
	return all
}

// watch asks what nobody asks: the store while it is ill, the disk of the cache, the quota.
func (f *FS) watch(ctx context.Context) {
	tick := time.NewTicker(f.pauses.Probe)
	defer tick.Stop()
	for {
		f.watchOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *FS) watchOnce(ctx context.Context) {
	if f.health.ill.Load() {
		// Below the prefix: a credential may be bound to it.
		_, _ = f.page(ctx, s3.ListRequest{Prefix: f.config.Prefix, Max: 1})
	}
	f.watchDisk()
	f.watchQuota()
}

// watchDisk looks at the disk of the cache. That a write found no room on it is noticed there; here, that there is some again.
func (f *FS) watchDisk() {
	err := f.cache.Health()
	full := errors.Is(err, blockcache.ErrFull)
	if err != nil && !full {
		f.health.set(control.CacheDiskError, err.Error())
	} else {
		f.health.end(control.CacheDiskError)
	}
	switch {
	case full:
		f.health.set(control.CacheDiskFull, "what is read isn't kept on this node: "+err.Error())
	case f.health.has(control.CacheDiskFull) && (f.drafts == nil || f.drafts.Room() == nil):
		f.health.end(control.CacheDiskFull)
	}
}

// watchListing takes what a listing of the volume says, which is there also when no program asks for anything.
func (f *FS) watchListing(err error) {
	if err != nil {
		f.health.failed(err)
	} else {
		f.health.well()
	}
	f.watchQuota()
}

func (f *FS) watchQuota() {
	if now, over := f.usage.exceeded(); over {
		f.health.set(control.QuotaExceeded, fmt.Sprintf(
			"the volume holds %d bytes of %d (%s); new writes are refused until something is removed or the claim is made larger", now.Bytes, now.Capacity, now.listing()))
	} else {
		f.health.end(control.QuotaExceeded)
	}
}
