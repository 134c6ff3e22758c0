package inspect

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/volume"
)

// Where the tier warm keeps what: pkg/warm, names.go and index.go.
const (
	volumesRoot    = "/volumes"
	indexRoot      = "/strata"
	groupSeparator = "."
	readOnlyMark   = "ro"
	copyPrefix     = "copy_" // begins the name of a snapshot that is taken for one copy
)

func ofPrefix(prefix, group string) bool { return strings.HasPrefix(group, prefix+groupSeparator) }

// record is what the tier warm keeps with a subvolume or a volume that is served from a snapshot, in the fields that matter here.
type record struct {
	Name     string        `json:"name"`
	Path     string        `json:"path"`
	Pool     string        `json:"pool"`
	Source   volume.Source `json:"source"`
	Size     int64         `json:"size"`
	Snapshot string        `json:"snapshot"` // of one that is served from it
	Copy     *struct {
		Of       ceph.Subvolume `json:"of"`
		Snapshot string         `json:"snapshot"`
	} `json:"copy"`
	volume.Owner
}

// site is one file system while it is looked at.
type site struct {
	tree
	place Place
	pools []Pool
	queue map[string]string
}

// Inventory lists the volumes, and with snapshots these too, of every file system in which the cluster's prefix has any. What can't be
// seen is in Missed: nothing that is missing from the list may be taken to be gone from there.
func (c *Collector) Inventory(ctx context.Context, snapshots bool) Inventory {
	inv := Inventory{Header: header(KindInventory), Places: []Place{}, Missed: []Missed{}, Volumes: []Volume{}, Snapshots: []Snapshot{}}
	for _, cluster := range c.clusters {
		c.inventory(ctx, cluster, snapshots, &inv)
	}
	slices.SortFunc(inv.Volumes, func(a, b Volume) int { return strings.Compare(a.ID+"\x00"+a.Name, b.ID+"\x00"+b.Name) })
	slices.SortFunc(inv.Snapshots, func(a, b Snapshot) int {
		key := func(s Snapshot) string {
			return strings.Join([]string{s.Cluster, s.FileSystem, s.Group, s.Volume, s.Name}, "\x00")
		}
		return strings.Compare(key(a), key(b))
	})
	return inv
}

func (c *Collector) inventory(ctx context.Context, cluster clusters.Cluster, snapshots bool, inv *Inventory) {
	miss := func(fs string, err error) {
		inv.Missed = append(inv.Missed, Missed{Cluster: cluster.ID, FileSystem: fs, Reason: because(err)})
	}
	l, end, err := c.reach(ctx, cluster)
	if err != nil {
		miss("", err)
		return
	}
	defer end()
	v, err := takeView(ctx, l, cluster)
	if err != nil {
		miss("", err)
		return
	}
	reached := false
	var refused error
	for _, f := range v.FileSystems {
		if f.Active == 0 {
			miss(f.Name, fmt.Errorf("it has no active metadata server; see `ceph fs status %s`", f.Name))
			continue
		}
		s := site{tree: l.tree(f.Name), place: Place{cluster.ID, f.Name, cluster.NamePrefix}, pools: v.Pools}
		var identities []Identity
		vols, snaps, err := s.look(ctx, snapshots)
		if err == nil && snapshots {
			identities, err = s.identities(ctx)
		}
		switch {
		case denied(err): // somebody else's: with a key that may not enter it, nothing of ours was ever made there
			refused = err
			continue
		case err != nil:
			miss(f.Name, err)
			continue
		}
		reached = true
		inv.Places = append(inv.Places, s.place)
		inv.Volumes = append(inv.Volumes, vols...)
		inv.Snapshots = append(inv.Snapshots, snaps...)
		inv.Identities = append(inv.Identities, identities...)
	}
	if refused != nil && !reached { // then it is the key that is wrong
		miss("", refused)
	}
}

