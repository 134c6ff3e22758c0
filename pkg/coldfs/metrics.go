package coldfs

// What an engine counts, for Prometheus. A node has many engines, and no metric has a label of one: the holder adds them up.

import (
	"bytes"
	"context"
	"runtime"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/control"
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

var figures = []gauge{
	{prometheus.NewDesc("strata_cold_nodes", "Files and directories that the kernel knows.", nil, nil), prometheus.GaugeValue, func(f *FS) float64 { return float64(f.table.Len()) }},
	{prometheus.NewDesc("strata_cold_handles", "Files and directories that are open.", nil, nil), prometheus.GaugeValue, func(f *FS) float64 { return float64(f.handles.len()) }},
	{prometheus.NewDesc("strata_cold_goroutines", "Goroutines of engines: mostly requests that are being answered.", nil, nil), prometheus.GaugeValue, func(*FS) float64 { return float64(runtime.NumGoroutine()) }},
	{prometheus.NewDesc("strata_cold_staged_bytes", "Bytes that are written and held on the disk until they are in the store.", nil, nil), prometheus.GaugeValue, func(f *FS) float64 { return float64(f.drafted().Used) }},
	{prometheus.NewDesc("strata_cold_used_bytes", "Bytes that the volume holds, by the last listing and what this mount has done since.", nil, nil), prometheus.GaugeValue, func(f *FS) float64 { return float64(f.usage.now().Bytes) }},
	{prometheus.NewDesc("strata_cold_listing_timestamp_seconds", "Unix time of that listing; the start of the engine as long as there is none.", nil, nil), prometheus.GaugeValue, func(f *FS) float64 { return f.usage.now().asOf() }},
	{prometheus.NewDesc("strata_cold_conditions", "What is wrong with the volume, counted.", nil, nil), prometheus.GaugeValue, func(f *FS) float64 { return float64(len(f.health.now().Conditions)) }},
	{prometheus.NewDesc("strata_cold_revalidations_total", "Requests that asked whether a known file is as it was.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.stats.revalidations.Load()) }},
	{prometheus.NewDesc("strata_cold_replaced_total", "Files of which another version was found while they were open.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.stats.replaced.Load()) }},
	{prometheus.NewDesc("strata_cold_conflicts_total", "Commits that another client's write was faster than: ESTALE.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.stats.conflicts.Load()) }},
	{prometheus.NewDesc("strata_cold_lost_files_total", "Files whose last writes never came into the store. Programs were told, except of writes through a mapping.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.stats.lost.Load()) }},
	{prometheus.NewDesc("strata_cold_uploaded_bytes_total", "Bytes that the store took.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.drafted().Uploaded) }},
	{prometheus.NewDesc("strata_cold_copied_bytes_total", "Bytes of written files that the store copied by itself.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.drafted().Copied) }},
	{prometheus.NewDesc("strata_cold_commits_total", "Objects that were written.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.drafted().Commits) }},
	{prometheus.NewDesc("strata_cold_passthrough_opens_total", "Files that were opened whole in the node's cache, which the kernel reads there by itself.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.through.opens.Load()) }},
	{prometheus.NewDesc("strata_cold_read_bytes_total", "Bytes that programs have read through the engine, from the kernel's pages excepted.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.reader.Stats().BytesServed) }},
	{prometheus.NewDesc("strata_cold_fetched_bytes_total", "Bytes that were read from the store.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.reader.Stats().BytesFetched) }},
	{prometheus.NewDesc("strata_cold_cache_hits_total", "Pieces of reads that the node's cache had.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.reader.Stats().Hits) }},
	{prometheus.NewDesc("strata_cold_cache_misses_total", "Pieces of reads that the store was asked for.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.reader.Stats().Misses) }},
	{prometheus.NewDesc("strata_cold_cache_evictions_total", "Blocks that the node's cache gave up for others.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.cache.Stats().Evictions) }},
	{prometheus.NewDesc("strata_cold_cache_corrupt_total", "Blocks of the node's cache that didn't have their checksum, and were read from the store again.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.cache.Stats().Corrupt) }},
	{prometheus.NewDesc("strata_cold_cache_bytes", "Bytes of the node's cache, of all volumes.", nil, nil), prometheus.GaugeValue, func(f *FS) float64 { return float64(f.cache.Stats().Used) }},
	{prometheus.NewDesc("strata_cold_commit_failures_total", "Commits that failed, without conflicts.", nil, nil), prometheus.CounterValue, func(f *FS) float64 { return float64(f.drafted().Failures) }},
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

// tellMetrics tells the holder what was counted: at once, every so often, and a last time when ctx ends.
func (f *FS) tellMetrics(ctx context.Context, l *link) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(f)
	said := ""
	tell := func() {
		err := l.sayMetrics(registry)
		if err != nil && err.Error() != said {
			f.log.Error(err, "The holder isn't told what this engine counts")
		}
		if said = ""; err != nil {
			said = err.Error()
		}
	}
	tick := time.NewTicker(f.pauses.Metrics)
	defer tick.Stop()
	for {
		tell()
		select {
		case <-ctx.Done():
			tell()
			return
		case <-tick.C:
		}
	}
}

func (l *link) sayMetrics(g prometheus.Gatherer) error {
	if l.conn == nil {
		return nil
	}
	families, err := g.Gather()
	if err != nil {
		return err
	}
	var raw bytes.Buffer
	encoder := expfmt.NewEncoder(&raw, control.MetricsFormat)
	for _, family := range families {
		if err := encoder.Encode(family); err != nil {
			return err
		}
	}
	return l.say(control.Message{Metrics: raw.Bytes()})
}
