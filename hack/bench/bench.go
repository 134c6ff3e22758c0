package main

// The order of things, how much of each, and what all parts share.

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/strata-csi/strata/hack/benchmarks"
	"github.com/strata-csi/strata/hack/stack"
	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/librados"
)

const (
	fsName = "warm"
	pool   = "warm-ec"
	gib    = int64(1) << 30
	mib    = int64(1) << 20
)

// load is how many operations so many callers do in a round, all together.
type load struct{ callers, calls, mounts int }

// plan is how much is measured.
type plan struct {
	loads  []load
	rounds int
	// time is after which a part begins no further round. A part has one round at least.
	time     map[string]time.Duration
	fileSize int64         // of fio
	fioTime  time.Duration // of each random workload
	// localTime is fioTime of tier scratch, of all workloads, and localRounds how often each has its turn: many short turns, as a disk's rate swings by a
	// third from one to the next.
	localTime   time.Duration
	localRounds int
	lab         labPlan
	cold        coldPlan
}

func full() plan {
	return plan{
		loads:  []load{{1, 16, 8}, {8, 24, 16}, {32, 48, 32}},
		rounds: 5,
		time: map[string]time.Duration{partCalls: 145 * time.Second, partMounts: 55 * time.Second, partData: 100 * time.Second,
			partScratch: 45 * time.Second, scratchData: 220 * time.Second, partLab: 130 * time.Second, labData: 75 * time.Second, partCold: 170 * time.Second},
		fileSize:  256 * mib,
		fioTime:   4 * time.Second,
		localTime: 600 * time.Millisecond, localRounds: 15,
		lab:  labPlan{loads: []load{{1, 0, 4}, {8, 0, 8}, {32, 0, 32}}, rounds: 5, dataRounds: 4, fileSize: 64 * mib, fioTime: time.Second},
		cold: coldPlan{large: 512 * mib, small: 1000, keys: 20_000, random: 3 * time.Second},
	}
}

func quick() plan {
	return plan{loads: []load{{1, 4, 2}, {8, 8, 8}, {32, 32, 32}}, rounds: 1, fileSize: 64 * mib, fioTime: 2 * time.Second,
		localTime: time.Second, localRounds: 1,
		lab: labPlan{loads: []load{{1, 0, 1}, {8, 0, 8}, {32, 0, 32}}, rounds: 1, dataRounds: 1, fileSize: 16 * mib, fioTime: time.Second / 2}, cold: coldPlan{large: 32 * mib, small: 50, keys: 1200, random: time.Second / 2}}
}

const (
	partCalls   = "calls"
	partMounts  = "mounts"
	partData    = "data"
	partScratch = "scratch" // its plan.time is that of each kind's calls
	partLab     = "lab"     // as well
	partCold    = "cold"
)

// The keys of plan.time for each kind's data.
const (
	scratchData = "scratch data"
	labData     = "lab data"
)

// partsOf reads the flag -only.
func partsOf(only string) ([]string, error) {
	all := []string{partCalls, partMounts, partData, partScratch, partLab, partCold}
	if only == "" {
		return all, nil
	}
	parts := strings.Split(only, ",")
	for _, p := range parts {
		if !slices.Contains(all, p) {
			return nil, fmt.Errorf("there is no part %q; there are %s", p, strings.Join(all, ", "))
		}
	}
	return parts, nil
}

// bench is one run.
type bench struct {
	*stack.Stack
	plan plan
	conn *librados.Conn // of the bare commands
	fs   ceph.FS
	node credential // of the bare mounts
	tick string     // mds_tick_interval, in seconds

	mu    sync.Mutex // guards bare
	bare  []*bareMount
	peers []*peer // of part cold
}

// credential is whom ceph-fuse mounts as.
type credential struct{ user, key string }

// floorGroup is the subvolume group of the bare commands, beside those of the driver.
const floorGroup = "bare"

// measure starts what the parts need and takes the figures. Tiers scratch, also in the emulated machine, and cold come first, while no Ceph runs.
func (b *bench) measure(ctx context.Context, parts []string) (*report, error) {
	r := &report{Tick: b.tick, Quick: b.plan.rounds == 1}
	if slices.Contains(parts, partScratch) {
		var err error
		if r.Scratch, err = b.measureScratch(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", partScratch, err)
		}
	}
	if slices.Contains(parts, partLab) {
		var err error
		if r.Lab, err = b.measureLab(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", partLab, err)
		}
	}
	if slices.Contains(parts, partCold) {
		var err error
		if r.Cold, err = b.measureCold(ctx); err != nil {
			return nil, fmt.Errorf("%s: %w", partCold, err)
		}
	}
	if !slices.ContainsFunc(parts, needsCeph) {
		return r, nil
	}
	return r, b.measureWarm(ctx, parts, r)
}

func needsCeph(part string) bool {
	return !slices.Contains([]string{partScratch, partLab, partCold}, part)
}

