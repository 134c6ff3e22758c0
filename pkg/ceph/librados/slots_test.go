package librados

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
)

func TestRunReturnsWhatTheCallReturned(t *testing.T) {
	s := newSlots(1, time.Minute, make(chan struct{}))
	for range 3 { // the place is given back every time
		v, err := run(t.Context(), s, "ask", func() (int, error) { return 7, nil })
		if v != 7 || err != nil {
			t.Fatalf("run = %d, %v", v, err)
		}
	}
	want := errors.New("refused")
	if _, err := run(t.Context(), s, "ask", func() (int, error) { return 0, want }); !errors.Is(err, want) {
		t.Errorf("run = %v, want %v", err, want)
	}
}

func TestAbandonedCallKeepsItsPlace(t *testing.T) {
	s := newSlots(1, time.Minute, make(chan struct{}))
	release := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := run(ctx, s, "first", func() (int, error) { <-release; return 1, nil })
	if !errors.Is(err, ceph.ErrHung) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "first: sent") {
		t.Errorf("abandoned call: %v", err)
	}

	ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = run(ctx, s, "second", func() (int, error) { t.Error("ran without a place"); return 0, nil })
	if !errors.Is(err, ceph.ErrHung) || !strings.Contains(err.Error(), "second: not sent") {
		t.Errorf("call without a place: %v", err)
	}

	close(release)
	if _, err := run(t.Context(), s, "third", func() (int, error) { return 3, nil }); err != nil {
		t.Errorf("after the first returned: %v", err)
	}
}

func TestRunWithoutDeadlineHasTheDefault(t *testing.T) {
	s := newSlots(1, 20*time.Millisecond, make(chan struct{}))
	release := make(chan struct{})
	defer close(release)
	if _, err := run(context.Background(), s, "ask", func() (int, error) { <-release; return 0, nil }); !errors.Is(err, ceph.ErrHung) {
		t.Errorf("run = %v, want ErrHung", err)
	}
}

func TestRunDoesNotSendAfterTheDeadline(t *testing.T) {
	s := newSlots(1, time.Minute, make(chan struct{}))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := run(ctx, s, "ask", func() (int, error) { t.Error("sent"); return 0, nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("run = %v, want context.Canceled", err)
	}
}

func TestCloseEndsWaitingCalls(t *testing.T) {
	closed := make(chan struct{})
	s := newSlots(1, time.Minute, closed)
	entered, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	done := make(chan error, 1)
	go func() {
		_, err := run(context.Background(), s, "ask", func() (int, error) { close(entered); <-release; return 0, nil })
		done <- err
	}()
	<-entered
	close(closed)
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("call in flight: %v, want ErrClosed", err)
	}
	if _, err := run(t.Context(), s, "ask", func() (int, error) { return 0, nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("later call: %v, want ErrClosed", err)
	}
}
