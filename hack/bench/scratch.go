package main

// Tier scratch: pods' own volumes on a local disk beside the same made by hand, and I/O in one beside the disk's own file system.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/strata-csi/strata/hack/bench/callers"
	"github.com/strata-csi/strata/hack/bench/sides"
)

// scratchSize is the size of every volume; scratchDisk that of the sparse disk, for all callers' volumes of one side at once.
const (
	scratchSize = gib
	scratchDisk = 48 * gib
)

// The sides of the figures, after the driver and its floor: of calls the records, of data the volume made by hand.
const (
	volumeSide = "Strata"
	records    = 2
	byHand     = 2
)

// localWorkloads are around all caches: what is compared is the way to the disk.
var localWorkloads = []workload{
	{name: "sequential write, 1 MiB", mode: "write", depth: 8},
	{name: "sequential read, 1 MiB", mode: "read", depth: 8},
	{name: "random write, 4 KiB", mode: "randwrite", random: true, depth: 32},
	{name: "random read, 4 KiB", mode: "randread", random: true, depth: 32},
}

// kindRun measures one kind of volumes, wherever it is made.
type kindRun struct {
	part, dataPart string // of the plan
	loads          []load
	kind, fsType   string
	bareSteps      string // of the floor, for the table
	bareVolume     string // what the floor made, likewise
	// calls publishes and unpublishes on one side.
	calls func(ctx context.Context, side int, l load) (made, gone callers.Sample, err error)
	// fio runs a workload on one side, fresh: in a new file.
	fio func(ctx context.Context, side int, w workload, fresh bool) (block, error)
}

// local is one kind on a disk of its own of this machine.
type local struct {
	driver *sides.Driver
	sides  []sides.Side
	dirs   []string // where fio works
}

func (b *bench) scratch(ctx context.Context) (_ []*kindReport, err error) {
	var all []*kindReport
	for _, k := range []*kindRun{
		{kind: "loop", fsType: "ext4", bareSteps: "bare: fallocate, loop device, mkfs.ext4, mount", bareVolume: "ext4 on a loop device, made by hand"},
		{kind: "btrfs", fsType: "btrfs", bareSteps: "bare: subvolume, quota group, bind mount", bareVolume: "subvolume in a quota group, made by hand"},
	} {
		r, err := b.local(ctx, k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.kind, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// local measures one kind on this machine.
func (b *bench) local(ctx context.Context, k *kindRun) (_ *kindReport, err error) {
	disk, err := b.MakeDisk(ctx, "disk-"+k.kind, k.fsType, scratchDisk)
	if err != nil {
		return nil, err
	}
	node, err := b.StartScratchNode(ctx, "node-"+k.kind, k.kind, disk)
	if err != nil {
		return nil, err
	}
	l := &local{driver: &sides.Driver{Node: node, Size: "1Gi"}}
	targets := filepath.Join(b.Dir, "bare-"+k.kind)
	newFloor := map[string]func(disk, targets string, size int64) (sides.Side, error){"loop": sides.NewLoop, "btrfs": sides.NewBtrfs}[k.kind]
	floor, err := newFloor(disk, targets, scratchSize)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, floor.Close()) }()
	journal, err := sides.NewRecords(filepath.Join(b.Dir, "journal-"+k.kind))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, journal.Close()) }()
	l.sides = []sides.Side{driver: l.driver, bare: floor, records: journal}
	l.dirs = []string{driver: node.InlineTarget(sides.Pod(0)), bare: filepath.Join(disk, "raw"), byHand: sides.BareTarget(targets, 0)}

	k.part, k.dataPart, k.loads = partScratch, scratchData, b.plan.loads
	k.calls = func(ctx context.Context, side int, load load) (made, gone callers.Sample, err error) {
		return sides.Measure(ctx, l.sides[side], load.callers, load.mounts)
	}
	k.fio = func(ctx context.Context, side int, w workload, fresh bool) (block, error) {
		if fresh {
			if err := os.RemoveAll(filepath.Join(l.dirs[side], dataFile)); err != nil {
				return block{}, err
			}
		}
		return b.fio(ctx, w, l.dirs[side])
	}
	r := &kindReport{Kind: k.kind, FSType: k.fsType}
	if r.Publish, r.Unpublish, err = b.kindCalls(ctx, k); err != nil {
		return nil, err
	}
	r.Repeated = int(l.driver.Repeated.Load())
	if err := os.Mkdir(l.dirs[bare], 0o700); err != nil {
		return nil, err
	}
	if err := errors.Join(l.driver.Publish(ctx, 0), floor.Publish(ctx, 0)); err != nil {
		return nil, err
	}
	if r.Data, err = b.kindData(ctx, k); err != nil {
		return nil, err
	}
	return r, errors.Join(l.driver.Unpublish(ctx, 0), floor.Unpublish(ctx, 0))
}

// kindCalls publishes and unpublishes.
func (b *bench) kindCalls(ctx context.Context, k *kindRun) (up, down []*figure, err error) {
	b.Step("%s, %s: warming up", k.part, k.kind)
	for _, side := range []int{driver, bare} {
		if _, _, err := k.calls(ctx, side, load{callers: 1, mounts: 1}); err != nil {
			return nil, nil, err
		}
	}
	for _, load := range k.loads {
		up = append(up, newFigure("publish", load.callers, "/s", volumeSide, k.bareSteps, "the journal's record alone"))
		down = append(down, newFigure("unpublish", load.callers, "/s", volumeSide, "bare: the same taken away", "the journal's records alone"))
	}
	return up, down, b.rounds(ctx, k.part, func(ctx context.Context, round int) error {
		for i, load := range k.loads {
			var each []func() error
			for n, side := range up[i].Sides {
				each = append(each, func() error {
					made, gone, err := k.calls(ctx, n, load)
					if err != nil {
						return fmt.Errorf("%s: %w", side.Name, err)
					}
					side.add(made)
					down[i].Sides[n].add(gone)
					return nil
				})
			}
			if err := turns(round, each...); err != nil {
				return err
			}
			b.Step("%s, %s, round %d, %2d callers: %s; %s", k.part, k.kind, round+1, load.callers, up[i].last(), down[i].last())
		}
		return nil
	})
}

// kindData reads and writes in a volume, in a directory of the file system beside it, and in a volume made by hand.
func (b *bench) kindData(ctx context.Context, k *kindRun) ([]*figure, error) {
	var figures []*figure
	for _, w := range localWorkloads {
		unit := "MB/s"
		if w.random {
			unit = "IOPS"
		}
		figures = append(figures, newFigure(w.name, w.depth, unit, volumeSide, "raw "+k.fsType, k.bareVolume))
	}
	return figures, b.rounds(ctx, k.dataPart, func(ctx context.Context, round int) error {
		for i, w := range localWorkloads {
			var each []func() error
			for n, side := range figures[i].Sides {
				each = append(each, func() error {
					got, err := k.fio(ctx, n, w, i == 0) // every round with a new file: random writes scatter one
					if err != nil {
						return fmt.Errorf("%s, %s: %w", w.name, side.Name, err)
					}
					side.rounds = append(side.rounds, got)
					return nil
				})
			}
			if err := turns(round, each...); err != nil {
				return err
			}
			rate := func(n int) float64 { return figures[i].Sides[n].rounds[round].rate }
			b.Step("%s, %s, round %d: %s: %.0f %s (floor %.0f, by hand %.0f)", k.part, k.kind, round+1, w.name, rate(driver), figures[i].Unit, rate(bare), rate(byHand))
		}
		return nil
	})
}
