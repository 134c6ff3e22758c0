package renewal

// What an operator sees of renewals without asking.

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	renewals = prometheus.NewDesc("strata_cold_credential_renewals_total", "Renewals of the credentials of volumes of tier cold by this controller, by result (renewed, failed).", []string{"result"}, nil)
	failing  = prometheus.NewDesc("strata_cold_credentials_failing", "Volumes of tier cold whose credentials this controller couldn't renew at its last look.", nil, nil)
	left     = prometheus.NewDesc("strata_cold_credentials_shortest_seconds", "How long the credentials of a volume of tier cold are good still, of that where it is shortest.", nil, nil)
)

// Describe makes a Renewer a prometheus.Collector.
func (r *Renewer) Describe(ch chan<- *prometheus.Desc) {
	ch <- renewals
	ch <- failing
	ch <- left
}

// Collect makes a Renewer a prometheus.Collector.
func (r *Renewer) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(r.renewed[true]), "renewed")
	ch <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(r.renewed[false]), "failed")
	ch <- prometheus.MustNewConstMetric(failing, prometheus.GaugeValue, float64(len(r.failing)))
	now, first := r.o.Now(), true
	var shortest time.Duration
	for _, k := range r.known {
		if d := k.expires.Sub(now); first || d < shortest {
			shortest, first = d, false
		}
	}
	if !first {
		ch <- prometheus.MustNewConstMetric(left, prometheus.GaugeValue, shortest.Seconds())
	}
}
