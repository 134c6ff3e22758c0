package warm_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
)

const quotaAttr = "ceph.quota.max_bytes"

// limited asks for a volume of a team that may have 4 GiB.
func limited(name string, size int64) volume.Spec {
	return spec(name, size, "team", "red", "teamQuota", "4Gi")
}

// wantExhausted says that a request went beyond what its team may have, and names what is free and what was asked for.
func wantExhausted(t *testing.T, err error, free, asked int64) {
	t.Helper()
	wantError(t, err, volume.ErrExhausted)
	if want := fmt.Sprintf("%d are free, and asked were %d", free, asked); err != nil && (!strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "team red")) {
		t.Errorf("%v: lacks %q", err, want)
	}
}

func (l *lab) grow(id volume.ID, size int64) error {
	_, _, err := l.Expand(l.t.Context(), id, volume.CapacityRange{Required: size})
	return err
}

func TestTeamQuota(t *testing.T) {
	l := newLab(t, options{})
	a := l.create(limited("a", 3*gib))
	if got := l.xattr("/volumes/dev.red", quotaAttr); got != fmt.Sprint(4*gib) {
		t.Errorf("the group's quota: %s", got)
	}
	_, err := l.Create(t.Context(), limited("b", 2*gib))
	wantExhausted(t, err, gib, 2*gib)
	if got := l.ceph.Subvolumes("warm"); len(got) != 1 {
		t.Errorf("subvolumes: %v", got)
	}
	// Another class of the team that names no quota is held to it too; another team isn't.
	_, err = l.Create(t.Context(), spec("b", 2*gib, "team", "red"))
	wantExhausted(t, err, gib, 2*gib)
	l.create(spec("b", 20*gib, "team", "blue"))

	b := l.create(limited("b", gib))
	l.create(limited("b", gib)) // again
	wantExhausted(t, l.grow(b.ID, 2*gib), gib, 2*gib)
	copied := limited("copied", 0)
	copied.Source = volume.Source{Volume: b.ID}
	_, err = l.Create(t.Context(), copied)
	wantExhausted(t, err, 0, gib)

	if err := l.Delete(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	l.create(copied)
	if err := l.grow(b.ID, 3*gib); err != nil {
		t.Error(err)
	}
	_, err = l.Create(t.Context(), limited("c", gib))
	wantExhausted(t, err, 0, gib)
}

// TestTeamQuotaOfTheGroupCounts: an operator gives a team more or less than the class says; volumes that are there keep what they have.
func TestTeamQuotaOfTheGroupCounts(t *testing.T) {
	l := newLab(t, options{})
	a := l.create(limited("a", 3*gib))
	set := func(bytes int64) {
		t.Helper()
		if err := l.ceph.Conn().Tree("warm").SetXattr(t.Context(), "/volumes/dev.red", quotaAttr, fmt.Sprint(bytes)); err != nil {
			t.Fatal(err)
		}
	}
	set(8 * gib)
	l.create(limited("b", 5*gib))
	set(2 * gib)
	_, err := l.Create(t.Context(), limited("c", gib))
	wantExhausted(t, err, 0, gib)
	l.create(limited("a", 3*gib))
	if err := l.grow(a.ID, 3*gib); err != nil {
		t.Error(err)
	}
	wantExhausted(t, l.grow(a.ID, 4*gib), 0, 4*gib)
}

// TestTeamQuotaCountsByHand: a volume that was grown without the driver counts as what it may hold.
func TestTeamQuotaCountsByHand(t *testing.T) {
	l := newLab(t, options{})
	a := l.create(limited("a", gib))
	if err := l.ceph.Conn().Tree("warm").SetXattr(t.Context(), a.Context["path"], quotaAttr, fmt.Sprint(3*gib)); err != nil {
		t.Fatal(err)
	}
	_, err := l.Create(t.Context(), limited("b", 2*gib))
	wantExhausted(t, err, gib, 2*gib)
}

// TestTeamQuotaManyAtOnce: two controllers that are asked for more than there is, at the same time, give no more.
func TestTeamQuotaManyAtOnce(t *testing.T) {
	l := newLab(t, options{})
	controllers := []interface {
		Create(context.Context, volume.Spec) (volume.Volume, error)
	}{l.Backend, l.another(options{})}
	var made atomic.Int64
	var all sync.WaitGroup
	for i := range 12 {
		all.Go(func() {
			_, err := controllers[i%2].Create(t.Context(), limited(fmt.Sprint("v", i), gib))
			switch {
			case err == nil:
				made.Add(1)
			case !errors.Is(err, volume.ErrExhausted):
				t.Error(err)
			}
		})
	}
	all.Wait()
	if made.Load() != 4 || len(l.ceph.Subvolumes("warm")) != 4 {
		t.Errorf("%d of 4 were made; subvolumes: %v", made.Load(), l.ceph.Subvolumes("warm"))
	}
}

// TestTeamQuotaThatCantBeSet: no volume is made that the team may not have.
func TestTeamQuotaThatCantBeSet(t *testing.T) {
	l := newLab(t, options{})
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if c.Op == "SetXattr" {
			return cephtest.Action{Fail: syscall.EACCES}
		}
		return cephtest.Action{}
	})
	if v, err := l.Create(t.Context(), limited("a", gib)); err == nil || len(l.ceph.Subvolumes("warm")) != 0 {
		t.Errorf("made %+v", v)
	}
	l.ceph.Intercept(nil)
	l.create(limited("a", gib))
}
