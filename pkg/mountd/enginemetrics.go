package mountd

// What engines count, added up for the node. An engine has no port of its own: it tells the holder.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"google.golang.org/protobuf/proto"

	"github.com/strata-csi/strata/pkg/coldfs/control"
)

// engineMetrics is a prometheus.Gatherer of the sums over all engines that this holder has started. What an engine had counted stays when it ends, so that no sum
// of a counter ever falls. The zero value is ready.
type engineMetrics struct {
	mu    sync.Mutex
	live  map[*engine]families
	ended families
}

// families are metric families by name.
type families map[string]*dto.MetricFamily

// joined are the gauges that aren't added up, with what two engines' become.
var joined = map[string]func(a, b float64) float64{
	"strata_cold_cache_bytes":               math.Max, // every engine of a node has the same of it
	"strata_cold_listing_timestamp_seconds": math.Min, // none is older
}

// maxSeries bounds what is kept of a metric, whatever engines say.
const maxSeries = 1000

// tell takes all that an engine has counted since its start.
func (m *engineMetrics) tell(e *engine, raw []byte) error {
	told, err := decodeMetrics(raw)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.live == nil {
		m.live = map[*engine]families{}
	}
	m.live[e] = told
	return nil
}

// end keeps what an engine that has ended counted.
func (m *engineMetrics) end(e *engine) {
	m.mu.Lock()
	defer m.mu.Unlock()
	told := m.live[e]
	delete(m.live, e)
	maps.DeleteFunc(told, func(_ string, f *dto.MetricFamily) bool { return f.GetType() == dto.MetricType_GAUGE })
	if m.ended == nil {
		m.ended = families{}
	}
	m.ended.add(told)
}

// Gather makes engineMetrics a prometheus.Gatherer.
func (m *engineMetrics) Gather() ([]*dto.MetricFamily, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := families{}
	sum.add(m.ended)
	for _, told := range m.live {
		sum.add(told)
	}
	return slices.SortedFunc(maps.Values(sum), func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) }), nil
}

// decodeMetrics reads what an engine says, which need not be true: nothing of it may spoil the metrics of others.
func decodeMetrics(raw []byte) (families, error) {
	told := families{}
	decoder := expfmt.NewDecoder(bytes.NewReader(raw), control.MetricsFormat)
	for {
		f := &dto.MetricFamily{}
		if err := decoder.Decode(f); errors.Is(err, io.EOF) {
			return told, nil
		} else if err != nil {
			return nil, err
		}
		name := f.GetName()
		if !strings.HasPrefix(name, control.MetricsPrefix) || !model.LegacyValidation.IsValidMetricName(name) {
			return nil, fmt.Errorf("metric %q doesn't begin with %s", name, control.MetricsPrefix)
		}
		for _, one := range f.GetMetric() {
			if !complete(f.GetType(), one) {
				return nil, fmt.Errorf("metric %s has another type than its family", name)
			}
		}
		told[name] = f
	}
}

func complete(kind dto.MetricType, m *dto.Metric) bool {
	switch kind {
	case dto.MetricType_COUNTER:
		return m.GetCounter() != nil
	case dto.MetricType_GAUGE:
		return m.GetGauge() != nil
	case dto.MetricType_HISTOGRAM:
		return m.GetHistogram() != nil
	}
	return false
}

// add adds others to f, and changes none of them.
func (f families) add(others families) {
	for name, other := range others {
		have := f[name]
		if have == nil {
			have = &dto.MetricFamily{Name: other.Name, Help: other.Help, Type: other.Type}
			f[name] = have
		}
		if have.GetType() != other.GetType() {
			continue // engines of two versions; the first one counts
		}
		at := map[string]*dto.Metric{}
		for _, m := range have.GetMetric() {
			at[labels(m)] = m
		}
		for _, m := range other.GetMetric() {
			if sum := at[labels(m)]; sum != nil {
				addMetric(sum, m, joined[name])
			} else if len(have.Metric) < maxSeries {
				have.Metric = append(have.Metric, proto.Clone(m).(*dto.Metric))
			}
		}
	}
}

// addMetric adds a metric to another of the same family and labels. join is what is done with gauges instead of adding them; nil: nothing is.
func addMetric(sum, m *dto.Metric, join func(a, b float64) float64) {
	switch {
	case m.GetCounter() != nil:
		sum.Counter = &dto.Counter{Value: proto.Float64(sum.GetCounter().GetValue() + m.GetCounter().GetValue())}
	case m.GetGauge() != nil && join != nil:
		sum.Gauge = &dto.Gauge{Value: proto.Float64(join(sum.GetGauge().GetValue(), m.GetGauge().GetValue()))}
	case m.GetGauge() != nil:
		sum.Gauge = &dto.Gauge{Value: proto.Float64(sum.GetGauge().GetValue() + m.GetGauge().GetValue())}
	case m.GetHistogram() != nil:
		h, other := sum.GetHistogram(), m.GetHistogram()
		h.SampleCount = proto.Uint64(h.GetSampleCount() + other.GetSampleCount())
		h.SampleSum = proto.Float64(h.GetSampleSum() + other.GetSampleSum())
		for i, b := range h.GetBucket() { // of two versions, the buckets that both have
			if i < len(other.GetBucket()) && other.Bucket[i].GetUpperBound() == b.GetUpperBound() {
				b.CumulativeCount = proto.Uint64(b.GetCumulativeCount() + other.Bucket[i].GetCumulativeCount())
			}
		}
	}
}

// labels names a metric of a family.
func labels(m *dto.Metric) string {
	var b strings.Builder
	for _, l := range m.GetLabel() {
		fmt.Fprintf(&b, "%q=%q,", l.GetName(), l.GetValue())
	}
	return b.String()
}

var _ prometheus.Gatherer = (*engineMetrics)(nil)
