package cephtest

// The cluster: its pools and file systems, its clock, and what a test may do to it from outside.

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
)

// Pool is a RADOS pool.
type Pool struct {
	Name       string
	Erasure    bool  // erasure-coded, else replicated
	Overwrites bool  // allow_ec_overwrites
	Free       int64 // max_avail of `df`, bytes
}

// Cluster is a fake cluster. Make one with New; its methods may be called from any goroutine.
type Cluster struct {
	mu      sync.Mutex // one call at a time, as the manager does it
	now     func() time.Time
	pools   []*Pool
	fs      []*filesystem
	objects map[objectKey]map[string]*lock // locks by object and name
	users   map[string]user                // by entity, "client.NAME"
	shutOut map[string]time.Time           // clients on the blocklist, by address, and until when
	auto    bool                           // clones finish at once
	mgrDown bool

	holdQueue bool // clones that have ended stay in the queue

	changed chan struct{} // closed and replaced when something that calls wait for changes
	conns   int
	nextID  int

	hooks hooks
}

// filesystem is a CephFS file system.
type filesystem struct {
	name    string
	id      int
	meta    *Pool
	data    []*Pool
	root    *node
	clones  []*clone // in their sources' records, oldest first
	clients []client // that have it mounted
	mdsDown bool
}

// New returns a cluster like the one of hack/ceph: file system "warm" with the pools warm-meta, warm-data (first data pool, replicated)
// and warm-ec (erasure-coded with overwrites), 1 TiB free in each.
func New() *Cluster {
	c := &Cluster{now: time.Now, objects: map[objectKey]map[string]*lock{}, users: map[string]user{}, shutOut: map[string]time.Time{}, changed: make(chan struct{})}
	const tib = 1 << 40
	c.AddPool(Pool{Name: "warm-meta", Free: tib})
	c.AddPool(Pool{Name: "warm-data", Free: tib})
	c.AddPool(Pool{Name: "warm-ec", Erasure: true, Overwrites: true, Free: tib})
	c.AddFS("warm", "warm-meta", "warm-data", "warm-ec")
	return c
}

// AddPool makes a pool, or replaces the properties of the one of that name.
func (c *Cluster) AddPool(p Pool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.pool(p.Name); old != nil {
		*old = p
		return
	}
	c.pools = append(c.pools, &p)
}

// AddFS makes a file system on existing pools; the first of data holds what has no layout.
func (c *Cluster) AddFS(name, meta string, data ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nextID++
	f := &filesystem{name: name, id: c.nextID, meta: c.mustPool(meta)}
	for _, d := range data {
		f.data = append(f.data, c.mustPool(d))
	}
	f.root = newDir(0o755, c.now())
	f.root.layout = &layout{pool: f.data[0].Name, unit: 4 << 20, count: 1, object: 4 << 20}
	c.fs = append(c.fs, f)
}

// RemoveFS removes a file system with all that is in it.
func (c *Cluster) RemoveFS(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fs = slices.DeleteFunc(c.fs, func(f *filesystem) bool { return f.name == name })
}

// SetClock replaces time.Now, for times of creation and the end of leases.
func (c *Cluster) SetClock(now func() time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = now
}

// SetMgr starts or stops the manager. Without one, commands to it wait.
func (c *Cluster) SetMgr(up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mgrDown = !up
	c.wake()
}

// SetMDS starts or stops the metadata servers of a file system. Without one, its tree and the manager's volume commands wait.
func (c *Cluster) SetMDS(fs string, up bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.filesystem(fs); f != nil {
		f.mdsDown = !up
	}
	c.wake()
}

// WriteFile makes or replaces a file of size bytes; its directory must exist.
func (c *Cluster) WriteFile(fs, path string, size int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, name := split(path)
	d, err := c.filesystem(fs).lookup(dir)
	if err != nil || d.readOnly || !d.dir {
		panic(fmt.Sprintf("cephtest: can't write %s: %v", path, err))
	}
	d.children[name] = &node{size: size, created: c.now()}
}

// WriteLink makes a symbolic link; its directory must exist.
func (c *Cluster) WriteLink(fs, path, target string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, name := split(path)
	d, err := c.filesystem(fs).lookup(dir)
	if err != nil || d.readOnly || !d.dir {
		panic(fmt.Sprintf("cephtest: can't link %s: %v", path, err))
	}
	d.add(name, &node{link: target, created: c.now()})
}

// RemoveFile removes a file or a symbolic link, as somebody does who has mounted the file system.
func (c *Cluster) RemoveFile(fs, path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	dir, name := split(path)
	d, err := c.filesystem(fs).lookup(dir)
	if err != nil || d.children[name] == nil || d.children[name].dir {
		panic(fmt.Sprintf("cephtest: can't remove %s: %v", path, err))
	}
	delete(d.children, name)
}

// Subvolumes are the names "group/subvolume" of a file system, husks and unfinished clones included, sorted.
func (c *Cluster) Subvolumes(fs string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	volumes := c.filesystem(fs).root.children["volumes"]
	if volumes == nil {
		return nil
	}
	for group, g := range volumes.children {
		if !g.dir || slices.Contains(internalDirs, group) {
			continue
		}
		for name, s := range g.children {
			if s.meta != nil {
				list = append(list, group+"/"+name)
			}
		}
	}
	slices.Sort(list)
	return list
}

// Locks are the names "pool/namespace/object/lock" of the locks held now, sorted.
func (c *Cluster) Locks() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []string
	for o, locks := range c.objects {
		for name, l := range locks {
			if c.now().Before(l.ends) {
				list = append(list, o.pool+"/"+o.namespace+"/"+o.name+"/"+name)
			}
		}
	}
	slices.Sort(list)
	return list
}

// Conn connects a new client.
func (c *Cluster) Conn() *Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conns++
	return &Conn{cluster: c, id: c.conns, closed: make(chan struct{})}
}

var _ ceph.Conn = (*Conn)(nil)

// wake lets waiting calls look again.
func (c *Cluster) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *Cluster) pool(name string) *Pool {
	for _, p := range c.pools {
		if p.Name == name {
			return p
		}
	}
	return nil
}

func (c *Cluster) mustPool(name string) *Pool {
	p := c.pool(name)
	if p == nil {
		panic("cephtest: no pool " + name)
	}
	return p
}

func (c *Cluster) filesystem(name string) *filesystem {
	for _, f := range c.fs {
		if f.name == name {
			return f
		}
	}
	return nil
}

// isData says whether pool is a data pool of the file system.
func (f *filesystem) isData(pool string) bool {
	return slices.ContainsFunc(f.data, func(p *Pool) bool { return p.Name == pool })
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
