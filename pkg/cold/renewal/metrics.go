package renewal

// What an operator sees of renewals without asking.

import (
	"github.com/prometheus/client_golang/prometheus"
)

var (
	renewals = prometheus.NewDesc("strata_cold_credential_renewals_total", "Renewals of the credentials of volumes of tier cold by this controller, by result (renewed, failed).", []string{"result"}, nil)
	failing  = prometheus.NewDesc("strata_cold_credentials_failing", "Volumes of tier cold whose credentials this controller couldn't renew at its last look.", nil, nil)
	end      = prometheus.NewDesc("strata_cold_credentials_first_end_timestamp_seconds", "Unix time at which the first credentials of a volume of tier cold end, by what this controller knows; 0: there are none.", nil, nil)
)

// Describe makes a Renewer a prometheus.Collector.
func (r *Renewer) Describe(ch chan<- *prometheus.Desc) {
	ch <- renewals
	ch <- failing
	ch <- end
}

// Collect makes a Renewer a prometheus.Collector.
func (r *Renewer) Collect(ch chan<- prometheus.Metric) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(r.renewed[true]), "renewed")
	ch <- prometheus.MustNewConstMetric(renewals, prometheus.CounterValue, float64(r.renewed[false]), "failed")
	ch <- prometheus.MustNewConstMetric(failing, prometheus.GaugeValue, float64(len(r.failing)))
	var first int64
	for _, k := range r.known {
		if at := k.expires.Unix(); first == 0 || at < first {
			first = max(at, 1)
		}
	}
	ch <- prometheus.MustNewConstMetric(end, prometheus.GaugeValue, float64(first))
}
