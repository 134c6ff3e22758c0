// Package probe finds out, at the start of a node, which of its disks can hold scratch volumes and in which way: by making a small volume,
// filling it, and destroying it. A configuration says where to look and what is allowed, never what works.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"text/tabwriter"

	"github.com/strata-csi/strata/pkg/scratch"
	"github.com/strata-csi/strata/pkg/scratch/btrfs"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/scratch/loop"
	"github.com/strata-csi/strata/pkg/scratch/lvm"
	"github.com/strata-csi/strata/pkg/scratch/xfs"
)

// way is how one kind is tried on a place.
type way struct {
	// place returns what the kind works on, or "" when the place isn't of its sort.
	place func(config.Place) string
	try   func(ctx context.Context, place string) (disk.Disk, error)
	open  func(place string) (disk.Disk, error)
}

func directory(p config.Place) string   { return p.Path }
func volumeGroup(p config.Place) string { return p.VolumeGroup }

// as turns the constructors of one kind into a way.
func as[D disk.Disk](place func(config.Place) string, try func(context.Context, string) (D, error), open func(string) (D, error)) way {
	plain := func(d D, err error) (disk.Disk, error) {
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	return way{place,
		func(ctx context.Context, p string) (disk.Disk, error) { return plain(try(ctx, p)) },
		func(p string) (disk.Disk, error) { return plain(open(p)) },
	}
}

var ways = map[disk.Kind]way{
	disk.Btrfs: as(directory, btrfs.Probe, btrfs.Open),
	disk.LVM:   as(volumeGroup, lvm.Probe, lvm.Open),
	disk.Loop:  as(directory, loop.Probe, loop.Open),
	disk.XFS:   as(directory, xfs.Probe, xfs.Open),
}

// unasked are the kinds that are tried where the configuration names none, best first. XFS is not among them: see its package.
var unasked = []disk.Kind{disk.Btrfs, disk.LVM, disk.Loop}

// Finding is what came of trying one kind on one place.
type Finding struct {
	Pool, Place string
	Kind        disk.Kind
	Err         error // nil: it is used
}

// Verdict is the finding in words.
func (f Finding) Verdict() string {
	if f.Err == nil && f.Kind == disk.XFS {
		return "used; " + xfs.Warning
	}
	if f.Err == nil {
		return "used"
	}
	if refused := (*disk.Refused)(nil); errors.As(f.Err, &refused) {
		return "refused: " + refused.Reason
	}
	return "refused: " + f.Err.Error()
}

// Pools tries every place of the configuration and returns the pools with the disks that work, and what was found. A place that
// works in no way is no error: its pool does without. A disk that volumes lie on and that was refused, because it is full, say, is
// opened all the same, to take them away from. The caller closes the disks.
func Pools(ctx context.Context, c config.Config, occupied map[scratch.Occupied]bool) ([]scratch.Pool, []Finding) {
	var pools []scratch.Pool
	var findings []Finding
	used := shared{}
	for _, p := range c.Pools {
		pool := scratch.Pool{Pool: p}
		for _, place := range p.Disks {
			d, found := tryPlace(ctx, p, place, used)
			findings = append(findings, found...)
			pool.Held = append(pool.Held, hold(d, place, occupied)...)
			if d != nil {
				pool.Usable = append(pool.Usable, d)
				continue
			}
			for _, f := range found {
				pool.Refused = append(pool.Refused, fmt.Errorf("%s: %w", f.Place, f.Err))
			}
		}
		pools = append(pools, pool)
	}
	return pools, findings
}

// tryPlace tries the kinds one after the other until one works.
func tryPlace(ctx context.Context, p config.Pool, place config.Place, used shared) (disk.Disk, []Finding) {
	kinds := p.Kinds
	if len(kinds) == 0 {
		kinds = unasked
	}
	name := nameOf(place)
	var findings []Finding
	for i, kind := range kinds {
		w := ways[kind]
		if w.place(place) == "" {
			findings = append(findings, Finding{p.Name, name, kind, &disk.Refused{Kind: kind, Reason: needs(kind)}})
			continue
		}
		d, err := w.try(ctx, w.place(place))
		if err == nil {
			if err = used.take(place, kind); err != nil {
				err = errors.Join(err, d.Close())
			}
		}
		findings = append(findings, Finding{p.Name, name, kind, err})
		if err != nil {
			continue
		}
		for _, left := range kinds[i+1:] {
			if ways[left].place(place) != "" {
				findings = append(findings, Finding{p.Name, name, left, &disk.Refused{Kind: left, Reason: "not tried: " + string(kind) + " is used"}})
			}
		}
		return d, findings
	}
	return nil, findings
}

// hold opens the disks at a place that volumes lie on, of other kinds than the one that is used.
func hold(used disk.Disk, place config.Place, occupied map[scratch.Occupied]bool) []disk.Disk {
	var held []disk.Disk
	for kind, w := range ways {
		if w.place(place) == "" || used != nil && used.Kind() == kind {
			continue
		}
		if !occupied[scratch.Occupied{Disk: nameOf(place), Kind: kind}] && !occupied[scratch.Occupied{Disk: target(place), Kind: kind}] {
			continue
		}
		if d, err := w.open(w.place(place)); err == nil {
			held = append(held, d)
		}
	}
	return held
}

// nameOf is what the disks of a place call themselves.
func nameOf(place config.Place) string {
	if place.VolumeGroup != "" {
		return "vg/" + place.VolumeGroup
	}
	return place.Path
}

// target is nameOf without symbolic links, as a disk of the loop kind calls itself.
func target(place config.Place) string {
	if place.Path != "" {
		if path, err := filepath.EvalSymlinks(place.Path); err == nil {
			return path
		}
	}
	return nameOf(place)
}

func needs(kind disk.Kind) string {
	if kind == disk.LVM {
		return "it needs a volume group, and the place is a directory"
	}
	return "it needs a directory, and the place is a volume group"
}

// Print writes the findings as a table and says whether every pool has a disk.
func Print(w io.Writer, pools []scratch.Pool, findings []Finding) (complete bool, err error) {
	t := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(t, "POOL\tDISK\tKIND\tRESULT")
	for _, f := range findings {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", f.Pool, f.Place, f.Kind, f.Verdict())
	}
	return !slices.ContainsFunc(pools, func(p scratch.Pool) bool { return len(p.Usable) == 0 }), t.Flush()
}
