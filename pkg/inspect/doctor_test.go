package inspect_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/inspect"
)

func TestAHealthyCluster(t *testing.T) {
	l := newLab(t)
	l.create("v", mib)
	found := l.findings(inspect.NodeUser{Name: "admin"})
	l.want(found, "ceph-reachable", inspect.OK, "127.0.0.1:3300", "client.admin")
	l.want(found, "ceph-version", inspect.OK, "16.2.15")
	l.want(found, "ceph-health", inspect.OK, "HEALTH_OK")
	l.want(found, "ceph-placement-groups", inspect.OK, "all 49")
	l.want(found, "ceph-pools", inspect.OK, "warm-ec", "1TiB")
	l.want(found, "ceph-manager", inspect.OK, "1 standby")
	l.want(found, "ceph-mds, file system warm", inspect.Warn, "no standby") // the fake has none
	l.want(found, "ceph-copies, file system warm", inspect.OK)
	l.want(found, "ceph-capabilities, controller", inspect.OK, "allow *")
	l.want(found, "ceph-capabilities, nodes", inspect.OK)
	if len(found) != 10 {
		t.Errorf("%d checks, want 10", len(found))
	}
}

func TestFindings(t *testing.T) {
	refused := &ceph.Error{Op: "mon auth get", Errno: syscall.EACCES}
	for _, c := range []struct {
		name   string
		do     func(l *lab)
		key    string
		result inspect.Result
		words  []string
	}{
		{"health warns", func(l *lab) {
			l.said["status"] = `{"health": {"status": "HEALTH_WARN", "checks": {"OSD_DOWN": {"summary": {"message": "1 osds down"}}, "OLD": {"muted": true, "summary": {"message": "quiet"}}}}}`
		}, "ceph-health", inspect.Warn, []string{"OSD_DOWN: 1 osds down"}},
		{"health is an error", func(l *lab) { l.said["status"] = `{"health": {"status": "HEALTH_ERR"}}` }, "ceph-health", inspect.Fail, nil},
		{"placement groups are down", func(l *lab) {
			l.said["status"] = `{"pgmap": {"num_pgs": 9, "pgs_by_state": [{"state_name": "down", "count": 2}, {"state_name": "active+undersized+degraded", "count": 7}]}}`
		}, "ceph-placement-groups", inspect.Fail, []string{"2 down", "7 active+undersized+degraded"}},
		{"placement groups are short", func(l *lab) {
			l.said["status"] = `{"pgmap": {"num_pgs": 9, "pgs_by_state": [{"state_name": "active+clean", "count": 2}, {"state_name": "active+undersized+degraded", "count": 7}]}}`
		}, "ceph-placement-groups", inspect.Warn, []string{"7 active+undersized+degraded"}},
		{"no manager", func(l *lab) { l.said["status"] = `{"mgrmap": {"available": false}}` }, "ceph-manager", inspect.Fail, []string{"ceph mgr stat"}},
		{"the manager refuses", func(l *lab) {
			l.ceph.Intercept(func(c cephtest.Call) (a cephtest.Action) {
				if c.Kind == cephtest.Mgr {
					a.Fail = syscall.EACCES
				}
				return a
			})
		}, "ceph-manager", inspect.Fail, []string{"lacks a capability of mgr"}},
		{"too old", func(l *lab) {
			l.said["versions"] = `{"overall": {"ceph version 15.2.1 (x) octopus (stable)": 1, "ceph version 16.2.15 (x) pacific (stable)": 2}}`
		}, "ceph-version", inspect.Fail, []string{"15.2.1, 16.2.15"}},
		{"in the middle of an upgrade", func(l *lab) {
			l.said["versions"] = `{"overall": {"ceph version 17.2.1 (x) quincy (stable)": 1, "ceph version 16.2.15 (x) pacific (stable)": 2}}`
		}, "ceph-version", inspect.Warn, []string{"16.2.15, 17.2.1"}},
		{"no overwrites", func(l *lab) { l.ceph.AddPool(cephtest.Pool{Name: "warm-ec", Erasure: true}) }, "ceph-pools", inspect.Fail,
			[]string{"ceph osd pool set warm-ec allow_ec_overwrites true"}},
		{"first pool erasure-coded", func(l *lab) { l.ceph.AddPool(cephtest.Pool{Name: "warm-data", Erasure: true, Overwrites: true}) }, "ceph-pools",
			inspect.Fail, []string{"has to be replicated"}},
		{"no file system", func(l *lab) { l.ceph.RemoveFS("warm") }, "ceph-pools", inspect.Fail, []string{`no file system "warm"`, "ceph fs new"}},
		{"a full pool", func(l *lab) {
			l.said["osd pool ls"] = `[{"pool_id": 1, "pool_name": "warm-meta", "type": 1, "size": 3}, {"pool_id": 2, "pool_name": "warm-data", "type": 1, "size": 3},
				{"pool_id": 3, "pool_name": "warm-ec", "type": 3, "size": 6, "flags_names": "hashpspool,full,ec_overwrites"}]`
		}, "ceph-pools", inspect.Fail, []string{"warm-ec is full"}},
		{"a single copy", func(l *lab) {
			l.said["osd pool ls"] = `[{"pool_id": 1, "pool_name": "warm-meta", "type": 1, "size": 3}, {"pool_id": 2, "pool_name": "warm-data", "type": 1, "size": 1},
				{"pool_id": 3, "pool_name": "warm-ec", "type": 3, "size": 6, "flags_names": "ec_overwrites"}]`
		}, "ceph-pools", inspect.Warn, []string{"warm-data keeps a single copy", "ceph osd pool set warm-data size 3"}},
		{"no metadata server", func(l *lab) { l.ceph.SetMDS("warm", false) }, "ceph-mds, file system warm", inspect.Fail, []string{"no metadata server"}},
		{"capabilities are kept from this key", func(l *lab) { l.said["auth get"] = refused }, "ceph-capabilities, controller", inspect.OK, []string{"administrator"}},
		{"the user is gone", func(l *lab) { l.said["auth get"] = &ceph.Error{Errno: syscall.ENOENT} }, "ceph-capabilities, nodes", inspect.Fail,
			[]string{"no Ceph user client.node", "ceph auth get-or-create client.node", "data=warm"}},
		{"no p for quotas", func(l *lab) {
			l.said["auth get"] = `[{"caps": {"mon": "allow r", "mgr": "allow rw", "mds": "allow rw fsname=warm", "osd": "allow rwx pool=warm-data namespace=strata-locks"}}]`
		}, "ceph-capabilities, controller", inspect.Fail, []string{"mds lacks p", "ceph auth caps client.admin", "strata-locks"}},
		{"a stuck copy", func(l *lab) {
			l.copy("v", l.create("of", mib)) // with the first copy comes the queue
			l.ceph.WriteLink("warm", "/volumes/_index/clone/4711", "/volumes/dev.default/gone")
		}, "ceph-copies, file system warm", inspect.Fail, []string{"/volumes/_index/clone/4711", "Copies stand still", "rm MOUNT/volumes/_index/clone/4711"}},
		{"the file system refuses", func(l *lab) {
			l.ceph.Intercept(func(c cephtest.Call) (a cephtest.Action) {
				if c.Kind == cephtest.Tree {
					a.Fail = syscall.EACCES
				}
				return a
			})
		}, "ceph-file-system, file system warm", inspect.Fail, []string{"ceph auth get client.admin"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLab(t)
			// The fake has the directory once a volume was made.
			l.create("first", mib)
			c.do(l)
			l.want(l.findings(inspect.NodeUser{Cluster: "lab", Name: "node"}, inspect.NodeUser{Cluster: "other", Name: "x"}), c.key, c.result, c.words...)
		})
	}
}

