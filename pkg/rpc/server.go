package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"k8s.io/klog/v2"
)

const (
	// maxMessage is the largest request, in bytes. The specification keeps every field far below it.
	maxMessage = 4 << 20
	// maxCalls is how many calls one connection may have at once; more wait in the caller.
	maxCalls = 512

	defaultDeadline = 2 * time.Minute
	defaultGrace    = 30 * time.Second
	// lastWait is for cancelled calls to notice that they are.
	lastWait = 5 * time.Second
)

// Options of a server. Only DriverName is needed.
type Options struct {
	DriverName string                // label of the metric
	Registerer prometheus.Registerer // of the metrics of the calls; nil: none
	Deadline   time.Duration         // of a call that comes without one; 0: 2 minutes
	Tracing    trace.TracerProvider  // of a span for each call; nil: none
	Grace      time.Duration         // for running calls at the end, after which they are cancelled; 0: 30 seconds
}

// Server is a gRPC server with the interceptors of this package.
type Server struct {
	*grpc.Server // to register services with
	grace        time.Duration
}

// New makes a server whose calls log to the context's logger. The error is that of registering the metric.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Deadline <= 0 {
		o.Deadline = defaultDeadline
	}
	if o.Grace <= 0 {
		o.Grace = defaultGrace
	}
	chain := []grpc.UnaryServerInterceptor{withRequestID(klog.FromContext(ctx)), logged}
	s := &Server{grace: o.Grace}
	if o.Registerer != nil {
		operations, flying := newOperations(), newCalls(func() []string { return methodsOf(s.Server) })
		for _, c := range []prometheus.Collector{operations, flying} {
			if err := o.Registerer.Register(c); err != nil {
				return nil, fmt.Errorf("metrics of the calls: %w", err)
			}
		}
		chain = append(chain, measured(o.DriverName, operations, flying))
	}
	chain = append(chain, recovered, coded, bounded(o.Deadline))
	options := []grpc.ServerOption{
		grpc.ChainUnaryInterceptor(chain...),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxConcurrentStreams(maxCalls),
	}
	if o.Tracing != nil {
		options = append(options, grpc.StatsHandler(spans(o.Tracing)))
	}
	s.Server = grpc.NewServer(options...)
	return s, nil
}

// Run serves the listener until ctx ends. Then it takes no new call, lets the running ones finish for the time of grace, cancels what
// still runs, and returns nil. It returns an error when the listener fails, or when a cancelled call goes on regardless.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	select {
	case err := <-served:
		if err == nil || errors.Is(err, grpc.ErrServerStopped) {
			return errors.New("the server was stopped by something other than its context")
		}
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	finished := make(chan struct{})
	go func() {
		s.GracefulStop()
		close(finished)
	}()
	select {
	case <-finished:
		return nil
	case <-time.After(s.grace):
	}
	klog.FromContext(ctx).Info("Calls are still running after the time of grace and are cancelled", "grace", s.grace)
	s.Stop()
	select {
	case <-finished:
		return nil
	case <-time.After(lastWait):
		return errors.New("calls go on although they were cancelled")
	}
}
