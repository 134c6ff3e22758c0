package warm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/clusters"
	"github.com/strata-csi/strata/pkg/volume"
)

// Lists go through the clusters, file systems, groups and names in their byte order. The token of a page is the id of its last
// entry: the next page begins after the place where that id is or was, so that what comes and goes between two pages makes no
// entry appear twice or be left out.

// ListVolumes lists the volumes that are ready, those of this Kubernetes cluster only. See tier.Lister.
func (b *Backend) ListVolumes(ctx context.Context, max int, token string) ([]volume.Volume, string, error) {
	after, err := volumePosition(token)
	if err != nil {
		return nil, "", err
	}
	var out []volume.Volume
	for s, err := range b.sites(ctx) {
		if err != nil {
			return nil, "", classify(err)
		}
		refs, err := volumeRefs(ctx, s)
		if err != nil {
			return nil, "", classify(err)
		}
		for _, ref := range refs {
			if token != "" && ref.compare(after) <= 0 {
				continue
			}
			v, err := b.entry(ctx, s, ref)
			if unfinished(err) || errors.Is(err, volume.ErrPending) {
				continue
			}
			if err != nil {
				return nil, "", classify(err)
			}
			if max > 0 && len(out) == max {
				return out, string(out[max-1].ID), nil
			}
			out = append(out, v)
		}
	}
	return out, "", nil
}

// entry reads one volume of a list. syscall.ENOENT or ENODATA: there is no finished volume.
func (b *Backend) entry(ctx context.Context, s site, ref volumeRef) (volume.Volume, error) {
	id, err := ref.id()
	if err != nil { // too long to be one of ours
		return volume.Volume{}, syscall.ENOENT
	}
	var rec record
	if ref.backed {
		backed, err := readAttr[backedRecord](ctx, s, backedPath(s, ref.sub))
		if err != nil {
			return volume.Volume{}, err
		}
		rec = record{Path: backed.Path, Size: backed.Size, Source: volume.Source{Snapshot: backed.Snapshot}}
	} else if rec, err = readRecord(ctx, s, ref.sub); err != nil {
		return volume.Volume{}, err
	}
	if rec.Copy != nil {
		return volume.Volume{}, volume.ErrPending
	}
	return b.measure(ctx, s, ref, id, rec)
}

// compare orders volumes as they are listed.
func (r volumeRef) compare(o volumeRef) int {
	backed := func(r volumeRef) int {
		if r.backed {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(r.cluster, o.cluster), cmp.Compare(r.fs, o.fs), cmp.Compare(backed(r), backed(o)),
		cmp.Compare(r.sub.Group, o.sub.Group), cmp.Compare(r.sub.Name, o.sub.Name))
}

func volumePosition(token string) (volumeRef, error) {
	if token == "" {
		return volumeRef{}, nil
	}
	id, err := volume.ParseID(token)
	if err == nil {
		var ref volumeRef
		if ref, err = parseVolume(id); err == nil {
			return ref, nil
		}
	}
	return volumeRef{}, fmt.Errorf("%w: starting_token %q is not one that this driver gave", volume.ErrToken, token)
}

// volumeRefs are the places of one file system where this Kubernetes cluster may have a volume, in the order of compare.
func volumeRefs(ctx context.Context, s site) ([]volumeRef, error) {
	var refs []volumeRef
	for _, kind := range []struct {
		root   string
		backed bool
	}{{"/volumes", false}, {backedRoot(s), true}} {
		groups, err := list(ctx, s.tree(), kind.root)
		if err != nil {
			return nil, err
		}
		for _, group := range groups {
			if !strings.HasPrefix(group, s.cluster.NamePrefix+groupSeparator) {
				continue
			}
			names, err := list(ctx, s.tree(), path.Join(kind.root, group))
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				refs = append(refs, volumeRef{cluster: s.cluster.ID, fs: s.fs.Name(), sub: ceph.Subvolume{Group: group, Name: name}, backed: kind.backed})
			}
		}
	}
	return refs, nil
}

