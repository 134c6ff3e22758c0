package mountd

import (
	"context"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/metrics"
	"github.com/strata-csi/strata/pkg/mountpoint"
)

// counts are what happened to the clients of one kind since this holder was started. restarted are those of started that came in the place of one that had died.
type counts struct{ started, restarted, adopted, died atomic.Int64 }

// kindDescs are the metrics of one kind.
type kindDescs struct{ clients, started, restarted, adopted, died *prometheus.Desc }

var (
	descs = map[string]kindDescs{
		KindCephFuse: {
			clients: prometheus.NewDesc("strata_fuse_clients", "ceph-fuse processes of the mounts on this node, by state; those that exited were not replaced yet.", []string{"state"}, nil),
			started: prometheus.NewDesc("strata_fuse_clients_started_total", "ceph-fuse processes that were started.", nil, nil),
			adopted: prometheus.NewDesc("strata_fuse_clients_adopted_total", "Running ceph-fuse processes of an earlier holder that were taken over.", nil, nil),
			died:    prometheus.NewDesc("strata_fuse_clients_died_total", "ceph-fuse processes that ended while their mount was still there, which is dead since.", nil, nil),
		},
		KindColdFS: {
			clients:   prometheus.NewDesc("strata_cold_engines", "Engines of tier cold on this node, by state; those that exited were not replaced yet.", []string{"state"}, nil),
			started:   prometheus.NewDesc("strata_cold_engines_started_total", "Engines of tier cold that were started.", nil, nil),
			restarted: prometheus.NewDesc("strata_cold_engines_restarted_total", "Engines of tier cold that were started in the place of one that had ended under its mount.", nil, nil),
			adopted:   prometheus.NewDesc("strata_cold_engines_adopted_total", "Running engines of tier cold of an earlier holder that were taken over.", nil, nil),
			died:      prometheus.NewDesc("strata_cold_engines_died_total", "Engines of tier cold that ended while their mount was still there, which is dead since.", nil, nil),
		},
	}
	refusedDesc = prometheus.NewDesc("strata_fuse_requests_refused_total", "Requests of strata-node that were refused or failed.", nil, nil)
)

// count is where the clients of a mount's kind are counted.
func (h *holder) count(m *mount) *counts {
	if k, ok := h.kinds[m.entry.Spec.Kind]; ok {
		return &k.counts
	}
	return new(counts) // a kind that isn't served any more
}

// Describe makes a holder a prometheus.Collector.
func (h *holder) Describe(ch chan<- *prometheus.Desc) {
	ch <- refusedDesc
	for name := range h.kinds {
		d := descs[name]
		for _, d := range []*prometheus.Desc{d.clients, d.started, d.restarted, d.adopted, d.died} {
			if d != nil {
				ch <- d
			}
		}
	}
}

// Collect makes a holder a prometheus.Collector.
func (h *holder) Collect(ch chan<- prometheus.Metric) {
	states := map[string]map[State]int{}
	for name := range h.kinds {
		states[name] = map[State]int{Starting: 0, Running: 0, Exited: 0}
	}
	h.mu.Lock()
	for _, m := range h.mounts {
		if of := states[m.entry.Spec.Kind]; of != nil {
			of[m.state]++
		}
	}
	h.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(h.refused.Load()))
	for name, k := range h.kinds {
		d := descs[name]
		for state, n := range states[name] {
			ch <- prometheus.MustNewConstMetric(d.clients, prometheus.GaugeValue, float64(n), string(state))
		}
		for d, n := range map[*prometheus.Desc]*atomic.Int64{d.started: &k.counts.started, d.restarted: &k.counts.restarted, d.adopted: &k.counts.adopted, d.died: &k.counts.died} {
			if d != nil {
				ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n.Load()))
			}
		}
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
	all := prometheus.Gatherers{r}
	for _, k := range h.kinds {
		if g, ok := k.kind.(prometheus.Gatherer); ok {
			all = append(all, g)
		}
	}
	both := struct { // what is served, and where the server registers its own
		prometheus.Gatherer
		prometheus.Registerer
	}{all, r}
	m, err := metrics.Listen(ctx, metrics.Options{Address: address, Gatherer: both, Healthy: func(context.Context) error { return h.available("") }})
	if err != nil {
		return nil, err
	}
	klog.FromContext(ctx).Info("Serving metrics", "address", m.Addr().String())
	return func() error { return m.Run(ctx) }, nil
}
