package mountpoint

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// hungAfter is how long a file system may take to answer a question that a healthy one answers within milliseconds.
const hungAfter = 10 * time.Second

var (
	probesDesc = prometheus.NewDesc("strata_mount_probes_in_flight", "File systems that were asked whether they answer, and haven't yet.", nil, nil)
	hungDesc   = prometheus.NewDesc("strata_mount_probes_hung", "Those of them that were asked more than 10 seconds ago.", nil, nil)
	limitDesc  = prometheus.NewDesc("strata_mount_probes_limit", "How many may be asked at once; when so many hang, no other is asked.", nil, nil)
)

// Hung returns how many calls have been waiting for an answer for at least that long.
func (p *Prober) Hung(after time.Duration) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, f := range p.flights {
		if time.Since(f.since) >= after {
			n++
		}
	}
	return n
}

// Describe makes a Prober a prometheus.Collector.
func (*Prober) Describe(ch chan<- *prometheus.Desc) {
	ch <- probesDesc
	ch <- hungDesc
	ch <- limitDesc
}

// Collect makes a Prober a prometheus.Collector.
func (p *Prober) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(probesDesc, prometheus.GaugeValue, float64(p.InFlight()))
	ch <- prometheus.MustNewConstMetric(hungDesc, prometheus.GaugeValue, float64(p.Hung(hungAfter)))
	ch <- prometheus.MustNewConstMetric(limitDesc, prometheus.GaugeValue, float64(p.limit))
}
