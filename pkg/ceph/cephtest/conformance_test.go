package cephtest_test

import (
	"sync"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/ceph/cephtest/conformance"
)

// clock is a clock that a test moves.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func TestFakeConforms(t *testing.T) {
	cluster := cephtest.New()
	at := &clock{now: time.Now()}
	cluster.SetClock(at.Now)
	conformance.Run(t, conformance.Config{
		Conn: cluster.Conn(), Second: cluster.Conn(),
		FS: "warm", Meta: "warm-meta", Data: "warm-data", Erasure: "warm-ec",
		Write:      func(_ *testing.T, path string, size int64) { cluster.WriteFile("warm", path, size) },
		HoldClones: func(*testing.T, bool) {}, // they wait for FinishClones anyway
		Wait:       func() { cluster.FinishClones() },
		Later:      at.Add,
	})
	if left := cluster.Subvolumes("warm"); len(left) > 0 {
		t.Errorf("left over: %q", left)
	}
}
