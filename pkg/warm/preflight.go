package warm

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/volume"
)

// viewAge is how old a cluster's view may be when a class is checked. A check that fails on an older view than freshView looks again,
// so that a repaired cluster is not refused for the rest of the time.
const (
	viewAge   = time.Minute
	freshView = time.Second
)

// view is what the monitors say of a cluster's file systems and pools.
type view struct {
	taken       time.Time
	filesystems map[string]filesystem
	pools       map[string]pool
}

type filesystem struct {
	dataPools []string // the first is the one that new directories use
	active    bool     // some metadata server is active
}

type pool struct {
	erasure    bool
	overwrites bool
	full       bool
	nearFull   bool
}

// preflights keep the last view of each cluster.
type preflights struct {
	mu    sync.Mutex
	views map[string]*cachedView
}

type cachedView struct {
	mu   sync.Mutex
	conn ceph.Conn
	view view
}

func (p *preflights) of(cluster string) *cachedView {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.views == nil {
		p.views = map[string]*cachedView{}
	}
	v := p.views[cluster]
	if v == nil {
		v = &cachedView{}
		p.views[cluster] = v
	}
	return v
}

// look returns a view that is at most maxAge old. Concurrent callers share one look.
func (p *preflights) look(ctx context.Context, conn ceph.Conn, cluster string, maxAge time.Duration) (view, error) {
	c := p.of(cluster)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == conn && time.Since(c.view.taken) < maxAge {
		return c.view, nil
	}
	v, err := takeView(ctx, conn)
	if err != nil {
		return view{}, err
	}
	c.conn, c.view = conn, v
	return v, nil
}

// run says whether volumes can be made in the pool of the file system, and fills in what the class left to the
// cluster: the only file system, the first data pool. Its errors wrap volume.ErrPrecondition and name the command that mends it.
func (p *preflights) run(ctx context.Context, conn ceph.Conn, cluster clusters.Cluster, fs, pool string) (string, string, error) {
	v, err := p.look(ctx, conn, cluster.ID, viewAge)
	if err != nil {
		return "", "", err
	}
	gotFS, gotPool, err := v.check(fs, pool)
	if err != nil && time.Since(v.taken) > freshView {
		if v, lookErr := p.look(ctx, conn, cluster.ID, freshView); lookErr == nil {
			gotFS, gotPool, err = v.check(fs, pool)
		}
	}
	if err != nil {
		return "", "", fmt.Errorf("cluster %s: %w", cluster.ID, err)
	}
	return gotFS, gotPool, nil
}

// firstPool is the pool of our locks: replicated, as check demands, and there for every file system.
func (p *preflights) firstPool(ctx context.Context, s site) (string, error) {
	if s.cluster.LockPool != "" {
		return s.cluster.LockPool, nil
	}
	v, err := p.look(ctx, s.conn, s.cluster.ID, time.Hour)
	if err != nil {
		return "", err
	}
	f, ok := v.filesystems[s.fs.Name()]
	if !ok || len(f.dataPools) == 0 {
		return "", v.noFilesystem(s.fs.Name())
	}
	return f.dataPools[0], nil
}

func (v view) noFilesystem(fs string) error {
	names := slices.Sorted(maps.Keys(v.filesystems))
	return fmt.Errorf("%w: there is no file system %q (there are: %s); make it with `ceph fs new %s METADATA_POOL DATA_POOL` or correct parameter %s",
		volume.ErrPrecondition, fs, strings.Join(names, ", "), fs, paramFS)
}

