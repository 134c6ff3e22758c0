// Package probe finds out, at the start of a node, which of its disks can hold scratch volumes and in which way: by making a small volume,
// filling it, and destroying it. A configuration says where to look and what is allowed, never what works.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
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
}

func directory(p config.Place) string   { return p.Path }
func volumeGroup(p config.Place) string { return p.VolumeGroup }

var ways = map[disk.Kind]way{
	disk.Btrfs: {directory, func(ctx context.Context, place string) (disk.Disk, error) { return btrfs.Probe(ctx, place) }},
	disk.LVM:   {volumeGroup, func(ctx context.Context, place string) (disk.Disk, error) { return lvm.Probe(ctx, place) }},
	disk.Loop:  {directory, func(ctx context.Context, place string) (disk.Disk, error) { return loop.Probe(ctx, place) }},
	disk.XFS:   {directory, func(ctx context.Context, place string) (disk.Disk, error) { return xfs.Probe(ctx, place) }},
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
	if f.Err == nil {
		return "used"
	}
	if refused := (*disk.Refused)(nil); errors.As(f.Err, &refused) {
		return "refused: " + refused.Reason
	}
	return "refused: " + f.Err.Error()
}

// Pools tries every place of the configuration and returns the pools with the disks that work, and what was found. A place that
// works in no way is no error: its pool does without. The caller closes the disks.
func Pools(ctx context.Context, c config.Config) ([]scratch.Pool, []Finding) {
	var pools []scratch.Pool
	var findings []Finding
	for _, p := range c.Pools {
		pool := scratch.Pool{Pool: p}
		for _, place := range p.Disks {
			d, found := tryPlace(ctx, p, place)
			findings = append(findings, found...)
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
func tryPlace(ctx context.Context, p config.Pool, place config.Place) (disk.Disk, []Finding) {
	kinds := p.Kinds
	if len(kinds) == 0 {
		kinds = unasked
	}
	name := place.Path
	if place.VolumeGroup != "" {
		name = "vg/" + place.VolumeGroup
	}
	var findings []Finding
	for i, kind := range kinds {
		w := ways[kind]
		if w.place(place) == "" {
			findings = append(findings, Finding{p.Name, name, kind, &disk.Refused{Kind: kind, Reason: needs(kind)}})
			continue
		}
		d, err := w.try(ctx, w.place(place))
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
