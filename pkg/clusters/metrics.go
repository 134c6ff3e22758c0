package clusters

import "github.com/prometheus/client_golang/prometheus"

var (
	successDesc = prometheus.NewDesc("strata_cluster_config_last_reload_successful",
		"1 when the newest cluster configuration file is in force, 0 when it has a mistake and an older one is.", nil, nil)
	sinceDesc = prometheus.NewDesc("strata_cluster_config_in_force_since_seconds",
		"Unix time at which the cluster configuration in force was read.", nil, nil)
)

// Describe makes a Store a prometheus.Collector.
func (s *Store) Describe(ch chan<- *prometheus.Desc) {
	ch <- successDesc
	ch <- sinceDesc
}

// Collect makes a Store a prometheus.Collector.
func (s *Store) Collect(ch chan<- prometheus.Metric) {
	s.mu.RLock()
	success, since := 1.0, float64(s.since.Unix())
	if s.lastErr != nil {
		success = 0
	}
	s.mu.RUnlock()
	ch <- prometheus.MustNewConstMetric(successDesc, prometheus.GaugeValue, success)
	ch <- prometheus.MustNewConstMetric(sinceDesc, prometheus.GaugeValue, since)
}