func (b *bench) measureCold(ctx context.Context) (*coldReport, error) {
	if err := b.UpWithoutCeph(ctx, "strata-node", "strata-mountd", "strata-coldfs"); err != nil {
		return nil, err
	}
	if err := b.Install(ctx, coldPackages...); err != nil {
		return nil, err
	}
	r, began := &coldReport{Machine: b.describeCold(), Plan: b.plan.cold, LoadBefore: benchmarks.LoadAverage()}, time.Now()
	run, err := b.cold(ctx)
	if err != nil {
		return nil, err
	}
	r.Rows, r.Peak, r.LoadAfter, r.Took = run.all(), run.peak, benchmarks.LoadAverage(), time.Since(began)
	return r, nil
}

func (b *bench) measureScratch(ctx context.Context) (*scratchReport, error) {
	if err := b.UpWithoutCeph(ctx, "strata-node"); err != nil {
		return nil, err
	}
	r, began := &scratchReport{Machine: b.describeScratch(), LoadBefore: benchmarks.LoadAverage()}, time.Now()
	var err error
	if r.Kinds, err = b.scratch(ctx); err != nil {
		return nil, err
	}
	r.LoadAfter, r.Took = benchmarks.LoadAverage(), time.Since(began)
	return r, nil
}

func (b *bench) measureWarm(ctx context.Context, parts []string, r *report) error {
	began := time.Now()
	if err := b.Up(ctx, "node-a"); err != nil {
		return err
	}
	if err := b.connect(ctx); err != nil {
		return err
	}
	r.Machine, r.LoadBefore = b.describeCeph(), benchmarks.LoadAverage()
	for _, part := range []struct {
		name    string
		measure func(context.Context) ([]*figure, error)
		into    *[]*figure
	}{{partCalls, b.calls, &r.Calls}, {partMounts, b.mounts, &r.Mounts}, {partData, b.data, &r.Data}} {
		if !slices.Contains(parts, part.name) {
			continue
		}
		figures, err := part.measure(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		*part.into = figures
	}
	r.LoadAfter, r.Took = benchmarks.LoadAverage(), time.Since(began)
	return nil
}

// connect makes the connection of the bare commands, with the controller's credential.
func (b *bench) connect(ctx context.Context) error {
	key, err := b.Tool("ceph", "auth", "print-key", "client.strata-controller")
	if err != nil {
		return err
	}
	if b.conn, err = librados.Dial(ctx, librados.Options{Monitors: []string{b.Monitor()}, User: "strata-controller", Key: key}); err != nil {
		return err
	}
	b.fs = ceph.NewFS(b.conn, fsName)
	b.node.user = "strata-node"
	if b.node.key, err = b.Tool("ceph", "auth", "print-key", "client.strata-node"); err != nil {
		return err
	}
	_, err = b.conn.Mon(ctx, map[string]any{"prefix": "config set", "who": "mds", "name": "mds_tick_interval", "value": b.tick})
	return errors.Join(err, b.fs.CreateGroup(ctx, floorGroup))
}

// createBare sends the one command that makes a volume: in the pool, of the size, and in a namespace of its own, as the driver's are.
func (b *bench) createBare(ctx context.Context, s ceph.Subvolume, size int64) error {
	_, err := b.conn.Mgr(ctx, map[string]any{"prefix": "fs subvolume create", "vol_name": fsName, "group_name": s.Group, "sub_name": s.Name,
		"size": size, "pool_layout": pool, "namespace_isolated": true})
	return err
}

// end closes the connection and the bare mounts. No operation is running any more.
func (b *bench) end() error {
	var errs []error
	for _, m := range b.bare {
		errs = append(errs, m.discard())
	}
	for _, p := range b.peers {
		errs = append(errs, p.discard())
	}
	if b.conn != nil {
		b.conn.Close()
	}
	return errors.Join(errs...)
}

// rounds runs round until there were enough, or the part's time is over.
func (b *bench) rounds(ctx context.Context, part string, round func(ctx context.Context, number int) error) error {
	began, enough := time.Now(), b.plan.rounds
	switch part {
	case scratchData:
		enough = b.plan.localRounds
	case partLab:
		enough = b.plan.lab.rounds
	case labData:
		enough = b.plan.lab.dataRounds
	}
	for i := range enough {
		if limit := b.plan.time[part]; i > 0 && time.Since(began) > limit {
			b.Step("%s: %d rounds in %s, that's enough", part, i, time.Since(began).Round(time.Second))
			return nil
		}
		if err := round(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// turns calls the sides of a comparison one after the other, each round beginning with another one.
func turns(round int, sides ...func() error) error {
	for i := range sides {
		if err := sides[(i+round)%len(sides)](); err != nil {
			return err
		}
	}
	return nil
}

// settle waits until the manager has emptied its trash: what it purges for one side must not slow down the other.
func (b *bench) settle(ctx context.Context) error {
	for deadline := time.Now().Add(time.Minute); ; {
		left, err := b.fs.Tree().ReadDir(ctx, "/volumes/_deleting")
		if ceph.Absent(err) || err == nil && len(left) == 0 {
			return nil
		}
		if err == nil && time.Now().After(deadline) {
			err = errors.New("the manager's trash doesn't get empty")
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}
