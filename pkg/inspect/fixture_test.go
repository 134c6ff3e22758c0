package inspect_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/inspect"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

const mib = int64(1) << 20

// lab is a fake cluster, the driver's own backend on it, and a collector that looks at what that made.
type lab struct {
	*warm.Backend
	*inspect.Collector
	ceph *cephtest.Cluster
	t    *testing.T
	// said are the monitors' answers that the fake doesn't have, by command; a string is JSON, an error is a refusal.
	said map[string]any
	// sent are the commands and the methods with which the collector reached the cluster.
	sent map[string]bool
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{ceph: cephtest.New(), t: t, sent: map[string]bool{}, said: map[string]any{
		"status": `{"health": {"status": "HEALTH_OK", "checks": {}}, "pgmap": {"num_pgs": 49, "pgs_by_state": [{"state_name": "active+clean", "count": 48},
			{"state_name": "active+clean+scrubbing+deep", "count": 1}]}, "mgrmap": {"available": true, "num_standbys": 1}}`,
		"versions": `{"overall": {"ceph version 16.2.15 (618f440892089921c3e944a991122ddc44e60516) pacific (stable)": 13}}`,
		"auth get": `[{"entity": "client.admin", "key": "AQsecret==", "caps": {"mon": "allow *", "mgr": "allow *", "mds": "allow *", "osd": "allow *"}}]`,
	}}
	l.ceph.AutoClone(true)
	c := clusters.Cluster{ID: "lab", Monitors: []string{"127.0.0.1:3300"}, NamePrefix: "dev", Credential: &clusters.Credential{User: "admin"},
		Defaults: map[string]string{"fsName": "warm", "pool": "warm-ec"}}
	l.Backend = warm.New(warm.Options{Clusters: clusters.Static(c), CopyWait: 5 * time.Second,
		Dial: func(context.Context, clusters.Cluster) (ceph.Conn, error) { return l.ceph.Conn(), nil }})
	t.Cleanup(l.Backend.Close)
	l.Collector = inspect.New([]clusters.Cluster{c}, func(context.Context, clusters.Cluster) (ceph.Conn, error) {
		return &overlay{Conn: l.ceph.Conn(), lab: l}, nil
	})
	return l
}

// overlay is a connection to the fake that also answers what only a real cluster knows.
type overlay struct {
	*cephtest.Conn
	lab *lab
}

func (o *overlay) Mon(ctx context.Context, command map[string]any) ([]byte, error) {
	prefix, _ := command["prefix"].(string)
	switch said := o.lab.said[prefix].(type) {
	case string:
		return []byte(said), nil
	case error:
		return nil, said
	}
	return o.Conn.Mon(ctx, command)
}

// findings are the checks by name and subject, "name subject" (without the cluster).
func (l *lab) findings(users ...inspect.NodeUser) map[string]inspect.Check {
	l.t.Helper()
	out := map[string]inspect.Check{}
	for _, c := range l.Doctor(l.t.Context(), users).Checks {
		key := strings.TrimSpace(c.Name + strings.TrimPrefix(c.Subject, "cluster lab"))
		if _, twice := out[key]; twice {
			l.t.Errorf("two checks %q", key)
		}
		out[key] = c
	}
	return out
}

func (l *lab) want(found map[string]inspect.Check, key string, result inspect.Result, words ...string) {
	l.t.Helper()
	c, ok := found[key]
	if !ok {
		l.t.Errorf("no check %q among %v", key, found)
		return
	}
	if c.Result != result {
		l.t.Errorf("%s is %s, want %s: %s", key, c.Result, result, c.Found)
	}
	for _, w := range words {
		if !strings.Contains(c.Found+"\n"+c.Fix, w) {
			l.t.Errorf("%s doesn't say %q: %s; fix: %s", key, w, c.Found, c.Fix)
		}
	}
	if result != inspect.OK && result != inspect.Unknown && c.Fix == "" {
		l.t.Errorf("%s says nothing of how to mend it", key)
	}
}

func (l *lab) create(name string, size int64, more ...string) volume.Volume {
	l.t.Helper()
	p := map[string]string{"tier": "warm"}
	for i := 0; i+1 < len(more); i += 2 {
		p[more[i]] = more[i+1]
	}
	v, err := l.Create(l.t.Context(), volume.Spec{Name: name, Capacity: volume.CapacityRange{Required: size}, Parameters: p,
		Owner: volume.Owner{PV: name, PVC: "claim-" + name, Namespace: "team-a"}})
	if err != nil {
		l.t.Fatalf("create %s: %v", name, err)
	}
	return v
}

func (l *lab) copy(name string, of volume.Volume) {
	l.t.Helper()
	if _, err := l.Create(l.t.Context(), volume.Spec{Name: name, Capacity: volume.CapacityRange{Required: of.Capacity}, Parameters: map[string]string{"tier": "warm"},
		Source: volume.Source{Volume: of.ID}}); err != nil {
		l.t.Fatalf("copy %s: %v", name, err)
	}
}

func (l *lab) snapshot(name string, of volume.Volume) volume.Snapshot {
	l.t.Helper()
	s, err := l.CreateSnapshot(l.t.Context(), volume.SnapshotSpec{Name: name, Source: of.ID})
	if err != nil {
		l.t.Fatalf("snapshot %s: %v", name, err)
	}
	return s
}

func (l *lab) remove(v volume.Volume) {
	l.t.Helper()
	if err := l.Delete(l.t.Context(), v.ID); err != nil {
		l.t.Fatal(err)
	}
}

// inventory is what is there, by name.
func (l *lab) inventory() (inspect.Inventory, map[string]inspect.Volume, map[string]inspect.Snapshot) {
	l.t.Helper()
	inv := l.Inventory(l.t.Context(), true)
	volumes, snapshots := map[string]inspect.Volume{}, map[string]inspect.Snapshot{}
	for _, v := range inv.Volumes {
		volumes[v.Name] = v
	}
	for _, s := range inv.Snapshots {
		snapshots[s.Name] = s
	}
	return inv, volumes, snapshots
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
