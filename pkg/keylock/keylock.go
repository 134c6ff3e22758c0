// Package keylock gives one lock per key, whose waiters obey their context and whose holder can be
// named: a second call for the same volume says which operation it waits for, and for how long.
// The locks live in one process; what two processes do at once must stay right without them.
package keylock

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/strata-csi/strata/pkg/volume"
)

// Locks is a set of locks by key. The zero value is ready; a Locks must not be copied. A key that nobody
// holds or waits for takes no memory.
type Locks struct {
	mu   sync.Mutex
	keys map[string]*lock
}

// lock is the lock of one key. users counts its holder and waiters; with none left it is forgotten.
type lock struct {
	free      chan struct{} // holds one token while the key is free
	users     int
	operation string // of the holder
	since     time.Time
}

// BusyError says who holds a key. It wraps volume.ErrPending.
type BusyError struct {
	Key       string
	Operation string        // what the holder called itself
	Held      time.Duration // how long it has held the key
	Waited    error         // why the caller stopped waiting, a context error; nil when it didn't wait
}

// Error names the operation that runs.
func (e *BusyError) Error() string {
	text := fmt.Sprintf("%v: %s of %s has been running for %v", volume.ErrPending, e.Operation, e.Key, e.Held.Round(time.Millisecond))
	if e.Waited != nil {
		text += fmt.Sprintf(" (stopped waiting: %v)", e.Waited)
	}
	return text
}

// Unwrap is volume.ErrPending alone: the reason for not waiting longer is told, but what a caller has to know
// is that the other operation runs.
func (e *BusyError) Unwrap() error { return volume.ErrPending }

// Acquire takes the lock of key for operation, in the order of asking, or fails with a *BusyError once ctx
// ends; with the context's own error when that had ended and nobody holds the lock. release may be called more than once.
func (l *Locks) Acquire(ctx context.Context, key, operation string) (release func(), err error) {
	k := l.use(key)
	// A context that has ended gets no lock, even a free one.
	if ctx.Err() == nil {
		select {
		case <-k.free:
			return l.hold(key, k, operation), nil
		case <-ctx.Done():
		}
	}
	return nil, l.busy(key, k, context.Cause(ctx))
}

// TryAcquire is Acquire without waiting.
func (l *Locks) TryAcquire(key, operation string) (release func(), err error) {
	k := l.use(key)
	select {
	case <-k.free:
		return l.hold(key, k, operation), nil
	default:
		return nil, l.busy(key, k, nil)
	}
}

func (l *Locks) use(key string) *lock {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.keys[key]
	if k == nil {
		if l.keys == nil {
			l.keys = make(map[string]*lock)
		}
		k = &lock{free: make(chan struct{}, 1)}
		k.free <- struct{}{}
		l.keys[key] = k
	}
	k.users++
	return k
}

// leave must be called with l.mu held.
func (l *Locks) leave(key string, k *lock) {
	k.users--
	if k.users == 0 {
		delete(l.keys, key)
	}
}

func (l *Locks) hold(key string, k *lock, operation string) func() {
	l.mu.Lock()
	k.operation, k.since = operation, time.Now()
	l.mu.Unlock()
	return sync.OnceFunc(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		k.operation = ""
		k.free <- struct{}{}
		l.leave(key, k)
	})
}

func (l *Locks) busy(key string, k *lock, cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.leave(key, k)
	switch {
	case k.operation != "":
		return &BusyError{Key: key, Operation: k.operation, Held: time.Since(k.since), Waited: cause}
	case cause != nil:
		return fmt.Errorf("lock %s: %w", key, cause)
	default: // the key is changing hands at this moment
		return &BusyError{Key: key, Operation: "another operation"}
	}
}