func TestAClusterThatCantBeReached(t *testing.T) {
	l := newLab(t)
	cluster := clusters.Cluster{ID: "lab", Monitors: []string{"10.0.0.1:3300"}, Credential: &clusters.Credential{User: "u"}}
	broken := inspect.New([]clusters.Cluster{cluster}, func(context.Context, clusters.Cluster) (ceph.Conn, error) {
		return nil, fmt.Errorf("connect: %w", ceph.ErrHung)
	})
	d := broken.Doctor(t.Context(), nil)
	if len(d.Checks) != 1 || d.Checks[0].Result != inspect.Fail || !strings.Contains(d.Checks[0].Fix, "10.0.0.1:3300") || len(d.Clusters) != 0 {
		t.Errorf("got %+v", d)
	}
	inv := broken.Inventory(t.Context(), true)
	if len(inv.Missed) != 1 || inv.Missed[0].Cluster != "lab" || len(inv.Places) != 0 {
		t.Errorf("got %+v", inv)
	}
	l.ceph.SetMDS("warm", false)
	inv = l.Inventory(t.Context(), true)
	if len(inv.Missed) != 1 || inv.Missed[0].FileSystem != "warm" || len(inv.Places) != 0 {
		t.Errorf("without a metadata server: %+v", inv)
	}
}

// A key that comes with the capabilities must not get into what is printed.
func TestNoKeyIsShown(t *testing.T) {
	l := newLab(t)
	if d := asJSON(t, l.Doctor(t.Context(), []inspect.NodeUser{{Name: "admin"}})); strings.Contains(d, "secret") || !strings.Contains(d, "client.admin") {
		t.Errorf("got %s", d)
	}
}

// Whatever the collector does, the cluster gets nothing but questions.
func TestNothingIsChanged(t *testing.T) {
	l := newLab(t)
	v := l.create("v", mib)
	l.snapshot("s", v)
	asks := map[string]bool{"Xattr": true, "ReadDir": true, "ReadLink": true, "df": true, "osd pool ls": true, "fs dump": true, "fs subvolumegroup ls": true}
	var asked atomic.Int64
	l.ceph.Intercept(func(c cephtest.Call) (a cephtest.Action) {
		asked.Add(1)
		if !asks[c.Op] {
			a.Fail = errors.New("this isn't a question")
			t.Errorf("%s %s was sent", c.Kind, c.Op)
		}
		return a
	})
	l.Doctor(t.Context(), nil)
	l.Inventory(t.Context(), true)
	if asked.Load() < 10 {
		t.Errorf("only %d questions were asked", asked.Load())
	}
}

func TestBytes(t *testing.T) {
	for n, want := range map[int64]string{0: "0B", 1023: "1023B", 1024: "1KiB", 1536: "1.5KiB", 1 << 20: "1MiB", 1<<30 - 1: "1GiB", 10 << 40: "10TiB", 1<<63 - 1: "8EiB"} {
		if got := inspect.Bytes(n); got != want {
			t.Errorf("%d is %s, want %s", n, got, want)
		}
	}
}
