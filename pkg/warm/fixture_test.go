package warm_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// lab is a fake cluster with a backend on it.
type lab struct {
	*warm.Backend
	ceph    *cephtest.Cluster
	secrets *keeper
	t       testing.TB
}

// options vary a backend.
type options struct {
	lease    time.Duration
	copyWait time.Duration
	more     []clusters.Cluster
	noKeeper bool
	noFencer bool
}

func newLab(t testing.TB, o options) *lab {
	t.Helper()
	l := &lab{ceph: cephtest.New(), secrets: &keeper{}, t: t}
	l.ceph.AutoClone(true)
	l.Backend = l.another(o)
	return l
}

// another is a second controller on the same cluster.
func (l *lab) another(o options) *warm.Backend {
	if o.copyWait == 0 {
		o.copyWait = 5 * time.Second
	}
	lab := clusters.Cluster{ID: "lab", Monitors: []string{"127.0.0.1:3300"}, NamePrefix: "dev", Defaults: map[string]string{"fsName": "warm", "pool": "warm-ec"}}
	if !o.noFencer {
		lab.Fencing = &clusters.Credential{User: "strata-fencing"}
	}
	all := append([]clusters.Cluster{lab}, o.more...)
	options := warm.Options{Clusters: clusters.Static(all...), Lease: o.lease, CopyWait: o.copyWait,
		Dial: func(context.Context, clusters.Cluster) (ceph.Conn, error) { return l.ceph.Conn(), nil }}
	if !o.noKeeper {
		options.Keeper = l.secrets
	}
	b := warm.New(options)
	l.t.Cleanup(b.Close)
	return b
}

func spec(name string, size int64, parameters ...string) volume.Spec {
	p := map[string]string{"tier": "warm", "clusterID": "lab"}
	for i := 0; i+1 < len(parameters); i += 2 {
		p[parameters[i]] = parameters[i+1]
	}
	return volume.Spec{Name: name, Capacity: volume.CapacityRange{Required: size}, Parameters: p, Access: volume.Access{MultiNode: true}}
}

// own asks for a volume with an identity of its own; its PersistentVolume has the volume's name.
func own(s volume.Spec) volume.Spec {
	s.Parameters["identity"] = "volume"
	s.Owner = volume.Owner{PV: s.Name, PVC: "claim", Namespace: "team"}
	return s
}

func (l *lab) create(s volume.Spec) volume.Volume {
	l.t.Helper()
	v, err := l.Create(l.t.Context(), s)
	if err != nil {
		l.t.Fatalf("create %q: %v", s.Name, err)
	}
	return v
}

func (l *lab) snapshot(name string, of volume.Volume) volume.Snapshot {
	l.t.Helper()
	s, err := l.CreateSnapshot(l.t.Context(), volume.SnapshotSpec{Name: name, Source: of.ID})
	if err != nil {
		l.t.Fatalf("snapshot %q: %v", name, err)
	}
	return s
}

func (l *lab) xattr(path, name string) string {
	l.t.Helper()
	v, err := l.ceph.Conn().Tree("warm").Xattr(l.t.Context(), path, name)
	if err != nil {
		l.t.Fatalf("%s of %s: %v", name, path, err)
	}
	return v
}

// wantEmpty says that no volume, snapshot or lock is left.
func (l *lab) wantEmpty() {
	l.t.Helper()
	if left := l.ceph.Subvolumes("warm"); len(left) > 0 {
		l.t.Errorf("subvolumes left over: %v", left)
	}
	if left := l.ceph.Locks(); len(left) > 0 {
		l.t.Errorf("locks left over: %v", left)
	}
	if users := l.ceph.Users(); len(users) > 0 {
		l.t.Errorf("identities left over: %v", users)
	}
	if n := l.secrets.names(); n > 0 {
		l.t.Errorf("%d secrets left over", n)
	}
	conn := l.ceph.Conn()
	defer conn.Close()
	for _, dir := range []string{"/strata/dev/snapshots", "/strata/dev/volumes/dev.default", "/strata/dev/identities/volume/dev.default", "/strata/dev/identities/snapshot/dev.default"} {
		names, err := conn.Tree("warm").ReadDir(context.Background(), dir)
		if err != nil && !ceph.Absent(err) {
			l.t.Error(err)
		}
		if len(names) > 0 {
			l.t.Errorf("left over in %s: %v", dir, names)
		}
	}
}

func wantError(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

// within bounds a call that is not to be answered.
func within(t testing.TB, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

// eventually waits until ok returns nil.
func eventually(t testing.TB, what string, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(fmt.Errorf("%s: %w", what, err))
		}
		time.Sleep(5 * time.Millisecond)
	}
}