func (s site) look(ctx context.Context, snapshots bool) ([]Volume, []Snapshot, error) {
	var err error
	if s.queue, err = queueOf(ctx, s.tree); err != nil {
		return nil, nil, err
	}
	var volumes []Volume
	for _, kind := range []struct {
		root     string
		readOnly bool
	}{{volumesRoot, false}, {s.backedRoot(), true}} {
		groups, err := s.list(ctx, kind.root)
		if err != nil {
			return nil, nil, err
		}
		for _, group := range groups {
			if !ofPrefix(s.place.NamePrefix, group) {
				continue
			}
			names, err := s.list(ctx, path.Join(kind.root, group))
			if err != nil {
				return nil, nil, err
			}
			for _, name := range names {
				volumes = append(volumes, Volume{Cluster: s.place.Cluster, FileSystem: s.place.FileSystem, Group: group, Name: name,
					Team: strings.TrimPrefix(group, s.place.NamePrefix+groupSeparator), ReadOnly: kind.readOnly, Health: []Condition{}})
			}
		}
	}
	copies := &copies{of: map[string]bool{}}
	gone := make([]bool, len(volumes))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for i := range volumes {
		group.Go(func() (err error) {
			gone[i], err = s.complete(inner, &volumes[i], copies)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	var there []Volume
	for i, v := range volumes {
		if !gone[i] {
			there = append(there, v)
		}
	}
	if !snapshots {
		return there, nil, nil
	}
	snaps, err := s.snapshots(ctx, there, copies)
	return there, snaps, err
}

func (s site) backedRoot() string { return path.Join(indexRoot, s.place.NamePrefix, "volumes") }

// copies are the temporary snapshots that a copy is being made from, by path.
type copies struct {
	mu sync.Mutex
	of map[string]bool
}

func (c *copies) add(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.of[path] = true
}

// complete reads one volume. gone: it went since it was listed.
func (s site) complete(ctx context.Context, v *Volume, copies *copies) (gone bool, err error) {
	sub := ceph.Subvolume{Group: v.Group, Name: v.Name}
	base, parts := sub.Base(), []string{v.Cluster, v.FileSystem, v.Group, v.Name}
	if v.ReadOnly {
		base, parts = path.Join(s.backedRoot(), v.Group, v.Name), append(parts, readOnlyMark)
	}
	_, v.Queued = s.queue[base]
	if id, err := volume.NewID(volume.Warm, parts...); err == nil { // else it is too long to be one of ours
		v.ID = string(id)
	}
	if v.Changed, err = s.changed(ctx, base); err != nil {
		return false, err
	}
	var rec record
	absent, missing, err := s.record(ctx, base, &rec)
	switch {
	case errors.Is(err, errUnreadable):
		v.State, v.Problem = Unreadable, err.Error()
		return false, nil
	case err != nil || absent:
		return absent, err
	case missing && v.ReadOnly:
		v.State = Unfinished
		return false, nil
	case missing:
		v.State = Unfinished
		there, err := s.hasData(ctx, base)
		if !there {
			v.State = Retained
		}
		return false, err
	}
	v.Request, v.PV, v.PVC, v.Namespace, v.Pool, v.Size = rec.Name, rec.PV, rec.PVC, rec.Namespace, rec.Pool, rec.Size
	v.Source = string(rec.Source.Volume) + string(rec.Source.Snapshot)
	v.State = Ready
	if v.ReadOnly { // the sums of a snapshot's directory are those of the live one: docs/limitations.md
		v.Source = rec.Snapshot
		return false, nil
	}
	if rec.Copy != nil {
		v.State = Copying
		copies.add(rec.Copy.Of.Base() + "/.snap/" + rec.Copy.Snapshot)
		v.Health = append(v.Health, Condition{"inaccessible", "Copying", "the first content is still being copied"})
	}
	if v.Used, err = s.number(ctx, rec.Path, attrBytes); err != nil {
		return false, err
	}
	if v.Used == nil { // its directory is gone, and the record stays until the deletion is repeated
		v.State = Retained
		return false, nil
	}
	if v.Files, err = s.number(ctx, rec.Path, attrEntries); err != nil {
		return false, err
	}
	if v.Files != nil && *v.Files > 0 {
		*v.Files-- // the directory itself counts
	}
	quota, err := s.number(ctx, rec.Path, attrQuota)
	if err != nil {
		return false, err
	}
	if quota != nil && *quota > 0 {
		v.Size = *quota
		if *v.Used >= *quota {
			v.Health = append(v.Health, Condition{"degraded", "QuotaReached", fmt.Sprintf("it holds %s of %s: writes get EDQUOT; delete files or grow it",
				Bytes(*v.Used), Bytes(*quota))})
		}
	}
	v.Health = append(v.Health, s.poolHealth(rec.Pool)...)
	return false, nil
}

func (s site) poolHealth(name string) []Condition {
	for _, p := range s.pools {
		switch {
		case p.Name != name:
		case p.Full:
			return []Condition{{"inaccessible", "PoolFull", fmt.Sprintf("pool %s is full: writes fail or wait", name)}}
		case p.NearFull:
			return []Condition{{"degraded", "PoolNearFull", fmt.Sprintf("pool %s is nearly full", name)}}
		}
	}
	return nil
}