func (v view) check(fs, poolName string) (string, string, error) {
	if fs == "" {
		if len(v.filesystems) != 1 {
			return "", "", fmt.Errorf("%w: parameter %s is needed: the cluster has the file systems %s", volume.ErrInvalid, paramFS,
				strings.Join(slices.Sorted(maps.Keys(v.filesystems)), ", "))
		}
		for only := range v.filesystems {
			fs = only
		}
	}
	f, ok := v.filesystems[fs]
	if !ok {
		return "", "", v.noFilesystem(fs)
	}
	if !f.active {
		return "", "", fmt.Errorf("%w: file system %s has no active MDS; see `ceph fs status %s` and start a ceph-mds",
			volume.ErrPrecondition, fs, fs)
	}
	if first := f.dataPools[0]; v.pools[first].erasure {
		return "", "", fmt.Errorf("%w: the first data pool of file system %s, %s, is erasure-coded; it holds a backtrace for every file and must be "+
			"replicated: make a file system with `ceph fs new NAME METADATA_POOL REPLICATED_POOL` and add %s with `ceph fs add_data_pool NAME %s`",
			volume.ErrPrecondition, fs, first, first, first)
	}
	if poolName == "" {
		return fs, f.dataPools[0], nil
	}
	p, ok := v.pools[poolName]
	if !ok {
		return "", "", fmt.Errorf("%w: there is no pool %q; make it with `ceph osd pool create %s`, or correct parameter %s (data pools of %s: %s)",
			volume.ErrPrecondition, poolName, poolName, paramPool, fs, strings.Join(f.dataPools, ", "))
	}
	if p.erasure && !p.overwrites {
		return "", "", fmt.Errorf("%w: pool %s is erasure-coded and refuses overwrites; run `ceph osd pool set %s allow_ec_overwrites true`",
			volume.ErrPrecondition, poolName, poolName)
	}
	if !slices.Contains(f.dataPools, poolName) {
		return "", "", fmt.Errorf("%w: pool %s isn't a data pool of file system %s (those are %s); run `ceph fs add_data_pool %s %s`",
			volume.ErrPrecondition, poolName, fs, strings.Join(f.dataPools, ", "), fs, poolName)
	}
	return fs, poolName, nil
}

// erasureType is the type of an erasure-coded pool in the OSD map (TYPE_ERASURE in Ceph's osd_types.h).
const erasureType = 3

func takeView(ctx context.Context, conn ceph.Conn) (view, error) {
	v := view{taken: time.Now(), filesystems: map[string]filesystem{}, pools: map[string]pool{}}

	raw, err := conn.Mon(ctx, map[string]any{"prefix": "osd pool ls", "detail": "detail", "format": "json"})
	if err != nil {
		return view{}, err
	}
	var pools []struct {
		ID    int64  `json:"pool_id"`
		Name  string `json:"pool_name"`
		Type  int    `json:"type"`
		Flags string `json:"flags_names"`
	}
	if err := json.Unmarshal(raw, &pools); err != nil {
		return view{}, fmt.Errorf("osd pool ls: %w", err)
	}
	names := map[int64]string{}
	for _, p := range pools {
		flags := strings.Split(p.Flags, ",")
		names[p.ID] = p.Name
		v.pools[p.Name] = pool{
			erasure:    p.Type == erasureType,
			overwrites: slices.Contains(flags, "ec_overwrites"),
			full:       slices.Contains(flags, "full") || slices.Contains(flags, "full_quota"),
			nearFull:   slices.Contains(flags, "nearfull") || slices.Contains(flags, "backfillfull"),
		}
	}

	raw, err = conn.Mon(ctx, map[string]any{"prefix": "fs dump", "format": "json"})
	if err != nil {
		return view{}, err
	}
	var dump struct {
		Filesystems []struct {
			Map struct {
				Name      string  `json:"fs_name"`
				DataPools []int64 `json:"data_pools"`
				Info      map[string]struct {
					State string `json:"state"`
				} `json:"info"`
			} `json:"mdsmap"`
		} `json:"filesystems"`
	}
	if err := json.Unmarshal(raw, &dump); err != nil {
		return view{}, fmt.Errorf("fs dump: %w", err)
	}
	for _, f := range dump.Filesystems {
		var fs filesystem
		for _, id := range f.Map.DataPools {
			fs.dataPools = append(fs.dataPools, names[id])
		}
		for _, daemon := range f.Map.Info {
			fs.active = fs.active || daemon.State == "up:active"
		}
		v.filesystems[f.Map.Name] = fs
	}
	return v, nil
}