// ListSnapshots lists the snapshots that are ready. See tier.Snapshotter.
func (b *Backend) ListSnapshots(ctx context.Context, source volume.ID, max int, token string) ([]volume.Snapshot, string, error) {
	after, err := snapshotPosition(token)
	if err != nil {
		return nil, "", err
	}
	var out []volume.Snapshot
	for s, err := range b.sites(ctx) {
		if err != nil {
			return nil, "", classify(err)
		}
		names, err := list(ctx, s.tree(), snapshotsPath(s))
		if err != nil {
			return nil, "", classify(err)
		}
		for _, name := range names {
			here := snapshotRef{cluster: s.cluster.ID, fs: s.fs.Name(), name: name}
			if token != "" && here.compare(after) <= 0 {
				continue
			}
			rec, err := readAttr[snapshotRecord](ctx, s, snapshotPath(s, name))
			if unfinished(err) {
				continue
			}
			if err != nil {
				return nil, "", classify(err)
			}
			if rec.Created.IsZero() || source != "" && rec.Source != source {
				continue
			}
			of, err := parseVolume(rec.Source)
			if err != nil {
				return nil, "", err
			}
			here.sub = of.sub
			id, err := here.id()
			if err != nil {
				return nil, "", err
			}
			if max > 0 && len(out) == max {
				return out, string(out[max-1].ID), nil
			}
			out = append(out, volume.Snapshot{ID: id, Source: rec.Source, Created: rec.Created, Size: rec.Size})
		}
	}
	return out, "", nil
}

// compare orders snapshots as they are listed: by name, which is unique in a file system.
func (r snapshotRef) compare(o snapshotRef) int {
	return cmp.Or(cmp.Compare(r.cluster, o.cluster), cmp.Compare(r.fs, o.fs), cmp.Compare(r.name, o.name))
}

func snapshotPosition(token string) (snapshotRef, error) {
	if token == "" {
		return snapshotRef{}, nil
	}
	id, err := volume.ParseSnapshotID(token)
	if err == nil {
		var ref snapshotRef
		if ref, err = parseSnapshot(id); err == nil {
			return ref, nil
		}
	}
	return snapshotRef{}, fmt.Errorf("%w: starting_token %q is not one that this driver gave", volume.ErrToken, token)
}

// sites are the file systems of every cluster, in order. It ends with the first cluster or file system that can't be listed.
func (b *Backend) sites(ctx context.Context) iter.Seq2[site, error] {
	return func(yield func(site, error) bool) {
		for _, id := range b.clusters.IDs() {
			c, err := b.clusters.Get(id)
			if err != nil { // taken out of the configuration meanwhile
				continue
			}
			for s, err := range b.sitesOf(ctx, c) {
				if !yield(s, err) || err != nil {
					return
				}
			}
		}
	}
}

// sitesOf are the file systems of a cluster in which the driver has, or may have, volumes, in order.
func (b *Backend) sitesOf(ctx context.Context, c clusters.Cluster) iter.Seq2[site, error] {
	return func(yield func(site, error) bool) {
		conn, err := b.connect(ctx, c)
		var v view
		if err == nil {
			v, err = b.checks.look(ctx, conn, c.ID, viewAge)
		}
		if err != nil {
			yield(site{}, err)
			return
		}
		reached := false
		var denied error
		for _, fs := range slices.Sorted(maps.Keys(v.filesystems)) {
			s := site{cluster: c, conn: conn, fs: ceph.NewFS(conn, fs)}
			err := reachable(ctx, s, v.filesystems[fs])
			if errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) {
				// Somebody else's: with a key that may not enter it, nothing of ours was ever made there.
				denied = err
				continue
			}
			reached = true
			if !yield(s, err) || err != nil {
				return
			}
		}
		if denied != nil && !reached { // then it is the key that is wrong
			yield(site{}, denied)
		}
	}
}

// reachable says why what a file system holds can't be listed. An empty list of one that is down would say that its volumes are gone.
func reachable(ctx context.Context, s site, f filesystem) error {
	if !f.active {
		return fmt.Errorf("%w: file system %s has no active MDS, so what it holds can't be listed; see `ceph fs status %s`",
			volume.ErrUnavailable, s.fs.Name(), s.fs.Name())
	}
	_, err := s.tree().Xattr(ctx, "/volumes", attrNamespace)
	if unfinished(err) { // no attribute, or no volume yet
		return nil
	}
	return err
}
