package callers

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"
)

func TestEveryOperationIsDoneOnce(t *testing.T) {
	var done [100]atomic.Int32
	var now, most atomic.Int32
	s, err := Together(t.Context(), 8, len(done), func(_ context.Context, i int) error {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		done[i].Add(1)
		time.Sleep(time.Millisecond)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range done {
		if n := done[i].Load(); n != 1 {
			t.Errorf("operation %d was done %d times", i, n)
		}
		if s.Each[i] < time.Millisecond || s.Each[i] > s.Took {
			t.Errorf("operation %d took %s of %s", i, s.Each[i], s.Took)
		}
	}
	if most.Load() > 8 {
		t.Errorf("%d at once", most.Load())
	}
}

func TestAnErrorEndsTheOthers(t *testing.T) {
	broken := errors.New("broken")
	_, err := Together(t.Context(), 4, 1000, func(ctx context.Context, i int) error {
		if i == 3 {
			return broken
		}
		<-ctx.Done()
		return ctx.Err()
	})
	if !errors.Is(err, broken) {
		t.Errorf("error %v", err)
	}
}
