package sides

// What is asked for, and answered, in the emulated machine.

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"time"

	"github.com/strata-csi/strata/hack/bench/callers"
	"github.com/strata-csi/strata/hack/stack"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// Where things are in the machine.
const (
	SystemDir   = "/node"   // on the disk of the system: the nodes' directories, the journals, the places of bare volumes
	VolumeGroup = "scratch" // of kind lvm
	QuotaDir    = "/quota"  // the XFS of kind xfs
)

// The sides of Order.
const (
	SideDriver  = "driver"
	SideBare    = "bare"
	SideRecords = "records"
)

// Order asks for a block of operations on one side.
type Order struct {
	Kind               disk.Kind // LVM or XFS
	Side               string
	Size               int64 // bytes of every volume
	Callers, Count     int
	Publish, Unpublish bool
}

// Answer is what became of it.
type Answer struct {
	Made, Gone callers.Sample
	Repeated   int64 // as Driver counts
}

// NodeDir is the directory of the strata-node of a kind.
func NodeDir(kind disk.Kind) string { return filepath.Join(SystemDir, "node-"+string(kind)) }

// Targets is where the bare volumes of a kind are mounted.
func Targets(kind disk.Kind) string { return filepath.Join(SystemDir, "bare-"+string(kind)) }

// InlineTarget is where the driver mounts the volume of a place.
func InlineTarget(kind disk.Kind, i int) string {
	return stack.InlineTarget(NodeDir(kind), Pod(i))
}

// Do measures what is asked for. Opening the side doesn't count.
func (o Order) Do(ctx context.Context) (a Answer, err error) {
	s, err := o.open(ctx)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if o.Publish {
		if a.Made, err = callers.Together(ctx, o.Callers, o.Count, s.Publish); err != nil {
			return a, fmt.Errorf("publish: %w", err)
		}
	}
	if o.Unpublish {
		if a.Gone, err = callers.Together(ctx, o.Callers, o.Count, s.Unpublish); err != nil {
			return a, fmt.Errorf("unpublish: %w", err)
		}
	}
	if d, ok := s.(*Driver); ok {
		a.Repeated = d.Repeated.Load()
	}
	return a, nil
}

func (o Order) open(ctx context.Context) (Side, error) {
	switch o.Side {
	case SideDriver:
		ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
		defer cancel()
		n, err := stack.JoinScratchNode(ctx, string(o.Kind), NodeDir(o.Kind))
		return &Driver{Node: n, Size: strconv.FormatInt(o.Size, 10)}, err
	case SideRecords:
		return NewRecords(filepath.Join(SystemDir, "journal"))
	case SideBare:
		switch o.Kind {
		case disk.LVM:
			return NewLVM(VolumeGroup, Targets(o.Kind), o.Size)
		case disk.XFS:
			return NewXFS(QuotaDir, Targets(o.Kind), o.Size)
		}
	}
	return nil, fmt.Errorf("there is no side %q of kind %q here", o.Side, o.Kind)
}
