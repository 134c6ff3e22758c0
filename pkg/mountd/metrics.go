package mountd

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/metrics"
	"github.com/strata-csi/strata/pkg/mountpoint"
)

// counts are what happened to the clients since this holder was started.
type counts struct{ started, adopted, died, refused atomic.Int64 }

var (
	clientsDesc = prometheus.NewDesc("strata_fuse_clients", "ceph-fuse processes of the mounts on this node, by state; those that exited were not replaced yet.", []string{"state"}, nil)
	startedDesc = prometheus.NewDesc("strata_fuse_clients_started_total", "ceph-fuse processes that were started.", nil, nil)
	adoptedDesc = prometheus.NewDesc("strata_fuse_clients_adopted_total", "Running ceph-fuse processes of an earlier holder that were taken over.", nil, nil)
	diedDesc    = prometheus.NewDesc("strata_fuse_clients_died_total", "ceph-fuse processes that ended while their mount was still there, which is dead since.", nil, nil)
	refusedDesc = prometheus.NewDesc("strata_fuse_requests_refused_total", "Requests of strata-node that were refused or failed.", nil, nil)
)

// Describe makes a holder a prometheus.Collector.
func (*holder) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{clientsDesc, startedDesc, adoptedDesc, diedDesc, refusedDesc} {
		ch <- d
	}
}

// Collect makes a holder a prometheus.Collector.
func (h *holder) Collect(ch chan<- prometheus.Metric) {
	states := map[State]int{Starting: 0, Running: 0, Exited: 0}
	h.mu.Lock()
	for _, m := range h.mounts {
		states[m.state]++
	}
	h.mu.Unlock()
	for state, n := range states {
		ch <- prometheus.MustNewConstMetric(clientsDesc, prometheus.GaugeValue, float64(n), string(state))
	}
	for d, n := range map[*prometheus.Desc]*atomic.Int64{
		startedDesc: &h.counts.started, adoptedDesc: &h.counts.adopted, diedDesc: &h.counts.died, refusedDesc: &h.counts.refused,
	} {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()))
	}
}

// leftMount says whether a client that has ended left its mount behind. One that was told to end, or whose mount was taken away
// before, leaves none.
func leftMount(e entry) bool {
	table, err := mountpoint.Read()
	if err != nil || e.Device == "" {
		return false
	}
	for _, m := range table {
		if e.owns(m) {
			return true
		}
	}
	return false
}

// serveMetrics serves them until ctx ends.
func (h *holder) serveMetrics(ctx context.Context, address string) (func() error, error) {
	r := metrics.NewRegistry()
	if err := r.Register(h); err != nil {
		return nil, err
	}
	if err := r.Register(h.prober); err != nil {
		return nil, err
	}
	m, err := metrics.Listen(ctx, metrics.Options{Address: address, Gatherer: r, Healthy: func(context.Context) error { return h.check() }})
	if err != nil {
		return nil, err
	}
	klog.FromContext(ctx).Info("Serving metrics", "address", m.Addr().String())
	return func() error { return m.Run(ctx) }, nil
}
