package coldfs

// How much the volume holds. S3 keeps no sums, so it is listed in the background, and what this mount writes and removes in between is counted on top.

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	measure "github.com/strata-csi/strata/pkg/cold/usage"
	"github.com/strata-csi/strata/pkg/s3"
)

// usageShare: a volume that takes long to list is listed more rarely, so that at most one part in so many of the time goes into it.
const usageShare = 20

// endless is the size that statfs shows of a volume without a capacity.
const endless = 1 << 50

// usage is what is known of it. The zero usage knows nothing and allows everything.
type usage struct {
	enforce bool

	mu       sync.Mutex
	capacity int64
	listed   int64 // bytes at the last listing
	objects  int64
	at       time.Time // of it; zero: never yet
	since    int64     // bytes that this mount has added since then, or taken
}

// Usage is what a volume holds.
type Usage struct {
	Bytes, Objects, Capacity int64
	// Listed is when it was listed; zero: never yet.
	Listed time.Time
}

// asOf is the Unix time of the listing in seconds. Where there is none yet it is when the engine began, so that what can never be listed gets older too.
func (u Usage) asOf() float64 {
	at := u.Listed
	if at.IsZero() {
		at = began
	}
	return float64(at.UnixMicro()) / 1e6
}

// listing says in words when it was listed.
func (u Usage) listing() string {
	if u.Listed.IsZero() {
		return "never listed yet"
	}
	return "listed at " + u.Listed.UTC().Format(time.RFC3339)
}

func (u *usage) now() Usage {
	u.mu.Lock()
	defer u.mu.Unlock()
	return Usage{Bytes: max(0, u.listed+u.since), Objects: u.objects, Capacity: u.capacity, Listed: u.at}
}

func (u *usage) add(n int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.since += n
}

// allow refuses what would make the volume hold more than it may; n is how much larger a file gets. The quota is soft: other mounts are seen with the next listing.
func (u *usage) allow(n int64) error {
	if n <= 0 || !u.enforce {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.capacity > 0 && u.listed+u.since+n > u.capacity {
		return fmt.Errorf("the volume holds %d bytes of %d: %w", u.listed+u.since, u.capacity, unix.EDQUOT)
	}
	return nil
}

// exceeded tells whether the volume holds more than it may.
func (u *usage) exceeded() (Usage, bool) {
	now := u.now()
	return now, u.enforce && now.Capacity > 0 && now.Bytes >= now.Capacity
}

// look lists everything once.
func (u *usage) look(ctx context.Context, b *s3.Bucket, prefix string) error {
	u.mu.Lock()
	before := u.since
	u.mu.Unlock()
	now, err := measure.Measure(ctx, b, prefix)
	if err != nil {
		return err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	// What was added during the listing may be in it or not; it is counted on top, until the next one.
	u.listed, u.objects, u.at, u.since = now.Bytes, now.Objects, time.Now(), u.since-before
	return nil
}

// run lists every so often, until ctx ends, and tells how that went.
func (u *usage) run(ctx context.Context, b *s3.Bucket, prefix string, p Pauses, listed func(error)) {
	if !u.enforce && !pause(ctx, p.FirstListing) {
		return
	}
	for again := true; again; {
		begun := time.Now()
		err := u.look(ctx, b, prefix)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			klog.FromContext(ctx).Error(err, "The volume can't be listed; what it holds is as before")
		}
		listed(err)
		again = pause(ctx, max(p.Listing, usageShare*time.Since(begun)))
	}
}

// follow asks every so often for the volume's size, which may have grown, until ctx ends; 0: not known. It doesn't wait for a listing, which may take hours.
func (u *usage) follow(ctx context.Context, every time.Duration, capacity func(context.Context) int64, changed func()) {
	for again := true; again; again = pause(ctx, every) {
		if n := capacity(ctx); n > 0 {
			u.mu.Lock()
			u.capacity = n
			u.mu.Unlock()
			changed()
		}
	}
}

// pause waits; false: ctx has ended.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// StatFs shows the capacity, and what was listed last: listing a volume takes too long for a df.
func (f *FS) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	const block = 4096
	now := f.usage.now()
	total := now.Capacity
	if total <= 0 {
		total = endless
	}
	free := max(0, total-now.Bytes) / block
	*out = fuse.StatfsOut{
		Bsize: block, Frsize: block, NameLen: 255,
		Blocks: uint64(total / block), Bfree: uint64(free), Bavail: uint64(free),
		Files: uint64(now.Objects) + 1<<40, Ffree: 1 << 40,
	}
	return fuse.OK
}
