package main

// Calls to the controller beside the manager's commands.

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/hack/bench/callers"
	"github.com/strata-csi/strata/hack/stack"
	"github.com/strata-csi/strata/pkg/ceph"
)

// team is whose volumes the driver makes.
const team = "bench"

// The sides of a comparison of calls. Plain is what a driver sends that looks at the cluster by commands to the manager, as usual.
const (
	driver = iota
	bare
	plain
)

// callFigures are the comparisons at one number of callers.
type callFigures struct{ create, snapshot, remove *figure }

func newCallFigures(callers int) callFigures {
	return callFigures{
		create: newFigure("CreateVolume", callers, "/s", "Strata", "bare: subvolume create",
			"plain driver: info + create + info"),
		snapshot: newFigure("CreateSnapshot", callers, "/s", "Strata", "bare: snapshot create",
			"plain driver: create + info"),
		remove: newFigure("DeleteVolume", callers, "/s", "Strata", "bare: subvolume rm"),
	}
}

func (b *bench) calls(ctx context.Context) ([]*figure, error) {
	most := 0
	for _, l := range b.plan.loads {
		most = max(most, l.callers)
	}
	b.Step("calls: making %d volumes to take snapshots of, and warming up", most)
	s, err := b.sources(ctx, most)
	if err != nil {
		return nil, err
	}
	if _, err := b.callRound(ctx, "warm-up", 0, load{callers: 2, calls: 4}, newCallFigures(2), s); err != nil {
		return nil, err
	}
	all := make([]callFigures, len(b.plan.loads))
	for i, l := range b.plan.loads {
		all[i] = newCallFigures(l.callers)
	}
	err = b.rounds(ctx, partCalls, func(ctx context.Context, round int) error {
		for i, l := range b.plan.loads {
			said, err := b.callRound(ctx, fmt.Sprintf("r%d-c%d", round, l.callers), round, l, all[i], s)
			if err != nil {
				return err
			}
			b.Step("calls, round %d, %2d callers: %s", round+1, l.callers, said)
		}
		return nil
	})
	var out []*figure
	for _, pick := range []func(callFigures) *figure{
		func(f callFigures) *figure { return f.create },
		func(f callFigures) *figure { return f.snapshot },
		func(f callFigures) *figure { return f.remove },
	} {
		for _, f := range all {
			out = append(out, pick(f))
		}
	}
	return out, err
}

// sources are what snapshots are taken of, on each side. They stay, and so do their snapshots: removing them would take longer than all
// that is measured. Ceph allows a hundred of a directory, and no round comes near.
type sources struct {
	volumes     []string
	bare, plain []ceph.Subvolume
}

func (b *bench) sources(ctx context.Context, count int) (*sources, error) {
	s := &sources{volumes: make([]string, count), bare: b.subvolumes("source-bare", count), plain: b.subvolumes("source-plain", count)}
	_, err := callers.Together(ctx, 8, count, func(ctx context.Context, i int) error {
		resp, err := b.Controller.CreateVolume(ctx, stack.Request(fmt.Sprintf("source-%d", i), team, gib, stack.Shared, ""))
		s.volumes[i] = resp.GetVolume().GetVolumeId()
		return errors.Join(err, b.createBare(ctx, s.bare[i], gib), b.createBare(ctx, s.plain[i], gib))
	})
	return s, err
}

