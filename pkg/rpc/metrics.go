package rpc

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
)

// newOperations is the histogram that Kubernetes' own CSI sidecars and many drivers export, with the same name, labels and
// buckets, so that existing dashboards and alerts work (kubernetes-csi/csi-lib-utils, package metrics).
func newOperations() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "csi_plugin_operations_seconds",
		Help:    "Duration of CSI calls in seconds by method and gRPC status code.",
		Buckets: []float64{.1, .25, .5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600},
	}, []string{"driver_name", "method_name", "grpc_status_code"})
}

// stuckAfter is how long a call runs before it counts as stuck. Sidecars and kubelet give up after a minute or two and ask
// again, so a call that is older holds up more than its own caller.
const stuckAfter = time.Minute

var (
	inFlightDesc = prometheus.NewDesc("strata_calls_in_flight", "CSI calls that run now.", []string{"method_name"}, nil)
	stuckDesc    = prometheus.NewDesc("strata_stuck_calls",
		fmt.Sprintf("CSI calls that run now and have for more than %.0f seconds.", stuckAfter.Seconds()), []string{"method_name"}, nil)
)

// calls knows the calls in flight. Every method that is served has its metrics from the start.
type calls struct {
	methods func() []string // full names, of what is served
	now     func() time.Time

	mu   sync.Mutex
	next int
	runs map[int]call
}

type call struct {
	method string
	begun  time.Time
}

func newCalls(methods func() []string) *calls {
	return &calls{methods: methods, now: time.Now, runs: map[int]call{}}
}

// begin counts a call until the returned function is called.
func (c *calls) begin(method string) (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.next
	c.next++
	c.runs[id] = call{method, c.now()}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.runs, id)
	}
}

// Describe makes calls a prometheus.Collector.
func (*calls) Describe(ch chan<- *prometheus.Desc) {
	ch <- inFlightDesc
	ch <- stuckDesc
}

// Collect makes calls a prometheus.Collector.
func (c *calls) Collect(ch chan<- prometheus.Metric) {
	running, stuck := map[string]int{}, map[string]int{}
	for _, m := range c.methods() {
		running[m] = 0
	}
	c.mu.Lock()
	for _, r := range c.runs {
		running[r.method]++
		if c.now().Sub(r.begun) > stuckAfter {
			stuck[r.method]++
		}
	}
	c.mu.Unlock()
	for method, n := range running {
		ch <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(n), method)
		ch <- prometheus.MustNewConstMetric(stuckDesc, prometheus.GaugeValue, float64(stuck[method]), method)
	}
}

// methodsOf are the full names of what a server serves, as interceptors see them.
func methodsOf(s *grpc.Server) []string {
	var all []string
	for service, info := range s.GetServiceInfo() {
		for _, m := range info.Methods {
			if !m.IsClientStream && !m.IsServerStream {
				all = append(all, "/"+service+"/"+m.Name)
			}
		}
	}
	return all
}

// measured observes each call.
func measured(driver string, operations *prometheus.HistogramVec, flying *calls) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		defer flying.begin(info.FullMethod)()
		start := time.Now()
		resp, err := next(ctx, req)
		operations.WithLabelValues(driver, info.FullMethod, status.Code(err).String()).Observe(time.Since(start).Seconds())
		return resp, err
	}
}
