package metrics

import "github.com/prometheus/client_golang/prometheus"

// Group is what there is of volumes that are alike. A field that doesn't apply to the tier, or isn't known, is "".
type Group struct {
	Tier, Team, Pool, Class string
}

// Sum is how many volumes a Group has, and of what size.
type Sum struct {
	Count int
	Bytes int64 // promised: what the volumes may hold, so far as they have a limit
	Used  int64 // what they hold; negative: it isn't known
}

// Volumes counts volumes by Group, from several sources: those of each tier. It has no label of a single volume or pod: a node, or a
// cluster, has many, and they come and go.
type Volumes struct {
	sources []func() map[Group]Sum
}

// Add adds a source, before the first scrape. It must answer from memory.
func (v *Volumes) Add(source func() map[Group]Sum) { v.sources = append(v.sources, source) }

var (
	groupLabels = []string{"tier", "team", "pool", "class"}
	volumeCount = prometheus.NewDesc("strata_volumes",
		"Volumes there are: of tier scratch on this node, of tier warm in all clusters of the controller.", groupLabels, nil)
	volumeBytes = prometheus.NewDesc("strata_volume_bytes",
		"Bytes that the volumes were promised: sizes of tier scratch, quotas of tier warm.", groupLabels, nil)
	volumeUsed = prometheus.NewDesc("strata_volume_used_bytes",
		"Bytes that the volumes of tier warm hold, as CephFS counts them: without snapshots, and some seconds late.", groupLabels, nil)
)

// Describe makes Volumes a prometheus.Collector.
func (v *Volumes) Describe(ch chan<- *prometheus.Desc) {
	ch <- volumeCount
	ch <- volumeBytes
	ch <- volumeUsed
}

// Collect makes Volumes a prometheus.Collector.
func (v *Volumes) Collect(ch chan<- prometheus.Metric) {
	for _, source := range v.sources {
		for g, s := range source() {
			labels := []string{g.Tier, g.Team, g.Pool, g.Class}
			ch <- prometheus.MustNewConstMetric(volumeCount, prometheus.GaugeValue, float64(s.Count), labels...)
			ch <- prometheus.MustNewConstMetric(volumeBytes, prometheus.GaugeValue, float64(s.Bytes), labels...)
			if s.Used >= 0 {
				ch <- prometheus.MustNewConstMetric(volumeUsed, prometheus.GaugeValue, float64(s.Used), labels...)
			}
		}
	}
}
