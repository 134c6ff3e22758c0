package main

// Tier scratch: pods' own volumes on a local disk beside the same made by hand, and I/O in one beside the disk's own file system.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/strata-csi/strata/hack/stack"
	"github.com/strata-csi/strata/pkg/journal"
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

// local is one kind of volumes on a disk of its own.
type local struct {
	kind, fsType string
	bareSteps    string // of the floor, for the table
	bareVolume   string // what the floor made, likewise
	node         *stack.ScratchNode
	floor        localFloor
	targets      string // the floor's
	repeated     atomic.Int64
	journal      *journal.Journal // of a third side: what the driver's records cost alone
}

func (b *bench) scratch(ctx context.Context) (_ []*kindReport, err error) {
	var all []*kindReport
	for _, l := range []*local{
		{kind: "loop", fsType: "ext4", bareSteps: "bare: fallocate, loop device, mkfs.ext4, mount", bareVolume: "ext4 on a loop device, made by hand"},
		{kind: "btrfs", fsType: "btrfs", bareSteps: "bare: subvolume, quota group, bind mount", bareVolume: "subvolume in a quota group, made by hand"},
	} {
		r, err := b.local(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.kind, err)
		}
		all = append(all, r)
	}
	return all, nil
}

// local measures one kind.
func (b *bench) local(ctx context.Context, l *local) (_ *kindReport, err error) {
	disk, err := b.MakeDisk(ctx, "disk-"+l.kind, l.fsType, scratchDisk)
	if err != nil {
		return nil, err
	}
	if l.node, err = b.StartScratchNode(ctx, "node-"+l.kind, l.kind, disk); err != nil {
		return nil, err
	}
	newFloor := map[string]func(disk, targets string) (localFloor, error){"loop": newLoopFloor, "btrfs": newBtrfsFloor}[l.kind]
	l.targets = filepath.Join(b.Dir, "bare-"+l.kind)
	if l.floor, err = newFloor(disk, l.targets); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.floor.close()) }()
	if l.journal, err = journal.Open(filepath.Join(b.Dir, "journal-"+l.kind)); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.journal.Close()) }()
	r := &kindReport{Kind: l.kind, FSType: l.fsType}
	if r.Publish, r.Unpublish, err = b.localCalls(ctx, l); err != nil {
		return nil, err
	}
	r.Repeated = int(l.repeated.Load())
	r.Data, err = b.localData(ctx, l)
	return r, err
}

func (l *local) publish(ctx context.Context, i int) error {
	return l.again(ctx, func() error { return l.node.PublishInline(ctx, fmt.Sprint("pod-", i), "1Gi") })
}

func (l *local) unpublish(ctx context.Context, i int) error {
	return l.again(ctx, func() error { return l.node.UnpublishInline(ctx, fmt.Sprint("pod-", i)) })
}

// again repeats a call that was answered Unavailable, as kubelet does, and counts it: what a pod waits includes that.
func (l *local) again(ctx context.Context, call func() error) error {
	for {
		err := call()
		if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
			return err
		}
		l.repeated.Add(1)
	}
}

// The driver writes a record before it makes a volume; another, and the end of it, while it takes one away. Each is on the disk before
// it goes on.
func (l *local) recordMade(_ context.Context, i int) error {
	return l.journal.Put(fmt.Sprint("volume-", i), aRecord)
}

func (l *local) recordGone(_ context.Context, i int) error {
	key := fmt.Sprint("volume-", i)
	return errors.Join(l.journal.Put(key, aRecord), l.journal.Delete(key))
}

// aRecord is as long as the driver's.
var aRecord = strings.Repeat("x", 500)

func (b *bench) localCalls(ctx context.Context, l *local) (up, down []*figure, err error) {
	b.Step("scratch, %s: warming up", l.kind)
	for _, do := range []func(context.Context, int) error{l.publish, l.floor.publish, l.unpublish, l.floor.unpublish} {
		if _, err := together(ctx, 1, 2, do); err != nil {
			return nil, nil, err
		}
	}
	for _, load := range b.plan.loads {
		up = append(up, newFigure("publish", load.callers, "/s", volumeSide, l.bareSteps, "the journal's record alone"))
		down = append(down, newFigure("unpublish", load.callers, "/s", volumeSide, "bare: the same taken away", "the journal's records alone"))
	}
	return up, down, b.rounds(ctx, partScratch, func(ctx context.Context, round int) error {
		for i, load := range b.plan.loads {
			side := func(n int, publish, unpublish func(context.Context, int) error) func() error {
				return func() error {
					made, err := together(ctx, load.callers, load.mounts, publish)
					if err != nil {
						return fmt.Errorf("publish, %s: %w", up[i].Sides[n].Name, err)
					}
					gone, err := together(ctx, load.callers, load.mounts, unpublish)
					if err != nil {
						return fmt.Errorf("unpublish, %s: %w", up[i].Sides[n].Name, err)
					}
					up[i].Sides[n].add(made)
					down[i].Sides[n].add(gone)
					return nil
				}
			}
			if err := turns(round, side(driver, l.publish, l.unpublish), side(bare, l.floor.publish, l.floor.unpublish),
				side(records, l.recordMade, l.recordGone)); err != nil {
				return err
			}
			b.Step("scratch, %s, round %d, %2d callers: %s; %s", l.kind, round+1, load.callers, up[i].last(), down[i].last())
		}
		return nil
	})
}

// localData reads and writes in a volume, in a directory of the disk it lies on, and in a volume made by hand on that disk.
func (b *bench) localData(ctx context.Context, l *local) ([]*figure, error) {
	raw := filepath.Join(l.node.Disk, "raw")
	if err := os.Mkdir(raw, 0o700); err != nil {
		return nil, err
	}
	if err := errors.Join(l.publish(ctx, 0), l.floor.publish(ctx, 0)); err != nil {
		return nil, err
	}
	handMade, err := bareTarget(l.targets, 0)
	if err != nil {
		return nil, err
	}
	sides := []string{driver: l.node.InlineTarget("pod-0"), bare: raw, byHand: handMade}
	var figures []*figure
	for _, w := range localWorkloads {
		unit := "MB/s"
		if w.random {
			unit = "IOPS"
		}
		figures = append(figures, newFigure(w.name, w.depth, unit, volumeSide, "raw "+l.fsType, l.bareVolume))
	}
	err = b.rounds(ctx, scratchData, func(ctx context.Context, round int) error {
		for i, w := range localWorkloads {
			var each []func() error
			for n, dir := range sides {
				each = append(each, func() error {
					if i == 0 { // every round with a new file: random writes scatter one
						if err := os.RemoveAll(filepath.Join(dir, "data")); err != nil {
							return err
						}
					}
					got, err := b.fio(ctx, w, dir)
					if err != nil {
						return fmt.Errorf("%s, %s: %w", w.name, figures[i].Sides[n].Name, err)
					}
					figures[i].Sides[n].rounds = append(figures[i].Sides[n].rounds, got)
					return nil
				})
			}
			if err := turns(round, each...); err != nil {
				return err
			}
			rate := func(n int) float64 { return figures[i].Sides[n].rounds[round].rate }
			b.Step("scratch, %s, round %d: %s: %.0f %s (floor %.0f, by hand %.0f)", l.kind, round+1, w.name, rate(driver), figures[i].Unit, rate(bare), rate(byHand))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return figures, errors.Join(l.unpublish(ctx, 0), l.floor.unpublish(ctx, 0))
}
