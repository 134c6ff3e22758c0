package warm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/volume"
)

// Two controllers may run at once, in a fail-over at least. What a single atomic operation of the metadata server can't decide
// between them (growing a quota, lending a group's layout to a clone) is done under a lock in RADOS. Its holder renews it for
// as long as it works, which under a busy manager may take a while; the lease of a controller that was killed ends by itself, so
// that the others are held up for no longer.

const (
	lockNamespace = "strata-locks"
	lockName      = "strata"
	lockObjects   = 64 // the locks of one kind share this many objects, so that none is ever left over
	lockPoll      = 50 * time.Millisecond
)

// errLockLost is why what runs under a lock is ended: it could not be renewed.
var errLockLost = errors.New("the lock in Ceph could not be renewed")

// leases are the locks of one process: two calls of it wait for each other here, not by asking RADOS.
type leases struct{ held keylock.Locks }

// held is a lock that is held, and renewed in the background until end is called.
type held struct {
	ctx     context.Context // for what is done under the lock: ends with the caller's, or when the lock is lost
	objects ceph.Objects
	object  string
	cookie  string
	lease   time.Duration
	stop    chan struct{} // closed to end the renewal
	stopped chan struct{} // closed when it has ended
	local   func()        // releases the lock of this process
}

// lock takes the lock of kind and name on the file system.
func (b *Backend) lock(ctx context.Context, s site, kind, name, operation string) (*held, error) {
	hash := fnv.New32a()
	hash.Write([]byte(name))
	object := fmt.Sprintf("%s.%02x", kind, hash.Sum32()%lockObjects)
	local, err := b.locks.held.Acquire(ctx, s.cluster.ID+"/"+s.fs.Name()+"/"+object, operation)
	if err != nil {
		return nil, err
	}
	pool, err := b.checks.firstPool(ctx, s)
	if err != nil {
		local()
		return nil, classify(err)
	}
	h := &held{objects: s.conn.Objects(pool, lockNamespace), object: object, cookie: rand.Text(), lease: b.lease,
		stop: make(chan struct{}), stopped: make(chan struct{}), local: local}
	for {
		until := time.Now().Add(h.lease)
		err := h.objects.Lock(ctx, object, lockName, h.cookie, h.lease)
		if err == nil {
			var lost context.CancelCauseFunc
			h.ctx, lost = context.WithCancelCause(ctx)
			go h.renew(context.WithoutCancel(ctx), until, lost)
			return h, nil
		}
		if !errors.Is(err, syscall.EBUSY) {
			local()
			return nil, classify(err)
		}
		select {
		case <-ctx.Done():
			local()
			return nil, fmt.Errorf("%w: another controller holds the lock for %s %s; should it have died, it is free within %s",
				volume.ErrPending, kind, name, h.lease)
		case <-time.After(lockPoll):
		}
	}
}

// renew prolongs the lease, which now ends at until, and ends what runs under the lock in time when it can't.
func (h *held) renew(ctx context.Context, until time.Time, lost context.CancelCauseFunc) {
	defer close(h.stopped)
	defer lost(nil)
	for {
		select {
		case <-h.stop:
			return
		case <-time.After(h.lease / 3):
		}
		next := time.Now().Add(h.lease)
		limited, cancel := context.WithDeadline(ctx, until.Add(-h.lease/5))
		err := h.objects.Lock(limited, h.object, lockName, h.cookie, h.lease)
		over := limited.Err() != nil
		cancel()
		switch {
		case err == nil:
			until = next
		case over, errors.Is(err, syscall.EBUSY):
			lost(errLockLost)
			return
		}
	}
}

// end gives the lock back, after last, which may be nil and is the last thing done under it. err is what came of the work: when
// Ceph still has a call of it, the lock stays until that has ended, and end returns at once.
func (h *held) end(err error, last func(context.Context) error) error {
	var pending interface{ InFlight() <-chan struct{} }
	if !errors.As(err, &pending) {
		return h.finish(last)
	}
	go func() {
		select {
		case <-pending.InFlight():
		case <-h.stopped: // lost: there is nothing to keep
		}
		_ = h.finish(last)
	}()
	return nil
}

func (h *held) finish(last func(context.Context) error) error {
	defer h.local()
	// The caller's time may be up.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), h.lease)
	defer cancel()
	select {
	case <-h.stopped: // somebody else may have it
		return fmt.Errorf("%w: %w", volume.ErrPending, errLockLost)
	default:
	}
	var err error
	if last != nil {
		err = last(ctx)
	}
	close(h.stop)
	<-h.stopped
	// A failure needs no more than patience: the lease ends.
	_ = h.objects.Unlock(ctx, h.object, lockName, h.cookie)
	return err
}
