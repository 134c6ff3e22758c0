package scratch

// What an operator sees of a node's scratch volumes without asking: metrics, and Events of what happens to a volume between two calls.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/metrics"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// healthTime is how long one volume may be looked at: those after it are to have their turn.
const healthTime = 10 * time.Second

// Monitor looks at the disks and volumes of a Backend. Look asks the disks, everything else answers from memory.
type Monitor struct {
	backend *Backend
	tell    events.Recorder

	mu        sync.Mutex
	disks     []diskState
	rooms     map[string]volume.Capacity // by class
	suspected map[string][]condition     // by volume id: seen once, which may be a call's own doing
	unhealthy map[string][]condition     // by volume id: seen twice in a row
}

type diskState struct {
	pool, name, kind string
	usable           bool
	capacity         int64 // -1: not known
}

// condition is a volume.Condition of a volume on a disk, without what changes between two looks.
type condition struct{ disk, reason string }

// NewMonitor returns a Monitor that tells the users of a volume through a Recorder when it turns bad and when it is well again.
func NewMonitor(b *Backend, tell events.Recorder) *Monitor { return &Monitor{backend: b, tell: tell} }

// Look looks at every disk and every volume in use, once. The error names those that could not be looked at; the others still are.
func (m *Monitor) Look(ctx context.Context) error {
	disks, errs := m.lookAtDisks(ctx)
	rooms, err := m.backend.Capacities(ctx)
	errs = append(errs, err)
	found := map[string][]condition{}
	texts := map[string]string{}
	records := map[string]record{}
	for _, r := range m.backend.records() {
		if r.Phase != ready || r.Boot != m.backend.boot {
			continue
		}
		records[r.ID] = r
		all, err := m.health(ctx, r)
		if err != nil {
			if ctx.Err() != nil { // the rest wasn't looked at, and isn't well for it
				return errors.Join(append(errs, ctx.Err())...)
			}
			errs = append(errs, fmt.Errorf("volume %s: %w", r.ID, err))
			continue
		}
		for _, c := range all {
			found[r.ID] = append(found[r.ID], condition{r.Disk, c.Reason})
			texts[r.ID+" "+c.Reason] = c.Message
		}
	}
	was, is := m.remember(disks, rooms, found)
	for id, r := range records {
		m.report(ctx, r, was[id], is[id], texts)
	}
	return errors.Join(errs...)
}

// health looks at a volume that no call is busy with.
func (m *Monitor) health(ctx context.Context, r record) ([]volume.Condition, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	all, err := m.backend.health(ctx, r.ID, r.Path)
	if errors.Is(err, volume.ErrNotFound) { // destroyed meanwhile
		return nil, nil
	}
	return all, err
}

// remember keeps what was found, and returns what is known of unhealthy volumes before and now: a condition counts when
// two looks in a row have found it, since a volume that a call is just making or destroying isn't as it should be either.
func (m *Monitor) remember(disks []diskState, rooms map[string]volume.Capacity, found map[string][]condition) (was, is map[string][]condition) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was, is = m.unhealthy, map[string][]condition{}
	for id, all := range found {
		for _, c := range all {
			if slices.Contains(m.suspected[id], c) && !slices.Contains(is[id], c) {
				is[id] = append(is[id], c)
			}
		}
	}
	m.disks, m.rooms, m.suspected, m.unhealthy = disks, rooms, found, is
	return was, is
}

func (m *Monitor) report(ctx context.Context, r record, was, is []condition, texts map[string]string) {
	tell := func(reason events.Reason, message string) {
		if r.Inline {
			m.tell.Pod(ctx, r.Pod, reason, message)
		} else {
			m.tell.Claim(ctx, r.ID, reason, message)
		}
	}
	for _, c := range is {
		if slices.Contains(was, c) {
			continue
		}
		reason := events.ScratchVolumeUnhealthy
		if ofDisk(r.Kind, c.reason) {
			reason = events.ScratchDiskFailed
		}
		text := c.reason + ": " + texts[r.ID+" "+c.reason]
		logger(ctx, r).Info("Scratch volume is unhealthy", "reason", c.reason, "message", text)
		tell(reason, text)
	}
	if len(was) > 0 && len(is) == 0 {
		logger(ctx, r).Info("Scratch volume is healthy again")
		tell(events.ScratchVolumeRecovered, "the scratch volume is healthy again")
	}
}

// ofDisk says whether a Condition is of the disk and so of all volumes on it.
func ofDisk(kind disk.Kind, reason string) bool {
	switch reason {
	case "FileSystemReadOnly", "DeviceMissing", "DeviceErrors":
		return kind == disk.Btrfs
	}
	return strings.HasPrefix(reason, "Disk") && reason != "DiskOvercommitted" || strings.HasPrefix(reason, "VolumeGroup")
}

