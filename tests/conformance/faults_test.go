package conformance

// Daemons that don't answer.

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/librados"
)

// patience is how long a daemon may take to be back and answer.
const patience = 4 * time.Minute

// late is by how much the answer to a call may come after its deadline. What doesn't heed a deadline takes minutes, or never ends; a machine whose
// cores are busy takes seconds.
const late = 20 * time.Second

func list(ctx context.Context, c ceph.Conn) error {
	_, err := c.Mgr(ctx, map[string]any{"prefix": "fs subvolumegroup ls", "vol_name": fsName})
	return err
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// hungAt says that err is an unanswered call and came at its deadline.
func hungAt(t *testing.T, what string, err error, start time.Time, deadline time.Duration) {
	t.Helper()
	if !errors.Is(err, ceph.ErrHung) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%s: %v, want ErrHung", what, err)
	}
	if took := time.Since(start); took < deadline || took > deadline+late {
		t.Errorf("%s: came back after %s, want %s", what, took, deadline)
	}
}

func TestManagerIsDown(t *testing.T) {
	for _, tc := range []struct {
		name       string
		down, back []string
	}{
		{"stopped", []string{"stop", "mgr.x"}, []string{"start", "mgr.x"}},
		{"frozen", []string{"kill", "mgr.x", "STOP"}, []string{"kill", "mgr.x", "CONT"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := dial(t)
			if err := list(within(t, patience), c); err != nil {
				t.Fatal(err)
			}
			daemon(t, tc.down...)
			back := sync.OnceFunc(func() { daemon(t, tc.back...) })
			t.Cleanup(back)

			start := time.Now()
			err := list(within(t, 3*time.Second), c)
			hungAt(t, "command", err, start, 3*time.Second)
			var hung *ceph.HungError
			if !errors.As(err, &hung) {
				t.Fatalf("%v isn't a HungError", err)
			}
			select {
			case <-hung.InFlight():
				t.Error("the command has ended while no manager runs")
			default:
			}
			// Nothing else waits for the manager.
			if _, err := c.Mon(within(t, patience), map[string]any{"prefix": "mgr stat"}); err != nil {
				t.Errorf("monitors: %v", err)
			}
			if _, err := c.Tree(fsName).ReadDir(within(t, patience), "/"); err != nil {
				t.Errorf("tree: %v", err)
			}
			if err := c.Objects(poolRep, "strata-conformance").Lock(within(t, patience), "mgr-down", "l", "c", time.Second); err != nil {
				t.Errorf("lock: %v", err)
			}

			back()
			select {
			case <-hung.InFlight():
			case <-time.After(patience):
				t.Error("the command of before hasn't ended")
			}
			// A manager that has just started answers before its volumes module does.
			for ctx := within(t, patience); ; time.Sleep(time.Second) {
				if err := list(ctx, c); err == nil {
					break
				} else if ctx.Err() != nil {
					t.Fatalf("after the manager is back: %v", err)
				} else {
					t.Logf("not yet: %v", err)
				}
			}
		})
	}
}

func TestCallsAreBoundedWhileTheManagerIsFrozen(t *testing.T) {
	c := dial(t)
	if err := list(within(t, patience), c); err != nil {
		t.Fatal(err)
	}
	daemon(t, "kill", "mgr.x", "STOP")
	back := sync.OnceFunc(func() { daemon(t, "kill", "mgr.x", "CONT") })
	t.Cleanup(back)
	const calls = 100
	ctx := within(t, 3*time.Second)
	var unsent int
	var mu sync.Mutex
	var all sync.WaitGroup
	before := runtime.NumGoroutine()
	for range calls {
		all.Go(func() {
			err := list(ctx, c)
			if !errors.Is(err, ceph.ErrHung) {
				t.Errorf("command: %v, want ErrHung", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if !errors.As(err, new(*ceph.HungError)) {
				unsent++
			}
		})
	}
	all.Wait()
	if unsent == 0 || unsent == calls {
		t.Errorf("%d of %d commands were not sent, want some", unsent, calls)
	}
	if left := runtime.NumGoroutine() - before; left > calls-unsent+4 {
		t.Errorf("%d goroutines stay for %d commands under way", left, calls-unsent)
	}
	back()
	if err := list(within(t, patience), c); err != nil {
		t.Errorf("after the manager is back: %v", err)
	}
}

func TestMetadataServersAreDown(t *testing.T) {
	mounted, c := dial(t), dial(t)
	if _, err := mounted.Tree(fsName).ReadDir(within(t, patience), "/"); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"mds.a", "mds.b"} {
		daemon(t, "stop", d)
	}
	back := sync.OnceFunc(func() {
		daemon(t, "start", "mds.a")
		daemon(t, "start", "mds.b")
	})
	t.Cleanup(back)
	for name, conn := range map[string]*librados.Conn{"mounted before": mounted, "not mounted": c} {
		start := time.Now()
		err := conn.Tree(fsName).MakeDir(within(t, 2*time.Second), "/conformance")
		t.Logf("%s: %s, %v", name, time.Since(start).Round(time.Millisecond), err)
		if err == nil {
			t.Errorf("%s: a directory was made without a metadata server", name)
		}
		if took := time.Since(start); took > 2*time.Second+late {
			t.Errorf("%s: took %s", name, took)
		}
	}
	back()
	for name, conn := range map[string]*librados.Conn{"mounted before": mounted, "not mounted": c} {
		for ctx := within(t, patience); ; time.Sleep(200 * time.Millisecond) {
			one, cancel := context.WithTimeout(ctx, 20*time.Second)
			_, err := conn.Tree(fsName).ReadDir(one, "/")
			cancel()
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("%s: with a metadata server again: %v", name, err)
			}
			t.Logf("%s, not yet: %v", name, err)
		}
	}
	_ = c.Tree(fsName).RemoveDir(within(t, patience), "/conformance") // the abandoned call may have made it
}
