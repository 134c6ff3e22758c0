package warm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// Dial connects to a cluster with the controller's own credential.
type Dial func(ctx context.Context, c clusters.Cluster) (ceph.Conn, error)

// Options are what a Backend is made of.
type Options struct {
	Clusters *clusters.Store
	Dial     Dial
	// Keeper keeps the keys of volumes with an identity of their own; nil: nobody can, and there are no such volumes.
	Keeper Keeper
	// Lease is how long a lock of a controller that died keeps another from going on. Default 10 s.
	Lease time.Duration
	// CopyWait is how long CreateVolume waits for a copy before it answers that it is still running. Default 30 s.
	CopyWait time.Duration
}

// Backend is the controller's side of the tier. It is safe for concurrent use, also by several processes on one cluster.
type Backend struct {
	clusters *clusters.Store
	dial     Dial
	keeper   Keeper
	lease    time.Duration
	copyWait time.Duration
	checks   preflights
	locks    leases

	mu    sync.Mutex
	conns map[string]*connection
}

var (
	_ tier.Provisioner      = (*Backend)(nil)
	_ tier.Expander         = (*Backend)(nil)
	_ tier.Snapshotter      = (*Backend)(nil)
	_ tier.Lister           = (*Backend)(nil)
	_ tier.CapacityReporter = (*Backend)(nil)
	_ tier.HealthReporter   = (*Backend)(nil)
)

// connection is made on first use and again when what it was made with has changed.
type connection struct {
	mu   sync.Mutex
	conn ceph.Conn
	with clusters.Cluster
}

// New returns a backend that has not connected yet: a cluster that is down at start doesn't keep the others from being served.
func New(o Options) *Backend {
	if o.Lease == 0 {
		o.Lease = 10 * time.Second
	}
	if o.CopyWait == 0 {
		o.CopyWait = 30 * time.Second
	}
	b := &Backend{clusters: o.Clusters, dial: o.Dial, keeper: o.Keeper, lease: o.Lease, copyWait: o.CopyWait, conns: map[string]*connection{}}
	o.Clusters.Subscribe(func(changed []string) {
		for _, id := range changed {
			b.reconnect(id)
		}
	})
	return b
}

// Close ends the connections; calls in flight fail.
func (b *Backend) Close() {
	b.mu.Lock()
	ids := make([]string, 0, len(b.conns))
	for id := range b.conns {
		ids = append(ids, id)
	}
	b.mu.Unlock()
	for _, id := range ids {
		b.drop(id)
	}
}

// reconnect drops the connection to a cluster whose configuration has changed, unless only other things of it did: the calls in
// flight would fail for nothing.
func (b *Backend) reconnect(cluster string) {
	b.mu.Lock()
	c := b.conns[cluster]
	b.mu.Unlock()
	if c == nil {
		return
	}
	now, err := b.clusters.Get(cluster)
	c.mu.Lock()
	same := err == nil && c.conn != nil && slices.Equal(c.with.Monitors, now.Monitors) &&
		c.with.Credential != nil && now.Credential != nil && *c.with.Credential == *now.Credential
	c.mu.Unlock()
	if !same {
		b.drop(cluster)
	}
}

func (b *Backend) drop(cluster string) {
	b.mu.Lock()
	c := b.conns[cluster]
	delete(b.conns, cluster)
	b.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// connect returns the connection to a cluster.
func (b *Backend) connect(ctx context.Context, cluster clusters.Cluster) (ceph.Conn, error) {
	b.mu.Lock()
	c := b.conns[cluster.ID]
	if c == nil {
		c = &connection{}
		b.conns[cluster.ID] = c
	}
	b.mu.Unlock()

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return c.conn, nil
	}
	conn, err := b.dial(ctx, cluster)
	if err != nil {
		return nil, fmt.Errorf("%w: cluster %s: %w", volume.ErrUnavailable, cluster.ID, err)
	}
	c.conn, c.with = conn, cluster
	return conn, nil
}

// site is one file system of one cluster, as a call uses it.
type site struct {
	cluster clusters.Cluster
	conn    ceph.Conn
	fs      ceph.FS
}

// tree is the file system's directory tree.
func (s site) tree() ceph.Tree { return s.fs.Tree() }

// reach connects to the file system of an existing volume or snapshot. An unknown cluster is volume.ErrNotFound:
// nothing of it can be here.
func (b *Backend) reach(ctx context.Context, cluster, fs string, sub ceph.Subvolume) (site, error) {
	if !slices.Contains(b.clusters.IDs(), cluster) {
		return site{}, fmt.Errorf("%w: the cluster configuration has no cluster %q", volume.ErrNotFound, cluster)
	}
	c, err := b.clusters.Get(cluster)
	if err != nil {
		return site{}, err
	}
	if err := ours(c.NamePrefix, sub); err != nil {
		return site{}, err
	}
	conn, err := b.connect(ctx, c)
	if err != nil {
		return site{}, err
	}
	return site{cluster: c, conn: conn, fs: ceph.NewFS(conn, fs)}, nil
}

// resolve checks the parameters of a StorageClass, connects and looks whether the class can work at all.
func (b *Backend) resolve(ctx context.Context, parameters map[string]string, namespace string) (class, site, error) {
	c, cluster, err := b.class(parameters, namespace)
	if err != nil {
		return class{}, site{}, err
	}
	conn, err := b.connect(ctx, cluster)
	if err != nil {
		return class{}, site{}, err
	}
	if c.fs, c.pool, err = b.checks.run(ctx, conn, cluster, c.fs, c.pool); err != nil {
		return class{}, site{}, classify(err)
	}
	return c, site{cluster: cluster, conn: conn, fs: ceph.NewFS(conn, c.fs)}, nil
}

// class checks parameters against the cluster they name, or the only one.
func (b *Backend) class(parameters map[string]string, namespace string) (class, clusters.Cluster, error) {
	get := b.clusters.Default
	if id := parameters[paramCluster]; id != "" {
		get = func() (clusters.Cluster, error) { return b.clusters.Get(id) }
	}
	cluster, err := get()
	if err != nil {
		return class{}, clusters.Cluster{}, fmt.Errorf("parameter %s: %w", paramCluster, err)
	}
	c, err := parseClass(parameters, cluster.Defaults, namespace)
	if err != nil {
		return class{}, clusters.Cluster{}, err
	}
	if c.ownIdentity && b.keeper == nil {
		return class{}, clusters.Cluster{}, errNoKeeper("parameter " + paramIdentity + ": " + identityVolume)
	}
	c.cluster = cluster.ID
	return c, cluster, nil
}

// CheckParameters refuses the parameters of a StorageClass that Create would refuse without asking the cluster.
func (b *Backend) CheckParameters(parameters map[string]string) error {
	_, _, err := b.class(parameters, "any")
	return err
}

// CheckCluster is the check that the cluster configuration makes of its defaults.
func CheckCluster(c clusters.Cluster) error {
	_, err := parseClass(c.Defaults, nil, "any")
	return err
}

// Ready connects to every cluster and says which one can't be reached. What is connected stays ready: a cluster that
// fails later answers each call for itself.
func (b *Backend) Ready(ctx context.Context) error {
	var errs []error
	for _, id := range b.clusters.IDs() {
		c, err := b.clusters.Get(id)
		if err == nil {
			_, err = b.connect(ctx, c)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
