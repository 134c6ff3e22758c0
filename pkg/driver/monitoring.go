package driver

// What operators see of a service: metrics that are looked up in the background, and events.

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	coldclient "github.com/strata-csi/strata/pkg/cold/client"
	"github.com/strata-csi/strata/pkg/events"
	"github.com/strata-csi/strata/pkg/identity"
	"github.com/strata-csi/strata/pkg/metrics"
	"github.com/strata-csi/strata/pkg/scratch"
	"github.com/strata-csi/strata/pkg/warm"
	"github.com/strata-csi/strata/pkg/warm/client"
)

const (
	// lookEvery is how often a node looks at its mounts and disks; a look that takes longer than half of it has hung.
	lookEvery = time.Minute
	// usageEvery is how often a controller looks how much the teams have, and usageLimit how long that may take.
	usageEvery = 5 * time.Minute
	usageLimit = 30 * time.Minute
)

// monitoring gathers what the tiers of one service show.
type monitoring struct {
	looks   metrics.Looks
	volumes metrics.Volumes
	tiers   []prometheus.Collector
	tell    events.Recorder
}

// register adds all metrics to a registry.
func (m *monitoring) register(r prometheus.Registerer) error {
	for _, c := range append([]prometheus.Collector{&m.looks, &m.volumes}, m.tiers...) {
		if err := r.Register(c); err != nil {
			return fmt.Errorf("metrics: %w", err)
		}
	}
	return nil
}

func (m *monitoring) add(name string, every, limit time.Duration, look func(context.Context) error) {
	m.looks.Add(metrics.Look{Name: name, Every: every, Limit: limit, Do: look})
}

// teams shows what the teams have in the clusters of a controller.
func (m *monitoring) teams(b *warm.Backend) {
	usage := warm.NewUsage(b)
	m.volumes.Add(usage.Volumes)
	m.add("warm-usage", usageEvery, usageLimit, usage.Look)
}

// warmMounts shows the mounts of tier warm of a node.
func (m *monitoring) warmMounts(s *client.Stager) {
	monitor := client.NewMonitor(s, identity.DriverName, m.tell)
	m.tiers = append(m.tiers, monitor)
	m.add("warm-mounts", lookEvery, lookEvery/2, monitor.Look)
}

// coldMounts shows the mounts of tier cold of a node.
func (m *monitoring) coldMounts(s *coldclient.Stager) {
	monitor := coldclient.NewMonitor(s, m.tell)
	m.tiers = append(m.tiers, monitor)
	m.add("cold-mounts", lookEvery, lookEvery/2, monitor.Look)
}

// scratch shows the scratch disks and volumes of a node.
func (m *monitoring) scratch(b *scratch.Backend) {
	monitor := scratch.NewMonitor(b, m.tell)
	m.tiers = append(m.tiers, monitor)
	m.volumes.Add(monitor.Volumes)
	m.add("scratch", lookEvery, lookEvery/2, monitor.Look)
}
