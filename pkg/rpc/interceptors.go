package rpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
)

// Verbosity of the log. Failures are always shown.
const (
	levelCall  = 4 // a call and its request
	levelReply = 5 // its reply too
	levelPoll  = 6 // the calls that sidecars and kubelet repeat every few seconds
)

type requestIDKey struct{}

// withRequestID gives the call an id, and the context a logger that says it in every line.
func withRequestID(log klog.Logger) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		var b [6]byte
		rand.Read(b[:]) // never fails
		id := hex.EncodeToString(b[:])
		log := log.WithValues("method", shortMethod(info.FullMethod), "request", id)
		name, subject := subjectOf(req)
		if subject != "" {
			log = log.WithValues(name, subject)
		}
		if trace := describeSpan(ctx, id, name, subject); trace != "" {
			log = log.WithValues("trace", trace)
		}
		ctx = context.WithValue(ctx, requestIDKey{}, id)
		return next(klog.NewContext(ctx, log), req)
	}
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestIDKey{}).(string)
	return id
}

// shortMethod is "Controller/CreateVolume" of "/csi.v1.Controller/CreateVolume".
func shortMethod(full string) string {
	return strings.TrimPrefix(strings.TrimPrefix(full, "/"), "csi.v1.")
}

// subjectOf is what the request is about, as far as its fields say it in the CSI way.
func subjectOf(req any) (kind, id string) {
	if r, ok := req.(interface{ GetVolumeId() string }); ok && r.GetVolumeId() != "" {
		return "volume", short(r.GetVolumeId())
	}
	if r, ok := req.(interface{ GetSnapshotId() string }); ok && r.GetSnapshotId() != "" {
		return "snapshot", short(r.GetSnapshotId())
	}
	if r, ok := req.(interface{ GetName() string }); ok {
		return "name", short(r.GetName())
	}
	return "", ""
}

// logged writes one line for a failed call, and at higher verbosity the beginning and end of every call.
func logged(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	log := klog.FromContext(ctx)
	level := levelOf(info.FullMethod)
	log.V(level).Info("Call begins", "body", redacted{req})
	start := time.Now()
	resp, err := next(ctx, req)
	took := time.Since(start).Round(time.Millisecond)
	switch code := status.Code(err); {
	case err == nil:
		log.V(level).Info("Call ended", "code", code.String(), "duration", took)
		log.V(max(level, levelReply)).Info("Reply", "body", redacted{resp})
	case code == codes.Internal || code == codes.Unknown || code == codes.DataLoss:
		log.Error(nil, "Call failed", "code", code.String(), "duration", took, "reason", status.Convert(err).Message())
	default:
		// Refusals and retries are the caller's business and part of a normal day.
		log.Info("Call refused", "code", code.String(), "duration", took, "reason", status.Convert(err).Message())
	}
	return resp, err
}

func levelOf(method string) int {
	switch shortMethod(method) {
	case "Identity/Probe", "Identity/GetPluginInfo", "Identity/GetPluginCapabilities",
		"Controller/ControllerGetCapabilities", "Node/NodeGetCapabilities", "Node/NodeGetVolumeStats":
		return levelPoll
	}
	return levelCall
}

// recovered answers a panic with Internal, so that one call's defect doesn't end the calls beside it. The stack is in
// the log, and the answer has the request id to find it by; what was in the panic stays out of the answer.
func recovered(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (resp any, err error) {
	defer func() {
		if p := recover(); p != nil {
			klog.FromContext(ctx).Error(fmt.Errorf("panic: %v", p), "Call panicked", "stack", string(debug.Stack()))
			resp, err = nil, status.Errorf(codes.Internal, "internal error; the log has it under request %s", requestID(ctx))
		}
	}()
	return next(ctx, req)
}

// coded turns the error of a service into a gRPC status.
func coded(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	resp, err := next(ctx, req)
	if err != nil {
		return nil, toStatus(err).Err()
	}
	return resp, nil
}

// answerTime is what bounded keeps of a caller's deadline, at most: the time in which the answer gets back to it. Without it, what
// a service says at the deadline is never heard, and the caller only knows that its time was up.
const answerTime = time.Second

// bounded gives a call without a deadline one, and ends a call with one a little before its caller leaves.
func bounded(limit time.Duration) grpc.UnaryServerInterceptor {
	return func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
		left := limit
		if deadline, ok := ctx.Deadline(); ok {
			left = time.Until(deadline)
			left -= min(answerTime, left/10)
		}
		ctx, cancel := context.WithTimeout(ctx, left)
		defer cancel()
		return next(ctx, req)
	}
}
