package rpc

// Spans of OpenTelemetry, one for each call. They say what the call was about and how it ended, as the log does, and hold nothing else
// of the messages: no secret can be in them.

import (
	"context"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/stats"
)

// spans makes them. The calls that are repeated every few seconds have none. A caller that sends its own trace (W3C Trace Context) gets
// the call into it.
func spans(provider trace.TracerProvider) stats.Handler {
	return otelgrpc.NewServerHandler(
		otelgrpc.WithTracerProvider(provider),
		otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(func(info *stats.RPCTagInfo) bool { return levelOf(info.FullMethodName) != levelPoll }),
	)
}

// describeSpan adds to the call's span what its log lines have, and returns the id of the trace if it is recorded.
func describeSpan(ctx context.Context, request, kind, subject string) string {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return ""
	}
	span.SetAttributes(attribute.String("strata.request", request))
	if subject != "" {
		span.SetAttributes(attribute.String("strata."+kind, subject))
	}
	return span.SpanContext().TraceID().String()
}
