package main

// Tier scratch in an emulated machine: the kinds that need what this machine's kernel may not have, device-mapper and project quotas.

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/strata-csi/strata/hack/bench/callers"
	"github.com/strata-csi/strata/hack/bench/sides"
	"github.com/strata-csi/strata/hack/benchmarks"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// labPlan is how much is measured there, where all takes many times as long.
type labPlan struct {
	loads              []load
	rounds, dataRounds int
	fileSize           int64
	fioTime            time.Duration // of each workload
}

// labKind is one kind of volumes there.
type labKind struct {
	*kindRun
	disk string // of the node's configuration
	raw  string // the directory of the file system beside the volumes
	size int64
}

// lvmSize is that of volumes of kind lvm. They are filled with zeros, which makes the emulator set the space aside on the real disk: 32 of them
// with 1 GiB would need 32 GiB there.
const lvmSize = 256 * mib

func labKinds() []labKind {
	return []labKind{
		{&kindRun{kind: string(disk.LVM), fsType: "ext4", bareSteps: "bare: lvcreate, zeros, mkfs.ext4, mount", bareVolume: "ext4 on a logical volume, made by hand"},
			"volumeGroup: " + sides.VolumeGroup, filepath.Join(sides.SystemDir, "raw"), lvmSize},
		{&kindRun{kind: string(disk.XFS), fsType: "xfs", bareSteps: "bare: mkdir, project, quota, bind mount", bareVolume: "directory with a project quota, made by hand"},
			"path: " + sides.QuotaDir, filepath.Join(sides.QuotaDir, "raw"), scratchSize},
	}
}

func (b *bench) measureLab(ctx context.Context) (_ *labReport, err error) {
	if err := b.UpWithoutCeph(ctx, "strata-node"); err != nil {
		return nil, err
	}
	b.Step("lab: booting the emulated machine")
	m, err := bootLab(ctx, filepath.Join(b.Dir, "lab"), b.Path("bin/strata-node"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, m.end()) }()
	r, began := &labReport{Machine: b.describeLab(m), LoadBefore: benchmarks.LoadAverage()}, time.Now()
	for _, k := range labKinds() {
		measured, err := b.inLab(ctx, m, k)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", k.kind, err)
		}
		r.Kinds = append(r.Kinds, measured)
	}
	r.LoadAfter, r.Took = benchmarks.LoadAverage(), time.Since(began)
	return r, nil
}

// inLab measures one kind in the machine.
func (b *bench) inLab(ctx context.Context, m *labMachine, k labKind) (*kindReport, error) {
	kind := disk.Kind(k.kind)
	if err := m.startNode(ctx, kind, k.disk); err != nil {
		return nil, err
	}
	r := &kindReport{Kind: k.kind, FSType: k.fsType}
	names := []string{driver: sides.SideDriver, bare: sides.SideBare, records: sides.SideRecords}
	k.part, k.dataPart, k.loads = partLab, labData, b.plan.lab.loads
	k.calls = func(ctx context.Context, side int, l load) (made, gone callers.Sample, err error) {
		a, err := m.do(ctx, sides.Order{Kind: kind, Side: names[side], Size: k.size, Callers: l.callers, Count: l.mounts, Publish: true, Unpublish: true})
		r.Repeated += int(a.Repeated)
		return a.Made, a.Gone, err
	}
	dirs := []string{driver: sides.InlineTarget(kind, 0), bare: k.raw, byHand: sides.BareTarget(sides.Targets(kind), 0)}
	k.fio = func(ctx context.Context, side int, w workload, fresh bool) (block, error) {
		return m.fio(ctx, w, dirs[side], b.plan.lab, fresh)
	}
	var err error
	if r.Publish, r.Unpublish, err = b.kindCalls(ctx, k.kindRun); err != nil {
		return nil, err
	}
	if _, err := m.Run(ctx, "mkdir", k.raw); err != nil {
		return nil, err
	}
	both := func(publish bool) error {
		for _, side := range []string{sides.SideDriver, sides.SideBare} {
			if _, err := m.do(ctx, sides.Order{Kind: kind, Side: side, Size: k.size, Callers: 1, Count: 1, Publish: publish, Unpublish: !publish}); err != nil {
				return err
			}
		}
		return nil
	}
	if err := both(true); err != nil {
		return nil, err
	}
	if r.Data, err = b.kindData(ctx, k.kindRun); err != nil {
		return nil, err
	}
	return r, errors.Join(both(false), m.endNode(ctx, kind))
}
