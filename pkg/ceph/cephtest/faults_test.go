package cephtest_test

import (
	"context"
	"errors"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/cephtest"
)

func ask(ctx context.Context, c ceph.Conn, prefix string, args map[string]any) (string, error) {
	command := map[string]any{"prefix": prefix, "vol_name": "warm", "group_name": "g", "format": "json"}
	for k, v := range args {
		command[k] = v
	}
	out, err := c.Mgr(ctx, command)
	return string(out), err
}

// withGroup is a cluster with subvolume group "g" and a client of it.
func withGroup(t *testing.T) (*cephtest.Cluster, *cephtest.Conn) {
	t.Helper()
	cluster := cephtest.New()
	c := cluster.Conn()
	t.Cleanup(c.Close)
	if _, err := ask(t.Context(), c, "fs subvolumegroup create", nil); err != nil {
		t.Fatal(err)
	}
	cluster.ResetCounts()
	return cluster, c
}

func create(ctx context.Context, c ceph.Conn) error {
	_, err := ask(ctx, c, "fs subvolume create", map[string]any{"sub_name": "v"})
	return err
}

func TestActions(t *testing.T) {
	lost := errors.New("the caller died")
	for _, tc := range []struct {
		name   string
		action cephtest.Action
		want   error // of the call
		made   bool  // by the call
	}{
		{"none", cephtest.Action{}, nil, true},
		{"refused", cephtest.Action{Fail: syscall.EIO}, syscall.EIO, false},
		{"hangs", cephtest.Action{Hang: true}, ceph.ErrHung, false},
		{"done and lost", cephtest.Action{Lose: lost}, lost, true},
		{"done without an answer", cephtest.Action{LoseAndHang: true}, ceph.ErrHung, true},
		{"delayed", cephtest.Action{Delay: time.Millisecond}, nil, true},
		{"delayed beyond the deadline", cephtest.Action{Delay: time.Hour}, ceph.ErrHung, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cluster, c := withGroup(t)
			cluster.Intercept(func(call cephtest.Call) cephtest.Action {
				if call.Op == "fs subvolume create" && call.Args["sub_name"] == "v" && call.Kind == cephtest.Mgr {
					return tc.action
				}
				return cephtest.Action{}
			})
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			err := create(ctx, c)
			if !errors.Is(err, tc.want) {
				t.Errorf("create: %v, want %v", err, tc.want)
			}
			if tc.want == syscall.EIO && !errors.As(err, new(*ceph.Error)) {
				t.Errorf("%v isn't a *ceph.Error", err)
			}
			if made := len(cluster.Subvolumes("warm")) == 1; made != tc.made {
				t.Errorf("made: %v, want %v", made, tc.made)
			}
		})
	}
}

func TestHungCallIsDoneLater(t *testing.T) {
	cluster, c := withGroup(t)
	until := make(chan struct{})
	cluster.Intercept(func(call cephtest.Call) cephtest.Action {
		return cephtest.Action{Hang: call.Count == 1 && call.Op == "fs subvolume create", Until: until}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	var hung *ceph.HungError
	if err := create(ctx, c); !errors.As(err, &hung) {
		t.Fatalf("create: %v, want a HungError", err)
	}
	select {
	case <-hung.InFlight():
		t.Fatal("the call has ended")
	default:
	}
	close(until)
	<-hung.InFlight()
	if got := cluster.Subvolumes("warm"); len(got) != 1 {
		t.Errorf("subvolumes %q after the call has ended", got)
	}
}

func TestCommandsWaitForTheirDaemons(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(c *cephtest.Cluster, up bool)
		tree bool // the tree waits too
	}{
		{"manager", (*cephtest.Cluster).SetMgr, false},
		{"metadata server", func(c *cephtest.Cluster, up bool) { c.SetMDS("warm", up) }, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cluster, c := withGroup(t)
			tc.set(cluster, false)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			var hung *ceph.HungError
			if err := create(ctx, c); !errors.As(err, &hung) {
				t.Errorf("create: %v, want a HungError", err)
			}
			ctx, cancel = context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err := c.Tree("warm").ReadDir(ctx, "/")
			if waits := errors.Is(err, ceph.ErrHung); waits != tc.tree {
				t.Errorf("the tree's answer: %v", err)
			}
			if _, err := c.Mon(t.Context(), map[string]any{"prefix": "df"}); err != nil {
				t.Errorf("monitors: %v", err)
			}
			tc.set(cluster, true)
			<-hung.InFlight() // the command that was queued runs now
			if got := cluster.Subvolumes("warm"); len(got) != 1 {
				t.Errorf("subvolumes %q", got)
			}
		})
	}
}