// lookAtDisks asks every disk of the configuration, and those that only hold volumes from before.
func (m *Monitor) lookAtDisks(ctx context.Context) ([]diskState, []error) {
	var states []diskState
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(m.backend.pools)) {
		p := m.backend.pools[name]
		seen := map[string]bool{}
		for _, d := range p.Usable {
			s := diskState{pool: name, name: d.Name(), kind: string(d.Kind()), usable: true}
			var err error
			if s.capacity, err = d.Capacity(ctx); err != nil {
				errs = append(errs, fmt.Errorf("disk %s: %w", d.Name(), err))
				s.usable, s.capacity = false, -1
			}
			seen[d.Name()] = true
			states = append(states, s)
		}
		for _, place := range p.Disks {
			if n := placeName(place); !seen[n] {
				states = append(states, diskState{pool: name, name: n, capacity: -1})
			}
		}
	}
	return states, errs
}

// placeName is how a Disk at that place is called.
func placeName(p config.Place) string {
	if p.VolumeGroup != "" {
		return "vg/" + p.VolumeGroup
	}
	return p.Path
}

// Volumes counts the volumes of the journal. See metrics.Volumes.
func (m *Monitor) Volumes() map[metrics.Group]metrics.Sum {
	sums := map[metrics.Group]metrics.Sum{}
	for _, c := range m.backend.config.Classes { // a class without volumes has 0 of them
		sums[metrics.Group{Tier: string(volume.Scratch), Pool: c.Pool, Class: c.Name}] = metrics.Sum{Used: -1}
	}
	for _, r := range m.backend.records() {
		g := metrics.Group{Tier: string(volume.Scratch), Pool: r.Pool, Class: r.Class}
		s := sums[g]
		sums[g] = metrics.Sum{Count: s.Count + 1, Bytes: s.Bytes + r.Size, Used: -1}
	}
	return sums
}

var (
	roomDesc     = prometheus.NewDesc("strata_scratch_room_bytes", "Bytes that volumes of the class can still have on this node.", []string{"pool", "class"}, nil)
	largestDesc  = prometheus.NewDesc("strata_scratch_largest_volume_bytes", "Size of the largest volume of the class that can be made on this node now.", []string{"pool", "class"}, nil)
	usableDesc   = prometheus.NewDesc("strata_scratch_disk_usable", "1 when the disk takes volumes; 0 when it was refused at start, or can't be looked at now.", []string{"pool", "disk", "kind"}, nil)
	capacityDesc = prometheus.NewDesc("strata_scratch_disk_capacity_bytes", "Bytes of the disk that volumes could have if none were there.", []string{"pool", "disk", "kind"}, nil)
	promisedDesc = prometheus.NewDesc("strata_scratch_disk_promised_bytes", "Bytes of the disk that volumes were promised.", []string{"pool", "disk", "kind"}, nil)
	unwellDesc   = prometheus.NewDesc("strata_scratch_unhealthy_volumes", "Volumes on the disk that volume health has something to say of.", []string{"pool", "disk", "kind"}, nil)
	reasonDesc   = prometheus.NewDesc("strata_scratch_volume_conditions", "What it says: volumes on the disk by reason; without volumes there is none.", []string{"disk", "reason"}, nil)
	orphansDesc  = prometheus.NewDesc("strata_scratch_orphans", "Volumes that nobody seems to own and that the reaper is about to destroy.", nil, nil)
	reapedDesc   = prometheus.NewDesc("strata_scratch_reaped_total", "Volumes that the reaper destroyed.", nil, nil)
)

// Describe makes a Monitor a prometheus.Collector.
func (m *Monitor) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{roomDesc, largestDesc, usableDesc, capacityDesc, promisedDesc, unwellDesc, reasonDesc, orphansDesc, reapedDesc} {
		ch <- d
	}
}

// Collect makes a Monitor a prometheus.Collector.
func (m *Monitor) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	records := m.backend.records()
	promised := map[string]int64{}
	orphans := m.backend.reaping.strays.Load()
	for _, r := range records {
		promised[r.Disk] += r.Size
		if !r.Orphan.IsZero() {
			orphans++
		}
	}
	gauge(orphansDesc, orphans)
	ch <- prometheus.MustNewConstMetric(reapedDesc, prometheus.CounterValue, float64(m.backend.reaping.destroyed.Load()))

	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range m.backend.config.Classes {
		if room, ok := m.rooms[c.Name]; ok {
			gauge(roomDesc, room.Available, c.Pool, c.Name)
			gauge(largestDesc, max(room.Largest, 0), c.Pool, c.Name)
		}
	}
	unwell, reasons := map[string]int64{}, map[condition]int64{}
	for _, all := range m.unhealthy {
		unwell[all[0].disk]++
		for _, c := range all {
			reasons[c]++
		}
	}
	for _, d := range m.disks {
		usable := int64(0)
		if d.usable {
			usable = 1
		}
		gauge(usableDesc, usable, d.pool, d.name, d.kind)
		gauge(promisedDesc, promised[d.name], d.pool, d.name, d.kind)
		gauge(unwellDesc, unwell[d.name], d.pool, d.name, d.kind)
		if d.capacity >= 0 {
			gauge(capacityDesc, d.capacity, d.pool, d.name, d.kind)
		}
	}
	for c, n := range reasons {
		gauge(reasonDesc, n, c.disk, c.reason)
	}
}
