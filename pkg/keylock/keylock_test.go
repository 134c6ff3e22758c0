package keylock

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/strata-csi/strata/pkg/volume"
)

func TestTryAcquireNamesTheHolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		release, err := l.TryAcquire("warm:a", "CreateVolume")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(90 * time.Second) // of the test's own clock
		_, err = l.TryAcquire("warm:a", "DeleteVolume")
		var busy *BusyError
		if !errors.As(err, &busy) || !errors.Is(err, volume.ErrPending) {
			t.Fatalf("got %v", err)
		}
		if busy.Operation != "CreateVolume" || busy.Held != 90*time.Second || busy.Waited != nil {
			t.Errorf("got %+v", busy)
		}
		if want := "CreateVolume of warm:a has been running for 1m30s"; !strings.Contains(err.Error(), want) {
			t.Errorf("%q doesn't say %q", err, want)
		}
		other, err := l.TryAcquire("warm:b", "CreateVolume")
		if err != nil {
			t.Errorf("another key is refused: %v", err)
		}
		other()
		release()
		release() // twice is harmless
		release, err = l.TryAcquire("warm:a", "DeleteVolume")
		if err != nil {
			t.Fatalf("after release: %v", err)
		}
		if _, err := l.TryAcquire("warm:a", "x"); err == nil {
			t.Error("a second release of an old holder freed the lock of the new one")
		}
		release()
		if len(l.keys) != 0 {
			t.Errorf("%d keys are kept for nobody", len(l.keys))
		}
	})
}

func TestAcquireWaitsNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		release, err := l.Acquire(t.Context(), "k", "Stage")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		_, err = l.Acquire(ctx, "k", "Unstage")
		var busy *BusyError
		if !errors.As(err, &busy) || busy.Operation != "Stage" || busy.Held != 5*time.Second || !errors.Is(busy.Waited, context.DeadlineExceeded) {
			t.Fatalf("got %v", err)
		}
		if d := time.Since(begin); d != 5*time.Second {
			t.Errorf("waited %v", d)
		}
		release()
		if _, err := l.Acquire(ctx, "k", "Unstage"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an ended context got a lock: %v", err)
		}
		if len(l.keys) != 0 {
			t.Errorf("%d keys are kept for nobody", len(l.keys))
		}
	})
}

func TestWaitersGetTheLockInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Locks
		release, err := l.Acquire(t.Context(), "k", "first")
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() {
				free, err := l.Acquire(t.Context(), "k", "next")
				if err != nil {
					t.Error(err)
					return
				}
				defer free()
				got = append(got, i)
			})
			synctest.Wait()
		}
		release()
		wg.Wait()
		for i, g := range got {
			if g != i {
				t.Fatalf("order %v", got)
			}
		}
	})
}

func TestOnlyOneHolds(t *testing.T) {
	var l Locks
	var wg sync.WaitGroup
	holders, count := 0, 0 // guarded by the lock under test; -race sees a hole
	for range 50 {
		wg.Go(func() {
			for range 100 {
				release, err := l.Acquire(context.Background(), "k", "op")
				if err != nil {
					t.Error(err)
					return
				}
				holders++
				if holders != 1 {
					t.Errorf("%d hold the lock", holders)
				}
				count++
				holders--
				release()
			}
		})
	}
	wg.Wait()
	if count != 5000 || len(l.keys) != 0 {
		t.Errorf("count %d, keys left %d", count, len(l.keys))
	}
}
