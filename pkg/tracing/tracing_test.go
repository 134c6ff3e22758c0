package tracing_test

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/ceph/cephtrace"
	"github.com/strata-csi/strata/pkg/rpc"
	"github.com/strata-csi/strata/pkg/tracing"
)

const sesame = "open-sesame"

// receiver is a collector of OTLP.
type receiver struct {
	collector.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans []string // name, trace id, and everything else
}

func (r *receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, resource := range req.GetResourceSpans() {
		for _, scope := range resource.GetScopeSpans() {
			for _, s := range scope.GetSpans() {
				r.spans = append(r.spans, s.GetName()+" "+strings.ToLower(hex(s.GetTraceId()))+" "+resource.GetResource().String()+" "+s.String())
			}
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func hex(b []byte) string {
	const digits = "0123456789abcdef"
	var s strings.Builder
	for _, c := range b {
		s.WriteByte(digits[c>>4])
		s.WriteByte(digits[c&15])
	}
	return s.String()
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// controller answers CreateVolume with a look at a cluster.
type controller struct {
	csi.UnimplementedControllerServer
	look func(context.Context) error
}

func (c controller) CreateVolume(ctx context.Context, _ *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	return &csi.CreateVolumeResponse{}, c.look(ctx)
}

// serve serves traced calls and returns a client, and what ends all of it.
func serve(t *testing.T, o tracing.Options) (csi.ControllerClient, func()) {
	t.Helper()
	provider, stop, err := tracing.Start(t.Context(), o, "strata-test")
	if err != nil {
		t.Fatal(err)
	}
	s, err := rpc.New(t.Context(), rpc.Options{DriverName: "csi.example.com", Tracing: provider})
	if err != nil {
		t.Fatal(err)
	}
	conn := cephtrace.New(cephtest.New().Conn(), provider, "lab")
	csi.RegisterControllerServer(s, controller{look: func(ctx context.Context) error {
		if _, err := conn.Mon(ctx, map[string]any{"prefix": "fs dump", "format": "json", "key": sesame}); err != nil {
			return err
		}
		return conn.Tree("warm").MakeDir(ctx, "/traced")
	}})
	endpoint := "unix://" + filepath.Join(t.TempDir(), "s")
	l, err := rpc.Listen(t.Context(), endpoint)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	client, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return csi.NewControllerClient(client), func() {
		// The span of a call ends a moment after its caller has the answer.
		_ = client.Close()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		stop()
	}
}

func request() *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{Name: "pvc-1", Secrets: map[string]string{"userKey": sesame}}
}

func TestACollectorSeesTheCallAndItsCommands(t *testing.T) {
	var r receiver
	l := listen(t)
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, &r)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)

	c, stop := serve(t, tracing.Options{Endpoint: l.Addr().String(), SamplingRate: 0})
	if _, err := c.CreateVolume(t.Context(), request()); err != nil { // not sampled
		t.Fatal(err)
	}
	const trace = "0af7651916cd43dd8448eb211c80319c"
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	if _, err := c.CreateVolume(ctx, request()); err == nil { // the directory is there
		t.Fatal("no error")
	}
	stop()

	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, s := range r.spans {
		name, _, _ := strings.Cut(s, " "+trace)
		names = append(names, name)
		for _, want := range []string{trace, "strata-test", "service.version"} {
			if !strings.Contains(s, want) {
				t.Errorf("%q is not in %s", want, s)
			}
		}
		if strings.Contains(s, sesame) {
			t.Errorf("a secret is in %s", s)
		}
		if strings.HasPrefix(s, "csi.v1") && (!strings.Contains(s, "pvc-1") || !strings.Contains(s, "strata.request")) {
			t.Errorf("it isn't said what the call was about: %s", s)
		}
		if strings.HasPrefix(s, "cephfs") && (!strings.Contains(s, "STATUS_CODE_ERROR") || !strings.Contains(s, "/traced")) {
			t.Errorf("the error of the command isn't said: %s", s)
		}
	}
	slices.Sort(names)
	if want := []string{"cephfs MakeDir", "csi.v1.Controller/CreateVolume", "mon fs dump"}; !slices.Equal(names, want) {
		t.Errorf("spans %q, want %q", names, want)
	}
}

// A collector that takes connections and never answers, or is gone, costs no call anything.
func TestNoCallWaitsForTheCollector(t *testing.T) {
	silent := listen(t)
	t.Cleanup(func() { _ = silent.Close() })
	gone := listen(t)
	_ = gone.Close()
	for name, l := range map[string]net.Listener{"silent": silent, "gone": gone} {
		t.Run(name, func(t *testing.T) {
			c, stop := serve(t, tracing.Options{Endpoint: l.Addr().String(), SamplingRate: 1})
			// More spans than the queue takes, each call with a deadline that is shorter than any transfer's.
			for range 1200 {
				ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
				_, err := c.CreateVolume(ctx, request())
				cancel()
				if err != nil && ctx.Err() == context.DeadlineExceeded {
					t.Fatal(err)
				}
			}
			stop()
		})
	}
}

func TestOptions(t *testing.T) {
	for flag, o := range map[string]tracing.Options{
		"--tracing-endpoint":      {Endpoint: "http://collector"},
		"--tracing-endpoint:":     {Endpoint: ":4317"},
		"--tracing-sampling-rate": {Endpoint: "collector:4317", SamplingRate: 1.5},
	} {
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	provider, stop, err := tracing.Start(t.Context(), tracing.Options{}, "strata-test")
	if provider != nil || err != nil {
		t.Errorf("without an endpoint: %v, %v", provider, err)
	}
	stop()
}
