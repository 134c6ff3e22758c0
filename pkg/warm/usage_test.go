package warm_test

import (
	"context"
	"errors"
	"maps"
	"strings"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/metrics"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

func TestUsageIsByTeamAndPoolAndAsksNoManager(t *testing.T) {
	l := newLab(t, options{})
	u := warm.NewUsage(l.Backend)
	if got := u.Volumes(); len(got) != 0 {
		t.Errorf("before a look: %v", got)
	}
	first := l.create(spec("a", 2*gib, "team", "vision"))
	l.create(spec("b", 3*gib, "team", "vision"))
	l.create(spec("c", 5*gib, "team", "speech"))
	grown := l.create(spec("d", 1*gib, "team", "speech", "pool", "warm-data"))
	view := spec("view", 0, "team", "vision")
	view.Source.Snapshot, view.Access.ReadOnly = l.snapshot("s", first).ID, true
	l.create(view)
	removed := l.create(spec("e", 1*gib, "team", "speech"))
	l.snapshot("of-removed", removed)
	if err := l.Delete(t.Context(), removed.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := l.Expand(t.Context(), grown.ID, volume.CapacityRange{Required: 4 * gib}); err != nil {
		t.Fatal(err)
	}
	l.ceph.WriteFile("warm", first.Context["path"]+"/f", 100*mib)

	l.ceph.ResetCounts()
	if err := u.Look(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := l.ceph.Counts(); n.Mgr != 0 {
		t.Errorf("a look asked the manager: %v", n.Ops)
	}
	want := map[metrics.Group]metrics.Sum{
		{Tier: "warm", Team: "vision", Pool: "warm-ec"}:   {Count: 2, Bytes: 5 * gib, Used: 100 * mib},
		{Tier: "warm", Team: "vision"}:                    {Count: 1},
		{Tier: "warm", Team: "speech", Pool: "warm-ec"}:   {Count: 1, Bytes: 5 * gib},
		{Tier: "warm", Team: "speech", Pool: "warm-data"}: {Count: 1, Bytes: 4 * gib},
	}
	if got := u.Volumes(); !maps.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}

	// What can't be looked at isn't gone.
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if path, _ := c.Args["path"].(string); c.Kind == cephtest.Tree && strings.Contains(path, "/dev.vision/") {
			return cephtest.Action{Fail: syscall.EIO}
		}
		return cephtest.Action{}
	})
	if err := u.Look(t.Context()); err == nil || !strings.Contains(err.Error(), "dev.") {
		t.Errorf("a look that failed: %v", err)
	}
	l.ceph.Intercept(nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := u.Look(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a look that ran out of time: %v", err)
	}
	if got := u.Volumes(); !maps.Equal(got, want) {
		t.Errorf("after looks that failed: %v", got)
	}
}
