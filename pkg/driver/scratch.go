package driver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/failpoint"
	"github.com/strata-csi/strata/pkg/journal"
	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/registration"
	"github.com/strata-csi/strata/pkg/scratch"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/probe"
	"github.com/strata-csi/strata/pkg/scratch/report"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/volume"
)

// ScratchNodeOptions are the options of strata-node for tier scratch.
type ScratchNodeOptions struct {
	// Config is the path of the scratch configuration file, see docs/parameters.md; empty: tier scratch is not served.
	Config string
	// StateDir is where the journal is; it must outlive the process and the machine's restart, and be no other node's.
	StateDir string
	// KubeletDir is kubelet's --root-dir.
	KubeletDir string
	// ReportDir is where the node says what room it has; empty: through the Kubernetes API, and without Kubeconfig nowhere.
	ReportDir string
	// ReapEvery is how often the reaper looks for volumes that nobody owns.
	ReapEvery time.Duration
}

// Validate says which option is wrong and what it may be.
func (o ScratchNodeOptions) Validate() error {
	if o.Config == "" {
		return nil
	}
	for flag, path := range map[string]string{"--state-dir": o.StateDir, "--kubelet-dir": o.KubeletDir} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("%s: %q is not an absolute path", flag, path)
		}
	}
	if o.ReportDir != "" && !filepath.IsAbs(o.ReportDir) {
		return fmt.Errorf("--scratch-report-dir: %q is not an absolute path", o.ReportDir)
	}
	if o.ReapEvery < 100*time.Millisecond {
		return fmt.Errorf("--scratch-reap-every: %s is less than 100ms", o.ReapEvery)
	}
	return nil
}

// reportEvery is how often a node reports when nothing changes; a controller gives up on a report that is several times as old.
const reportEvery = time.Minute

// reporter tells the controller what room there is.
type reporter interface {
	Write(ctx context.Context, r report.Report) error
}

// scratchNode is tier scratch of one node with what runs beside its services.
type scratchNode struct {
	backend  *scratch.Backend
	journal  *journal.Journal
	reaper   *scratch.Reaper
	options  ScratchNodeOptions
	reporter reporter // nil: nobody is told
	node     string
	changed  chan struct{}
}

// openScratch takes the state directory for this process, tries the disks, and reads the journal.
func openScratch(ctx context.Context, o NodeOptions, locks *keylock.Locks, unmounter *mountpoint.Unmounter, api *cluster, kubelet *registration.Registration) (_ *scratchNode, err error) {
	c, err := config.Load(o.Scratch.Config)
	if err != nil {
		return nil, err
	}
	s := &scratchNode{options: o.Scratch, node: o.NodeID, changed: make(chan struct{}, 1)}
	// First of all: the disks are another process's while that one has the journal.
	if s.journal, err = journal.Open(filepath.Join(o.Scratch.StateDir, "scratch")); err != nil {
		return nil, fmt.Errorf("state directory %s: %w", o.Scratch.StateDir, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.journal.Close())
		}
	}()
	occupied, err := scratch.OccupiedDisks(s.journal)
	if err != nil {
		return nil, err
	}
	pools, findings := probe.Pools(ctx, c, occupied)
	for _, f := range findings {
		klog.FromContext(ctx).Info("Scratch disk", "pool", f.Pool, "disk", f.Place, "kind", f.Kind, "result", f.Verdict())
	}
	s.backend, err = scratch.New(scratch.Options{Config: c, Pools: pools, Journal: s.journal, MountDir: filepath.Join(o.Scratch.StateDir, "mnt"), Locks: locks, Unmounter: unmounter,
		Changed: s.change, BootID: bootID()})
	if err != nil {
		return nil, err
	}
	s.reaper = scratch.NewReaper(s.backend, scratch.KubeletDir(o.Scratch.KubeletDir), c.Grace)
	if api != nil {
		seesKubelet := func() bool { return kubelet != nil && kubelet.SeesKubelet() }
		s.reaper.Ask(api, seesKubelet)
	}
	switch {
	case o.Scratch.ReportDir != "":
		if s.reporter, err = report.NewWriter(o.Scratch.ReportDir); err != nil {
			return nil, err
		}
	case api != nil:
		s.reporter = report.NewKeeper(api.report.Write)
	}
	return s, nil
}

// bootID lets a test play a start of the machine; a released program has only the kernel's.
func bootID() string {
	if failpoint.Enabled {
		return os.Getenv("STRATA_BOOT_ID")
	}
	return ""
}

func (s *scratchNode) change() {
	select {
	case s.changed <- struct{}{}:
	default: // one is waiting already
	}
}

func (s *scratchNode) background() []func(context.Context) error {
	all := []func(context.Context) error{func(ctx context.Context) error { return s.reaper.Run(ctx, s.options.ReapEvery) }}
	if s.reporter != nil {
		all = append(all, s.report)
	}
	return all
}

const (
	// settle is how long changes are collected: many pods may start at once.
	settle = 500 * time.Millisecond
	// reportAgain is the time to the next try after an error.
	reportAgain = 10 * time.Second
)

// report says what room there is whenever that changes, and now and then; not all nodes at once.
func (s *scratchNode) report(ctx context.Context) error {
	for {
		next := wait.Jitter(reportEvery*9/10, 0.2)
		if err := s.reportOnce(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "Reporting the room for scratch volumes")
			next = wait.Jitter(reportAgain, 0.5)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(next):
		case <-s.changed:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(settle):
			}
		}
	}
}

func (s *scratchNode) reportOnce(ctx context.Context) error {
	classes, err := s.backend.Capacities(ctx)
	if err != nil {
		return err
	}
	segment := volume.Segment{tier.NodeKey: s.node}
	maps.Copy(segment, s.backend.Segment())
	return s.reporter.Write(ctx, report.Report{Node: s.node, Segment: segment, Time: time.Now().UTC(), Classes: classes})
}

func (s *scratchNode) close(ctx context.Context) {
	if err := errors.Join(s.backend.Close(), s.journal.Close()); err != nil {
		klog.FromContext(ctx).Error(err, "Closing tier scratch")
	}
}

// ProbeScratch tries the disks of the configuration, writes what it found, and says whether every pool has a disk. It must not be run
// beside a strata-node on the same state directory.
func ProbeScratch(ctx context.Context, o ScratchNodeOptions, w io.Writer) (complete bool, err error) {
	if o.Config == "" {
		return false, errors.New("--scratch-config: is missing; it names the file that says where to look")
	}
	if err := o.Validate(); err != nil {
		return false, err
	}
	c, err := config.Load(o.Config)
	if err != nil {
		return false, err
	}
	pools, findings := probe.Pools(ctx, c, nil)
	for _, p := range pools {
		for _, d := range p.Usable {
			defer d.Close()
		}
	}
	return probe.Print(w, pools, findings)
}
