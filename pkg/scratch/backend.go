package scratch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/journal"
	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// Options are what a Backend needs; every field without "optional" is required.
type Options struct {
	Config  config.Config
	Pools   []Pool // of Config, with the disks that were found to work
	Journal *journal.Journal
	// MountDir is a directory of this Backend's own, made if needed, in the node's mount namespace: a volume is mounted there for a moment when its disk is no
	// disk.WholeMounter.
	MountDir string
	// Locks are those of the Node service: a volume is locked by its id, there for each call and here by the Reaper.
	Locks     *keylock.Locks
	Unmounter *mountpoint.Unmounter
	// Changed is called, optional, after the room on the node changed. It must not block.
	Changed func()
	// BootID names the running kernel; optional, default /proc/sys/kernel/random/boot_id.
	BootID string
}

// Backend is the node's side of tier scratch.
type Backend struct {
	config    config.Config
	pools     map[string]Pool
	locks     *keylock.Locks
	unmounter *mountpoint.Unmounter
	changed   func()
	boot      string
	mounts    string

	// reaping is what the Reaper did, for metrics: volumes it destroyed, and those without a record that it saw last.
	reaping struct{ destroyed, strays atomic.Int64 }

	// space is for who chooses a disk and then takes room on it. Looking at a disk may take long: nobody else waits for it.
	space sync.Mutex

	mu     sync.Mutex // of what follows
	ledger *ledger
	strays map[string]bool // by name: volumes without a record that are being destroyed
}

var (
	_ tier.Stager              = (*Backend)(nil)
	_ tier.UsageReporter       = (*Backend)(nil)
	_ tier.MountHealthReporter = (*Backend)(nil)
	_ tier.NodeExpander        = (*Backend)(nil)
	_ tier.BlockStager         = (*Backend)(nil)
	_ tier.InlinePublisher     = (*Backend)(nil)
	_ tier.SegmentReporter     = (*Backend)(nil)
)

// New reads the journal and the mount table. It touches no volume: what a killed process left waits for its next request, or for the Reaper.
func New(o Options) (*Backend, error) {
	if o.Journal == nil || o.MountDir == "" || o.Locks == nil || o.Unmounter == nil {
		return nil, errors.New("scratch: a field of Options is missing")
	}
	if o.BootID == "" {
		id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
		if err != nil {
			return nil, fmt.Errorf("learn which boot of the machine this is: %w", err)
		}
		o.BootID = strings.TrimSpace(string(id))
	}
	l, err := openLedger(o.Journal)
	if err != nil {
		return nil, err
	}
	b := &Backend{config: o.Config, pools: map[string]Pool{}, locks: o.Locks, unmounter: o.Unmounter, changed: o.Changed, boot: o.BootID,
		mounts: o.MountDir, ledger: l, strays: map[string]bool{}}
	if b.changed == nil {
		b.changed = func() {}
	}
	for _, p := range o.Pools {
		b.pools[p.Name] = p
	}
	for _, c := range o.Config.Classes {
		if _, ok := b.pools[c.Pool]; !ok {
			return nil, fmt.Errorf("scratch: class %s: Options have no pool %s", c.Name, c.Pool)
		}
	}
	return b, b.findWhole()
}

// Close ends what the disks hold open. Every volume stays as it is.
func (b *Backend) Close() error {
	var errs []error
	for _, p := range b.pools {
		for _, d := range slices.Concat(p.Usable, p.Held) {
			errs = append(errs, d.Close())
		}
	}
	return errors.Join(errs...)
}

// Segment names the kinds that this node can use, for StorageClasses with allowedTopologies.
func (b *Backend) Segment() volume.Segment {
	s := volume.Segment{}
	for _, p := range b.pools {
		for _, d := range p.Usable {
			s[segmentPrefix+string(d.Kind())] = "true"
		}
	}
	return s
}

const segmentPrefix = tier.KeyPrefix + "scratch-"

// class finds a class of the configuration. The error wraps volume.ErrInvalid and lists what there is.
func (b *Backend) class(name string) (config.Class, error) {
	i := slices.IndexFunc(b.config.Classes, func(c config.Class) bool { return c.Name == name })
	if i < 0 {
		var names []string
		for _, c := range b.config.Classes {
			names = append(names, c.Name)
		}
		return config.Class{}, fmt.Errorf("%w: this node has no scratch class %q; it has: %s", volume.ErrInvalid, name, strings.Join(names, ", "))
	}
	return b.config.Classes[i], nil
}

// record finds the record of a volume.
func (b *Backend) record(id string) (record, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r, ok := b.ledger.records[nameOf(id)]
	return r, ok
}

func (b *Backend) put(r record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ledger.put(r)
}

// isFull says whether it was for want of room that a record could not be written.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// unwrite takes the record of a volume that is to be destroyed off the journal, which needs no room, and keeps it in memory: the space isn't
// promised to others yet. Of a killed process a volume without a record is left, which the Reaper destroys.
func (b *Backend) unwrite(r record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err := b.ledger.remove(r.Name); err != nil {
		return err
	}
	b.ledger.records[r.Name] = r
	return nil
}

func logger(ctx context.Context, r record) klog.Logger {
	return klog.FromContext(ctx).WithValues("volume", r.ID, "class", r.Class, "disk", r.Disk, "name", r.Name)
}

// now is the time that records bear.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
