package warm_test

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

// machine is a node with addresses.
func machine(addresses ...string) warm.Node {
	n := warm.Node{Hosts: []string{"n1"}}
	for _, a := range addresses {
		n.Addresses = append(n.Addresses, netip.MustParseAddr(a))
	}
	return n
}

// inOneCluster is what came of the only cluster.
func inOneCluster(t *testing.T, all []warm.NodeFenced) warm.NodeFenced {
	t.Helper()
	if len(all) != 1 || all[0].Cluster != "lab" {
		t.Fatalf("%+v", all)
	}
	return all[0]
}

func TestFenceNode(t *testing.T) {
	l := newLab(t, options{})
	a := l.ceph.AddSession("warm", session, "10.0.0.1", "n1", "/volumes/a")
	b := l.ceph.AddSession("warm", "somebody", "fd00::1", "a lie", "/")
	l.ceph.AddSession("warm", "stays", "10.0.0.2", "n2", "/volumes/a")

	f := inOneCluster(t, l.FenceNode(t.Context(), machine("10.0.0.1", "fd00::1")))
	if out := f.ShutOut["warm"]; f.Err != nil || len(f.Addresses) != 2 || len(out) != 2 || out[0].Address != a || out[1].Address != b {
		t.Errorf("fenced: %+v", f)
	}
	if left := l.ceph.Sessions("warm"); !slices.Equal(left, []string{"stays"}) {
		t.Errorf("sessions left: %v", left)
	}
	list := l.ceph.Blocklist()
	for _, entry := range []string{a, b, "10.0.0.1:0/0", "[fd00::1]:0/0"} {
		if time.Until(list[entry]) < 300*24*time.Hour {
			t.Errorf("%s isn't on the blocklist, or not for long: %v", entry, list)
		}
	}
	if len(list) != 4 {
		t.Errorf("blocklist: %v", list)
	}
	for range 2 { // undone twice
		f = inOneCluster(t, l.UnfenceNode(t.Context(), machine("10.0.0.1", "fd00::1")))
		if list := l.ceph.Blocklist(); f.Err != nil || len(f.Addresses) != 2 || len(list) != 2 || list[a].IsZero() || list[b].IsZero() {
			t.Errorf("undone: %+v; blocklist: %v", f, list)
		}
	}
}

// TestFenceNodeOfCeph: nothing is done where Ceph's own daemons would be shut out.
func TestFenceNodeOfCeph(t *testing.T) {
	for daemon, address := range map[string]string{"mon.a": "127.0.0.1", "osd.3": "10.0.2.3", "mgr.x": "10.0.1.4"} {
		l := newLab(t, options{})
		l.ceph.AddSession("warm", session, "10.0.0.1", "n1", "/")
		f := inOneCluster(t, l.FenceNode(t.Context(), machine("10.0.0.1", address)))
		wantError(t, f.Err, warm.ErrDaemons)
		if f.Err != nil && !strings.Contains(f.Err.Error(), daemon) {
			t.Errorf("%s: %v", address, f.Err)
		}
		if len(f.Addresses) != 0 || len(l.ceph.Blocklist()) != 0 || len(l.ceph.Sessions("warm")) != 1 {
			t.Errorf("%s: something was done: %+v, %v", address, f, l.ceph.Blocklist())
		}
	}
}

// TestFenceNodeWithAnotherAddress: what was named is shut out, and what a client says of its host shuts nobody out.
func TestFenceNodeWithAnotherAddress(t *testing.T) {
	l := newLab(t, options{})
	l.ceph.AddSession("warm", "storage-network", "10.9.0.1", "n1", "/")
	f := inOneCluster(t, l.FenceNode(t.Context(), machine("10.0.0.1")))
	wantError(t, f.Err, warm.ErrOtherAddress)
	if f.Err != nil && !strings.Contains(f.Err.Error(), "--address=10.9.0.1") {
		t.Error(f.Err)
	}
	if len(f.Addresses) != 1 || len(l.ceph.Blocklist()) != 1 || len(l.ceph.Sessions("warm")) != 1 {
		t.Errorf("%+v, %v", f, l.ceph.Blocklist())
	}
}

// TestFenceNodeThatCantBeFinished: its addresses are shut out whenever they can be, and it doesn't say that it is done.
func TestFenceNodeThatCantBeFinished(t *testing.T) {
	for op, blocked := range map[string]int{"session ls": 1, "fs get": 1, "osd blocklist": 0, "mon dump": 0} {
		t.Run(op, func(t *testing.T) {
			l := newLab(t, options{})
			l.ceph.AddSession("warm", session, "10.0.0.1", "n1", "/")
			l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
				if c.Op == op {
					return cephtest.Action{Fail: syscall.EACCES}
				}
				return cephtest.Action{}
			})
			f := inOneCluster(t, l.FenceNode(t.Context(), machine("10.0.0.1")))
			if f.Err == nil || len(f.Addresses) != blocked || len(l.ceph.Blocklist()) != blocked {
				t.Errorf("%+v, %v", f, l.ceph.Blocklist())
			}
			l.ceph.Intercept(nil)
			if f := inOneCluster(t, l.FenceNode(t.Context(), machine("10.0.0.1"))); f.Err != nil {
				t.Errorf("repeated: %v", f.Err)
			}
		})
	}
}

// TestFenceNodeInSeveralClusters: one that can't be fenced doesn't keep it from the others.
func TestFenceNodeInSeveralClusters(t *testing.T) {
	l := newLab(t, options{noFencer: true, more: []clusters.Cluster{{ID: "more", NamePrefix: "dev", Fencing: &clusters.Credential{User: "strata-fencing"}}}})
	all := l.FenceNode(t.Context(), machine("10.0.0.1"))
	if len(all) != 2 || all[1].Cluster != "more" || all[1].Err != nil || len(all[1].Addresses) != 1 {
		t.Fatalf("%+v", all)
	}
	wantError(t, all[0].Err, warm.ErrNoFencing)
	wantError(t, all[0].Err, volume.ErrPrecondition)
}

// TestFenceNodeThatClientsEscape: it isn't done while sessions are there.
func TestFenceNodeThatClientsEscape(t *testing.T) {
	l := newLab(t, options{})
	l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
		if c.Op != "session ls" {
			return cephtest.Action{}
		}
		return cephtest.Action{Before: func() { l.ceph.AddSession("warm", session, "10.0.0.1", "n1", "/") }}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	f := inOneCluster(t, l.FenceNode(ctx, machine("10.0.0.1")))
	wantError(t, f.Err, volume.ErrPending)
	if len(f.ShutOut["warm"]) < 2 {
		t.Errorf("shut out: %+v", f)
	}
}
