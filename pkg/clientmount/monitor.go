package clientmount

// What an operator sees of a node's mounts without asking: metrics, and Events of what happens to a mount between two calls.

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// mountState is what a look found of one client's mount.
type mountState string

const (
	mountLive   mountState = "live"
	mountDead   mountState = "dead"   // its client is gone for good
	mountSilent mountState = "silent" // it didn't answer in time
	mountFailed mountState = "error"  // it answers with an error that may pass
)

// monitorWidth is how many mounts are asked at once: those that hang must not keep the others waiting for long.
const monitorWidth = 8

// Monitor looks at every mount of the driver of one tier on the node, whichever strata-node made it.
type Monitor struct {
	stager   *Mounts
	tell     events.Recorder
	volumeOf func([]mountpoint.Mount) (volume.ID, bool)
	descs    descs

	mu     sync.Mutex
	mounts map[clientMount]mountState
	deaths int
}

// clientMount names one client: all its bind mounts have the device, and no other client's.
type clientMount struct {
	source       string
	major, minor int
}

// repairs are the dead mounts that Stage took away: begun until another is mounted at the same path, perhaps by a later call.
type repairs struct {
	tell  events.Recorder
	begun sync.Map // paths
	count atomic.Int64
}

func (r *repairs) begin(path string)  { r.begun.Store(path, true) }
func (r *repairs) giveUp(path string) { r.begun.Delete(path) }

// Mounted says that the volume has been mounted at path, which may have ended a repair.
func (s *Mounts) Mounted(ctx context.Context, id volume.ID, path string) {
	r := &s.repairs
	if _, dead := r.begun.LoadAndDelete(path); !dead {
		return
	}
	r.count.Add(1)
	klog.FromContext(ctx).Info("the dead mount has been replaced", "volume", id, "path", path)
	if r.tell != nil {
		r.tell.Claim(ctx, string(id), events.VolumeMountRepaired,
			"the volume's mount on the node was dead and has been replaced; pods that were started before must be restarted to use it")
	}
}

// NewMonitor returns a Monitor that tells the users of a volume through a Recorder when a mount dies, falls silent or is
// repaired. It is made before the mounts are used. volumeOf finds the id of the volume that the rows of one client show.
func NewMonitor(s *Mounts, tell events.Recorder, volumeOf func([]mountpoint.Mount) (volume.ID, bool)) *Monitor {
	s.repairs.tell = tell
	return &Monitor{stager: s, tell: tell, volumeOf: volumeOf, descs: newDescs(s.tier.Name()), mounts: map[clientMount]mountState{}}
}

// Look asks every mount once.
func (m *Monitor) Look(ctx context.Context) error {
	table, err := mountpoint.Read()
	if err != nil {
		return err
	}
	found := map[clientMount][]mountpoint.Mount{}
	for _, row := range table {
		if m.stager.tier.Own(row) {
			key := clientMount{row.Source, row.Major, row.Minor}
			found[key] = append(found[key], row)
		}
	}
	var mu sync.Mutex
	states := map[clientMount]mountState{}
	causes := map[clientMount]error{}
	var group errgroup.Group
	group.SetLimit(monitorWidth)
	for key, rows := range found {
		group.Go(func() error {
			state, cause := m.ask(ctx, rows[0].Path)
			mu.Lock()
			defer mu.Unlock()
			states[key], causes[key] = state, cause
			return nil
		})
	}
	if err := errors.Join(group.Wait(), ctx.Err()); err != nil {
		return err
	}
	for _, key := range m.remember(states) {
		m.report(ctx, found[key], states[key], causes[key])
	}
	return nil
}

func (m *Monitor) ask(ctx context.Context, path string) (mountState, error) {
	err := m.stager.Alive(ctx, path)
	switch {
	case err == nil:
		return mountLive, nil
	case mountpoint.Dead(err):
		return mountDead, err
	case errors.Is(err, mountpoint.ErrProbeHung), errors.Is(err, mountpoint.ErrProbeLimit):
		return mountSilent, err
	}
	return mountFailed, err
}

// remember keeps the states and returns the mounts that changed. One that was live, or wasn't there, isn't news.
func (m *Monitor) remember(states map[clientMount]mountState) (changed []clientMount) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, state := range states {
		was, known := m.mounts[key]
		if !known {
			was = mountLive
		}
		if was == state {
			continue
		}
		if state == mountDead {
			m.deaths++
		}
		if state == mountLive && was == mountDead {
			continue // the dead don't live again: it is another mount, under the same number
		}
		changed = append(changed, key)
	}
	m.mounts = states
	return changed
}

func (m *Monitor) report(ctx context.Context, rows []mountpoint.Mount, state mountState, cause error) {
	reason, text := events.VolumeMountAnswers, "the volume answers on the node again"
	switch state {
	case mountDead:
		reason, text = events.VolumeMountDead, "the volume's mount on the node is dead: pods there that use it have I/O errors until they are restarted"
	case mountSilent:
		reason, text = events.VolumeMountNotAnswering, "the volume doesn't answer on the node: pods there that use it wait; it goes on by itself when the cluster and the network are well"
	case mountFailed:
		return // volume health says what it is to who asks
	case mountLive:
	}
	log := klog.FromContext(ctx).WithValues("path", rows[0].Path, "source", rows[0].Source, "state", string(state))
	if cause != nil {
		text = fmt.Sprintf("%s (%v)", text, cause)
		log = log.WithValues("cause", cause.Error())
	}
	id, ok := m.volumeOf(rows)
	log.Info("A mount has changed", "volume", id)
	if ok {
		m.tell.Claim(ctx, string(id), reason, text)
	}
}

// descs are the metrics of one tier.
type descs struct{ mounts, deaths, repairs *prometheus.Desc }

// The tier is a label that every metric of a Monitor has, so that those of several tiers can be shown together.
func newDescs(t volume.Tier) descs {
	tier := prometheus.Labels{"tier": string(t)}
	return descs{
		mounts:  prometheus.NewDesc("strata_mounts", "Client mounts on this node, by what the last look found.", []string{"state"}, tier),
		deaths:  prometheus.NewDesc("strata_mount_deaths_total", "Mounts that were found dead for the first time.", nil, tier),
		repairs: prometheus.NewDesc("strata_mount_repairs_total", "Dead mounts that a Stage or Publish replaced.", nil, tier),
	}
}

// Describe makes a Monitor a prometheus.Collector.
func (m *Monitor) Describe(ch chan<- *prometheus.Desc) {
	ch <- m.descs.mounts
	ch <- m.descs.deaths
	ch <- m.descs.repairs
}

// Collect makes a Monitor a prometheus.Collector.
func (m *Monitor) Collect(ch chan<- prometheus.Metric) {
	m.mu.Lock()
	defer m.mu.Unlock()
	count := map[mountState]int{mountLive: 0, mountDead: 0, mountSilent: 0, mountFailed: 0}
	for _, state := range m.mounts {
		count[state]++
	}
	for state, n := range count {
		ch <- prometheus.MustNewConstMetric(m.descs.mounts, prometheus.GaugeValue, float64(n), string(state))
	}
	ch <- prometheus.MustNewConstMetric(m.descs.deaths, prometheus.CounterValue, float64(m.deaths))
	ch <- prometheus.MustNewConstMetric(m.descs.repairs, prometheus.CounterValue, float64(m.stager.repairs.count.Load()))
}