// callRound makes volumes, takes snapshots, and removes the volumes again, on each side. What the plain driver made stays.
func (b *bench) callRound(ctx context.Context, name string, round int, l load, f callFigures, from *sources) (string, error) {
	timed := func(s *side, operation func(ctx context.Context, i int) error) func() error {
		return func() error {
			done, err := callers.Together(ctx, l.callers, l.calls, operation)
			if err != nil {
				return fmt.Errorf("%s: %w", s.Name, err)
			}
			s.add(done)
			return nil
		}
	}
	volumes := make([]string, l.calls)
	floor, other := b.subvolumes(name+"-bare", l.calls), b.subvolumes(name+"-plain", l.calls)
	err := turns(round,
		timed(f.create.Sides[driver], func(ctx context.Context, i int) error {
			resp, err := b.Controller.CreateVolume(ctx, stack.Request(fmt.Sprintf("%s-%d", name, i), team, gib, stack.Shared, ""))
			volumes[i] = resp.GetVolume().GetVolumeId()
			return err
		}),
		timed(f.create.Sides[bare], func(ctx context.Context, i int) error { return b.createBare(ctx, floor[i], gib) }),
		timed(f.create.Sides[plain], func(ctx context.Context, i int) error {
			if _, err := b.fs.Info(ctx, other[i]); !ceph.Absent(err) {
				return fmt.Errorf("subvolume %s is there already: %w", other[i], err)
			}
			if err := b.createBare(ctx, other[i], gib); err != nil {
				return err
			}
			_, err := b.fs.Info(ctx, other[i])
			return err
		}),
	)
	if err != nil {
		return "", err
	}
	source := func(i int) int { return i % len(from.volumes) }
	snapshot := func(i int) string { return fmt.Sprintf("%s-%d", name, i) }
	err = turns(round,
		timed(f.snapshot.Sides[driver], func(ctx context.Context, i int) error {
			_, err := b.Controller.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: snapshot(i), SourceVolumeId: from.volumes[source(i)]})
			return err
		}),
		timed(f.snapshot.Sides[bare], func(ctx context.Context, i int) error {
			return b.fs.CreateSnapshot(ctx, from.bare[source(i)], snapshot(i))
		}),
		timed(f.snapshot.Sides[plain], func(ctx context.Context, i int) error {
			of := from.plain[source(i)]
			if err := b.fs.CreateSnapshot(ctx, of, snapshot(i)); err != nil {
				return err
			}
			_, err := b.conn.Mgr(ctx, map[string]any{"prefix": "fs subvolume snapshot info", "vol_name": fsName, "group_name": of.Group,
				"sub_name": of.Name, "snap_name": snapshot(i)})
			return err
		}),
	)
	if err != nil {
		return "", err
	}
	// What one side's removal leaves to purge must not slow down the other's.
	settled := func(remove func() error) func() error {
		return func() error { return errors.Join(remove(), b.settle(ctx)) }
	}
	err = turns(round,
		settled(timed(f.remove.Sides[driver], func(ctx context.Context, i int) error {
			_, err := b.Controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: volumes[i]})
			return err
		})),
		settled(timed(f.remove.Sides[bare], func(ctx context.Context, i int) error { return b.fs.Remove(ctx, floor[i]) })),
	)
	return fmt.Sprintf("%s; %s; %s", f.create.last(), f.snapshot.last(), f.remove.last()), err
}

// subvolumes names so many subvolumes of the floor.
func (b *bench) subvolumes(name string, count int) []ceph.Subvolume {
	var all []ceph.Subvolume
	for i := range count {
		all = append(all, ceph.Subvolume{Group: floorGroup, Name: fmt.Sprintf("%s-%d", name, i)})
	}
	return all
}

// last says what the last round gave, the driver and its floor.
func (f *figure) last() string {
	at := func(s *side) string {
		if len(s.rounds) == 0 {
			return "-"
		}
		return milliseconds(s.rounds[len(s.rounds)-1].p50)
	}
	return fmt.Sprintf("%s %s (floor %s)", f.Name, at(f.Sides[driver]), at(f.Sides[bare]))
}

// milliseconds writes a duration for a table.
func milliseconds(d time.Duration) string {
	ms := d.Seconds() * 1000
	switch {
	case ms < 10:
		return fmt.Sprintf("%.2f ms", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f ms", ms)
	}
	return fmt.Sprintf("%.0f ms", ms)
}
