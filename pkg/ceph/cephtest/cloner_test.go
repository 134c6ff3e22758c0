package cephtest_test

import (
	"context"
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/cephtest"
)

// queue is a cluster with subvolume g/v, a snapshot of it, and the commands of a client.
func queue(t *testing.T) (*cephtest.Cluster, ceph.FS, func() []string) {
	t.Helper()
	cluster, c := withGroup(t)
	fs := ceph.NewFS(c, "warm")
	if err := errors.Join(create(t.Context(), c), fs.CreateSnapshot(t.Context(), v, "s")); err != nil {
		t.Fatal(err)
	}
	return cluster, fs, func() []string {
		t.Helper()
		names, err := fs.Tree().ReadDir(t.Context(), "/volumes/_index/clone")
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
}

var v = ceph.Subvolume{Group: "g", Name: "v"}

func order(t *testing.T, fs ceph.FS, target string) ceph.Subvolume {
	t.Helper()
	sub := ceph.Subvolume{Group: "g", Name: target}
	if err := fs.Clone(t.Context(), v, "s", sub, ""); err != nil {
		t.Fatal(err)
	}
	return sub
}

func wantState(t *testing.T, fs ceph.FS, sub ceph.Subvolume, want string) {
	t.Helper()
	if st, err := fs.CloneStatus(t.Context(), sub); st.State != want || err != nil {
		t.Errorf("%s: %q, %v, want %q", sub, st.State, err, want)
	}
}

func TestCloneIsStruckOffAfterItHasEnded(t *testing.T) {
	cluster, fs, links := queue(t)
	a := order(t, fs, "a")
	cluster.HoldQueue(true)
	cluster.FinishClones()
	wantState(t, fs, a, "complete")
	for range 3 {
		if got := links(); len(got) != 1 {
			t.Fatalf("links %q, want one while the queue is held", got)
		}
	}
	if err := fs.RemoveSnapshot(t.Context(), v, "s"); !errors.Is(err, syscall.EAGAIN) {
		t.Errorf("snapshot of a queued clone: %v, want EAGAIN", err)
	}
	cluster.HoldQueue(false)
	if got := [2][]string{links(), links()}; len(got[0]) != 1 || len(got[1]) != 0 {
		t.Errorf("links %q, want one at the first look and none at the second", got)
	}
	if err := fs.RemoveSnapshot(t.Context(), v, "s"); err != nil {
		t.Error(err)
	}
}

// TestCloneRemovedTooEarlyStopsTheQueue is what the real cloner does, and what gets it going.
func TestCloneRemovedTooEarlyStopsTheQueue(t *testing.T) {
	for name, remove := range map[string]func(context.Context, *cephtest.Cluster, ceph.FS, ceph.Subvolume) error{
		"complete": func(ctx context.Context, c *cephtest.Cluster, fs ceph.FS, sub ceph.Subvolume) error {
			c.FinishClones()
			return fs.Remove(ctx, sub)
		},
		"cancelled": func(ctx context.Context, c *cephtest.Cluster, fs ceph.FS, sub ceph.Subvolume) error {
			_, err := c.StepClone("warm", "g", sub.Name) // else cancelling strikes it off
			return errors.Join(err, fs.CancelClone(ctx, sub), fs.RemoveClone(ctx, sub))
		},
		"failed": func(ctx context.Context, c *cephtest.Cluster, fs ceph.FS, sub ceph.Subvolume) error {
			c.FailClone("warm", "g", sub.Name, syscall.EDQUOT, "Disk quota exceeded")
			return fs.RemoveClone(ctx, sub)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, fs, links := queue(t)
			if err := remove(t.Context(), cluster, fs, order(t, fs, "early")); err != nil {
				t.Fatal(err)
			}
			dangling := links()
			if got := links(); len(dangling) != 1 || !slices.Equal(got, dangling) {
				t.Fatalf("links %q, later %q", dangling, got)
			}
			late := order(t, fs, "late")
			if n := cluster.FinishClones(); n != 0 {
				t.Errorf("%d clones finished behind a dangling link", n)
			}
			wantState(t, fs, late, "pending")
			cluster.RemoveFile("warm", "/volumes/_index/clone/"+dangling[0])
			if n := cluster.FinishClones(); n != 1 {
				t.Errorf("%d clones finished once it was removed, want 1", n)
			}
			wantState(t, fs, late, "complete")
			if got := [2][]string{links(), links()}; len(got[1]) != 0 {
				t.Errorf("links %q", got)
			}
			// The source's record of the first is still there.
			if err := fs.RemoveSnapshot(t.Context(), v, "s"); !errors.Is(err, syscall.EAGAIN) {
				t.Errorf("snapshot with an orphan: %v, want EAGAIN", err)
			}
		})
	}
}
