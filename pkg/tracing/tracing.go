// Package tracing sends spans of the CSI calls to a collector of OpenTelemetry.
package tracing

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/pflag"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/version"
)

// Options are the values of the flags. The zero Options trace nothing.
type Options struct {
	// Endpoint is the host:port of a collector, OTLP over gRPC without TLS: one on the same node or in the same cluster. Empty: nothing is traced.
	Endpoint string
	// SamplingRate is the part of the calls, 0 to 1, that are traced; of a call whose caller says whether it is traced, that holds.
	SamplingRate float64
}

// AddFlags adds the flags to a program's.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.Endpoint, "tracing-endpoint", "", "host:port of an OpenTelemetry collector (OTLP over gRPC, without TLS) that traces of the calls are sent to; empty: none")
	flags.Float64Var(&o.SamplingRate, "tracing-sampling-rate", 1, "part of the calls to trace, 0 to 1, where the caller doesn't say")
}

// Validate says which option is wrong and what it may be.
func (o Options) Validate() error {
	if o.Endpoint == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(o.Endpoint)
	if number, notNumber := strconv.ParseUint(port, 10, 16); err != nil || host == "" || notNumber != nil || number == 0 {
		return fmt.Errorf("--tracing-endpoint: %q is not host:port, such as otel-collector.monitoring:4317", o.Endpoint)
	}
	if !(o.SamplingRate >= 0 && o.SamplingRate <= 1) {
		return fmt.Errorf("--tracing-sampling-rate: %v is not between 0 and 1", o.SamplingRate)
	}
	return nil
}

const (
	// exportTime is how long one transfer may take; meanwhile a bounded queue takes the spans, and those that don't fit are dropped.
	exportTime = 5 * time.Second
	// closeTime is what is left for the last spans when the program ends.
	closeTime = 2 * time.Second
)

// Start returns where spans are begun, nil when nothing is traced, and what ends it. It waits for no collector, and neither does any
// call: spans are sent in the background, and dropped when nobody takes them.
func Start(ctx context.Context, o Options, service string) (trace.TracerProvider, func(), error) {
	if err := o.Validate(); err != nil {
		return nil, nil, err
	}
	if o.Endpoint == "" {
		return nil, func() {}, nil
	}
	otel.SetLogger(klog.FromContext(ctx))
	otel.SetErrorHandler(&complaints{log: klog.FromContext(ctx)})
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(o.Endpoint), otlptracegrpc.WithInsecure(), otlptracegrpc.WithTimeout(exportTime))
	if err != nil {
		return nil, nil, fmt.Errorf("--tracing-endpoint: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, err
	}
	provider := sdk.NewTracerProvider(
		sdk.WithBatcher(exporter, sdk.WithExportTimeout(exportTime)),
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(o.SamplingRate))),
		sdk.WithResource(resource.NewSchemaless(attribute.String("service.name", service), attribute.String("service.version", version.String()),
			attribute.String("host.name", host))),
	)
	return provider, func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			klog.FromContext(ctx).Info("The last traces could not be sent", "cause", err)
		}
	}, nil
}

// complaints logs what goes wrong with sending, once until it is something else: a collector may be gone for days.
type complaints struct {
	log klog.Logger

	mu   sync.Mutex
	said string
}

// Handle is called by the exporter's own goroutines.
func (c *complaints) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if text := err.Error(); text != c.said {
		c.said = text
		c.log.Info("Traces can't be sent and are dropped", "cause", text)
	}
}