func TestEveryCallIsCounted(t *testing.T) {
	cluster, c := withGroup(t)
	ctx := t.Context()
	_ = create(ctx, c)
	_ = create(ctx, c)
	_, _ = c.Mon(ctx, map[string]any{"prefix": "df"})
	_ = c.Tree("warm").MakeDir(ctx, "/none/d") // refused, and counts
	_ = c.Objects("warm-data", "n").Lock(ctx, "o", "l", "c", time.Second)
	got := cluster.Counts()
	if got.Mgr != 2 || got.Mon != 1 || got.Tree != 1 || got.Objects != 1 || got.Ops["fs subvolume create"] != 2 || got.Ops["MakeDir"] != 1 {
		t.Errorf("counts %+v", got)
	}
	cluster.ResetCounts()
	if got := cluster.Counts(); got.Mgr != 0 || len(got.Ops) != 0 {
		t.Errorf("counts after a reset %+v", got)
	}
}

func TestBeforeRunsAnotherClientsCall(t *testing.T) {
	cluster, c := withGroup(t)
	other := cluster.Conn()
	cluster.Intercept(func(call cephtest.Call) cephtest.Action {
		if call.Conn == other || call.Op != "MakeDir" {
			return cephtest.Action{}
		}
		return cephtest.Action{Before: func() {
			if err := other.Tree("warm").MakeDir(t.Context(), "/d"); err != nil {
				t.Error(err)
			}
		}}
	})
	if err := c.Tree("warm").MakeDir(t.Context(), "/d"); !errors.Is(err, syscall.EEXIST) {
		t.Errorf("MakeDir: %v, want EEXIST", err)
	}
}

func TestClonesGoByTheTest(t *testing.T) {
	cluster, c := withGroup(t)
	ctx := t.Context()
	if err := create(ctx, c); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(ctx, c, "fs subvolume snapshot create", map[string]any{"sub_name": "v", "snap_name": "s"}); err != nil {
		t.Fatal(err)
	}
	clone := func(target string) {
		t.Helper()
		args := map[string]any{"sub_name": "v", "snap_name": "s", "target_sub_name": target, "target_group_name": "g"}
		if _, err := ask(ctx, c, "fs subvolume snapshot clone", args); err != nil {
			t.Fatal(err)
		}
	}
	state := func(name string) string {
		t.Helper()
		out, err := ask(ctx, c, "fs clone status", map[string]any{"clone_name": name})
		if err != nil {
			t.Fatal(err)
		}
		_, rest, _ := strings.Cut(out, `"state": "`)
		s, _, _ := strings.Cut(rest, `"`)
		return s
	}
	clone("a")
	for _, want := range []string{"in-progress", "complete"} {
		if got, err := cluster.StepClone("warm", "g", "a"); got != want || err != nil || state("a") != want {
			t.Errorf("step: %q, %v, state %q; want %q", got, err, state("a"), want)
		}
	}
	if _, err := cluster.StepClone("warm", "g", "a"); err == nil {
		t.Error("a finished clone can be stepped")
	}
	clone("b")
	cluster.FailClone("warm", "g", "b", syscall.EDQUOT, "Disk quota exceeded")
	if got := state("b"); got != "failed" {
		t.Errorf("state %q, want failed", got)
	}
	clone("c")
	if n := cluster.FinishClones(); n != 1 || state("c") != "complete" {
		t.Errorf("%d clones finished, state %q", n, state("c"))
	}
	cluster.AutoClone(true)
	clone("d")
	if state("d") != "complete" || cluster.Clones("warm") != 0 {
		t.Errorf("state %q, %d clones waiting", state("d"), cluster.Clones("warm"))
	}
}

func TestCloseEndsCalls(t *testing.T) {
	cluster, c := withGroup(t)
	cluster.SetMgr(false)
	done := make(chan error, 1)
	go func() { done <- create(context.Background(), c) }()
	c.Close()
	if err := <-done; !errors.Is(err, cephtest.ErrClosed) {
		t.Errorf("call in flight: %v, want ErrClosed", err)
	}
	if err := create(t.Context(), c); !errors.Is(err, cephtest.ErrClosed) {
		t.Errorf("later call: %v, want ErrClosed", err)
	}
}
