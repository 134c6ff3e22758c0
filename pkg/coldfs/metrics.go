package coldfs

// What an engine counts, for Prometheus. A node has many engines, and no metric has a label of one.

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/draft"
)

// metrics are counted per request.
type metrics struct {
	seconds *prometheus.HistogramVec
	errors  *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "strata_cold_operation_seconds", Help: "Time of every request of the kernel.", Buckets: prometheus.ExponentialBuckets(0.0001, 4, 9),
		}, []string{"operation"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "strata_cold_operation_errors_total", Help: "Requests of the kernel that were answered with an error which isn't of the program's making.",
		}, []string{"operation", "errno"}),
	}
}

// expected are the errors that are answers.
var expected = map[int32]bool{
	0: true, int32(unix.ENOENT): true, int32(unix.ENOSYS): true, int32(unix.EEXIST): true, int32(unix.ENOTEMPTY): true, int32(unix.EOPNOTSUPP): true, int32(unix.EINTR): true, int32(unix.EPERM): true,
	int32(unix.ENOTTY): true, int32(unix.EROFS): true, int32(unix.EINVAL): true, int32(unix.EISDIR): true, int32(unix.ENOTDIR): true, int32(unix.ENAMETOOLONG): true,
}

func (m *metrics) observe(operation string, errno int32, took time.Duration) {
	m.seconds.WithLabelValues(operation).Observe(took.Seconds())
	if !expected[errno] {
		name := unix.ErrnoName(unix.Errno(errno))
		if name == "" {
			name = strconv.Itoa(int(errno))
		}
		m.errors.WithLabelValues(operation, name).Inc()
	}
}

// gauge is a figure that is read when it is asked for.
type gauge struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	of   func(*FS) float64
}

func figure(name, help string, kind prometheus.ValueType, of func(*FS) float64) gauge {
	return gauge{prometheus.NewDesc(name, help, nil, nil), kind, of}
}

var figures = []gauge{
	figure("strata_cold_nodes", "Files and directories that the kernel knows.", prometheus.GaugeValue, func(f *FS) float64 { return float64(f.table.Len()) }),
	figure("strata_cold_handles", "Files and directories that are open.", prometheus.GaugeValue, func(f *FS) float64 { return float64(f.handles.len()) }),
	figure("strata_cold_staged_bytes", "Bytes that are written and held on the disk until they are in the store.", prometheus.GaugeValue, func(f *FS) float64 { return float64(f.drafted().Used) }),
	figure("strata_cold_used_bytes", "Bytes that the volume holds, by the last listing and what this mount has done since.", prometheus.GaugeValue, func(f *FS) float64 { return float64(f.usage.now().Bytes) }),
	figure("strata_cold_conditions", "What is wrong with the volume, counted.", prometheus.GaugeValue, func(f *FS) float64 { return float64(len(f.health.now().Conditions)) }),
	figure("strata_cold_revalidations_total", "Requests that asked whether a known file is as it was.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.stats.revalidations.Load()) }),
	figure("strata_cold_replaced_total", "Files of which another version was found while they were open.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.stats.replaced.Load()) }),
	figure("strata_cold_conflicts_total", "Commits that another client's write was faster than: ESTALE.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.stats.conflicts.Load()) }),
	figure("strata_cold_lost_files_total", "Files whose last writes never came into the store. Programs were told, except of writes through a mapping.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.stats.lost.Load()) }),
	figure("strata_cold_uploaded_bytes_total", "Bytes that the store took.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.drafted().Uploaded) }),
	figure("strata_cold_copied_bytes_total", "Bytes of written files that the store copied by itself.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.drafted().Copied) }),
	figure("strata_cold_commits_total", "Objects that were written.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.drafted().Commits) }),
	figure("strata_cold_read_bytes_total", "Bytes that programs have read, from the kernel's pages excepted.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.reader.Stats().BytesServed) }),
	figure("strata_cold_fetched_bytes_total", "Bytes that were read from the store.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.reader.Stats().BytesFetched) }),
	figure("strata_cold_cache_hits_total", "Pieces of reads that the node's cache had.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.reader.Stats().Hits) }),
	figure("strata_cold_cache_misses_total", "Pieces of reads that the store was asked for.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.reader.Stats().Misses) }),
	figure("strata_cold_cache_evictions_total", "Blocks that the node's cache gave up for others.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.cache.Stats().Evictions) }),
	figure("strata_cold_cache_corrupt_total", "Blocks of the node's cache that didn't have their checksum, and were read from the store again.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.cache.Stats().Corrupt) }),
	figure("strata_cold_cache_bytes", "Bytes of the node's cache, of all volumes.", prometheus.GaugeValue, func(f *FS) float64 { return float64(f.cache.Stats().Used) }),
	figure("strata_cold_commit_failures_total", "Commits that failed, without conflicts.", prometheus.CounterValue, func(f *FS) float64 { return float64(f.drafted().Failures) }),
}

// drafted is what was written; nothing on a read-only volume.
func (f *FS) drafted() draft.Stats {
	if f.drafts == nil {
		return draft.Stats{}
	}
	return f.drafts.Stats()
}

// Describe makes FS a prometheus.Collector.
func (f *FS) Describe(ch chan<- *prometheus.Desc) {
	f.metrics.seconds.Describe(ch)
	f.metrics.errors.Describe(ch)
	for _, x := range figures {
		ch <- x.desc
	}
}

// Collect makes FS a prometheus.Collector.
func (f *FS) Collect(ch chan<- prometheus.Metric) {
	f.metrics.seconds.Collect(ch)
	f.metrics.errors.Collect(ch)
	for _, x := range figures {
		ch <- prometheus.MustNewConstMetric(x.desc, x.kind, x.of(f))
	}
}
