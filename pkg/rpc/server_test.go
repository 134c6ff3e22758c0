package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/textlogger"

	"github.com/strata-csi/strata/pkg/volume"
)

// controller answers CreateVolume with a function.
type controller struct {
	csi.UnimplementedControllerServer
	create func(ctx context.Context, name string) error
}

func (c controller) CreateVolume(ctx context.Context, r *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	if err := c.create(ctx, r.GetName()); err != nil {
		return nil, err
	}
	return &csi.CreateVolumeResponse{}, nil
}

// buffer is a bytes.Buffer for several writers.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

type running struct {
	csi.ControllerClient
	log  *buffer
	stop context.CancelFunc // begins the graceful stop
	done <-chan error       // Run's result
}

func serve(t *testing.T, o Options, create func(context.Context, string) error) running {
	t.Helper()
	r := running{log: &buffer{}}
	logger := textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(r.log), textlogger.Verbosity(levelReply)))
	ctx, cancel := context.WithCancel(klog.NewContext(t.Context(), logger))
	r.stop = cancel
	o.DriverName = "csi.example.com"
	s, err := New(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	csi.RegisterControllerServer(s, controller{create: create})
	endpoint := "unix://" + filepath.Join(t.TempDir(), "csi.sock")
	l, err := Listen(ctx, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		done <- s.Run(ctx, l)
		close(done)
	}()
	r.done = done
	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	r.ControllerClient = csi.NewControllerClient(conn)
	t.Cleanup(func() {
		conn.Close()
		cancel()
		for range done {
		}
	})
	return r
}

func TestACallIsAnsweredLoggedAndMeasured(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	r := serve(t, Options{Registerer: registry}, func(_ context.Context, name string) error {
		switch name {
		case "panic":
			panic("a secret of the implementation")
		case "taken":
			return fmt.Errorf("%w: another size", volume.ErrExists)
		case "broken":
			return errors.New("index out of order")
		}
		return nil
	})
	for _, c := range []struct {
		name    string
		code    codes.Code
		message string
		log     []string
	}{
		{"well", codes.OK, "", []string{"Call begins", "Call ended", "Reply", "userKey", "***"}},
		{"taken", codes.AlreadyExists, "already exists and differs: another size", []string{"Call refused", "another size"}},
		{"broken", codes.Internal, "index out of order", []string{"Call failed", "index out of order"}},
		{"panic", codes.Internal, "internal error; the log has it under request ", []string{"Call panicked", "a secret of the implementation", "server_test.go", "Call failed"}},
		{"well", codes.OK, "", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := len(r.log.String())
			_, err := r.CreateVolume(t.Context(), &csi.CreateVolumeRequest{Name: c.name, Secrets: map[string]string{"userKey": sesame}})
			s := status.Convert(err)
			if s.Code() != c.code || !strings.HasPrefix(s.Message(), c.message) || strings.Contains(s.Message(), "implementation") {
				t.Errorf("got %v %q, want %v %q", s.Code(), s.Message(), c.code, c.message)
			}
			log := r.log.String()[before:]
			for _, w := range append(c.log, `method="Controller/CreateVolume"`, `name="`+c.name+`"`, "request=") {
				if !strings.Contains(log, w) {
					t.Errorf("%q is not in the log:\n%s", w, log)
				}
			}
			if strings.Contains(log, sesame) {
				t.Errorf("the secret is in the log:\n%s", log)
			}
			if err != nil && strings.Count(log, c.log[0]) != 1 {
				t.Errorf("not logged once:\n%s", log)
			}
		})
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			labels := []string{f.GetName()}
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			counts[strings.Join(labels, " ")] = m.GetHistogram().GetSampleCount()
		}
	}
	for labels, want := range map[string]uint64{"OK": 2, "AlreadyExists": 1, "Internal": 2} {
		key := "csi_plugin_operations_seconds csi.example.com " + labels + " /csi.v1.Controller/CreateVolume"
		if counts[key] != want {
			t.Errorf("%s = %d, want %d (all: %v)", key, counts[key], want, counts)
		}
	}
}

func TestACallWithoutADeadlineGetsOne(t *testing.T) {
	r := serve(t, Options{Deadline: 20 * time.Millisecond}, func(ctx context.Context, _ string) error {
		<-ctx.Done()
		return ctx.Err()
	})
	if _, err := r.CreateVolume(t.Context(), &csi.CreateVolumeRequest{}); status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("got %v", err)
	}
}

func TestTheCallersDeadlineStays(t *testing.T) {
	left := make(chan time.Duration, 1)
	r := serve(t, Options{Deadline: time.Millisecond}, func(ctx context.Context, _ string) error {
		d, _ := ctx.Deadline()
		left <- time.Until(d)
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	if _, err := r.CreateVolume(ctx, &csi.CreateVolumeRequest{}); err != nil {
		t.Fatal(err)
	}
	if d := <-left; d < 59*time.Minute {
		t.Errorf("the call had %v left of an hour", d)
	}
}

func TestAHugeRequestIsRefused(t *testing.T) {
	r := serve(t, Options{}, func(context.Context, string) error { return nil })
	_, err := r.CreateVolume(t.Context(), &csi.CreateVolumeRequest{Name: strings.Repeat("a", maxMessage+1)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", status.Code(err))
	}
}

func TestStopLetsARunningCallFinish(t *testing.T) {
	begun, finish := make(chan struct{}), make(chan struct{})
	r := serve(t, Options{Grace: time.Minute}, func(ctx context.Context, name string) error {
		close(begun)
		<-finish
		return ctx.Err()
	})
	answer := make(chan error, 1)
	go func() {
		_, err := r.CreateVolume(context.WithoutCancel(t.Context()), &csi.CreateVolumeRequest{})
		answer <- err
	}()
	<-begun
	r.stop()
	select {
	case err := <-r.done:
		t.Fatalf("the server ended before its call: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(finish)
	if err := <-answer; err != nil {
		t.Errorf("the call: %v", err)
	}
	if err := <-r.done; err != nil {
		t.Errorf("the server: %v", err)
	}
}

func TestStopCancelsACallThatTakesTooLong(t *testing.T) {
	begun := make(chan struct{})
	r := serve(t, Options{Grace: 10 * time.Millisecond}, func(ctx context.Context, name string) error {
		close(begun)
		<-ctx.Done()
		return ctx.Err()
	})
	answer := make(chan error, 1)
	go func() {
		_, err := r.CreateVolume(t.Context(), &csi.CreateVolumeRequest{})
		answer <- err
	}()
	<-begun
	r.stop()
	if err := <-r.done; err != nil {
		t.Errorf("the server: %v", err)
	}
	if err := <-answer; err == nil {
		t.Error("the call succeeded")
	}
}
