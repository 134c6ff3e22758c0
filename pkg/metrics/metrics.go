// Package metrics serves the process's metrics, and on request its profiles, over HTTP.
package metrics

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/version"
)

// NewRegistry returns a registry with the metrics of the Go runtime, the process, and the build:
// strata_build_info{version}, always 1.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "strata_build_info",
		Help:        "Which build runs; always 1.",
		ConstLabels: prometheus.Labels{"version": version.String()},
	}, func() float64 { return 1 })
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), build)
	return r
}

// Options of the server.
type Options struct {
	Address  string // host:port, such as 127.0.0.1:9080; port 0 takes a free one. An empty host is refused: it would mean every interface.
	Gatherer prometheus.Gatherer
	// Profiles serves /debug/pprof/. It is off unless asked: a heap profile can hold parts of secrets.
	Profiles bool
	// Healthy, when not nil, decides /healthz: 200, or 503 with the error.
	Healthy func(context.Context) error
}

// Validate says what is wrong with the options.
func (o Options) Validate() error {
	host, _, err := net.SplitHostPort(o.Address)
	if err != nil {
		return fmt.Errorf("metrics address %q: must be host:port, such as 127.0.0.1:9080: %w", o.Address, err)
	}
	if host == "" {
		return fmt.Errorf("metrics address %q: needs a host, such as 127.0.0.1; 0.0.0.0 means every interface", o.Address)
	}
	return nil
}

// Handler serves /metrics, /healthz and, when asked, /debug/pprof/.
func Handler(o Options) http.Handler {
	mux := http.NewServeMux()
	// A collector that fails takes only its own metrics with it; promhttp_metric_handler_errors_total and the log tell.
	opts := promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError, ErrorLog: errorLog{}}
	if r, ok := o.Gatherer.(prometheus.Registerer); ok {
		opts.Registry = r
	}
	mux.Handle("GET /metrics", promhttp.HandlerFor(o.Gatherer, opts))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		if o.Healthy != nil {
			if err := o.Healthy(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusServiceUnavailable)
				return
			}
		}
		fmt.Fprintln(w, "ok")
	})
	if o.Profiles {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// errorLog is where the handler tells what it could not gather.
type errorLog struct{}

func (errorLog) Println(v ...any) {
	klog.Background().Error(nil, "Metrics", "cause", strings.TrimSpace(fmt.Sprintln(v...)))
}

// Server is listening and not yet serving.
type Server struct {
	listener net.Listener
	http     *http.Server
}

// Listen takes the address.
func Listen(ctx context.Context, o Options) (*Server, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	return &Server{listener: l, http: &http.Server{Handler: Handler(o), ReadHeaderTimeout: 10 * time.Second}}, nil
}

// Addr is the address that was taken.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Run serves until ctx ends and returns nil then.
func (s *Server) Run(ctx context.Context) error {
	served := make(chan error, 1)
	go func() { served <- s.http.Serve(s.listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("metrics: %w", err)
	case <-ctx.Done():
	}
	// A scrape takes milliseconds; a profile that still runs isn't worth waiting for.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := s.http.Shutdown(closing); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("metrics: %w", err)
	}
	return s.http.Close()
}
