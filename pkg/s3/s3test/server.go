package s3test

// The server as a process of its own: it can be killed as a store can die.

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/s3"
)

// Server is a running S3 server on 127.0.0.1. It ends with the test.
type Server struct {
	Endpoint    string // http://127.0.0.1:PORT
	Credentials s3.Credentials
	Dir         string // has the buckets as directories

	program string
	listen  string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	ended   chan struct{}
	log     *logBuffer
}

// Start starts a server with no bucket. Its files go away with the test.
func Start(t testing.TB) *Server {
	t.Helper()
	s := &Server{
		Credentials: s3.Credentials{AccessKeyID: "TEST" + rand.Text()[:12], SecretAccessKey: rand.Text()},
		Dir:         t.TempDir(),
		program:     Program(t),
		log:         &logBuffer{},
	}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the S3 server's output:\n%s", s.log)
		}
	})
	var err error
	for range 10 { // another process may take the port between
		s.listen = freePort(t)
		s.Endpoint = "http://" + s.listen
		if err = s.start(); err == nil {
			return s
		}
	}
	t.Fatalf("starting the S3 server: %v", err)
	return nil
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Start starts a server again that was stopped or killed, at the same endpoint and with what it had.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("starting the S3 server again: %v", err)
	}
}

func (s *Server) start() error {
	cmd := exec.Command(s.program, "-listen", s.listen, "-dir", s.Dir)
	cmd.Dir = filepath.Dir(s.Dir)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	s.cmd, s.stdin, s.ended = cmd, stdin, make(chan struct{})
	go func(ended chan struct{}) {
		_ = cmd.Wait()
		close(ended)
	}(s.ended)
	if _, err := fmt.Fprintf(stdin, "%s\n%s\n", s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey); err != nil {
		s.Kill()
		return fmt.Errorf("%w\n%s", err, s.log)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.Endpoint, nil)
		if err != nil {
			return err
		}
		response, err := http.DefaultClient.Do(request)
		if err == nil {
			response.Body.Close()
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("it ended at once\n%s", s.log)
		case <-ctx.Done():
			s.Kill()
			return fmt.Errorf("it doesn't answer: %w\n%s", err, s.log)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *Server) signal(sig syscall.Signal) {
	if s.cmd != nil {
		_ = s.cmd.Process.Signal(sig)
	}
}

// Stop asks the server to end, and waits until it has.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Kill ends the server at once.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

func (s *Server) end(sig syscall.Signal) {
	if s.cmd == nil {
		return
	}
	s.signal(sig)
	<-s.ended
	_ = s.stdin.Close()
	s.cmd = nil
}

// Freeze lets the server stand still: connections are accepted by the kernel and nothing answers.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw lets it go on.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

var buckets atomic.Int64

// Bucket is a client of a new bucket, with the options' defaults.
func (s *Server) Bucket(t testing.TB) *s3.Bucket {
	t.Helper()
	b := s.Open(t, s.Endpoint, fmt.Sprintf("bucket-%d", buckets.Add(1)), s3.Options{})
	if err := b.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

// Location is that of a bucket of the server, whether it exists or not.
func (s *Server) Location(bucket string) s3.Location {
	return s3.Location{Endpoint: s.Endpoint, PathStyle: true, Bucket: bucket}
}

// Open makes a client of a bucket at endpoint, which is the server's or that of a proxy before it. It makes no bucket.
func (s *Server) Open(t testing.TB, endpoint, bucket string, o s3.Options) *s3.Bucket {
	t.Helper()
	l := s.Location(bucket)
	l.Endpoint = endpoint
	b, err := s3.Open(l, func() s3.Credentials { return s.Credentials }, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// logBuffer keeps the end of what the server says.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len() > 64<<10 {
		l.text.Next(32 << 10)
	}
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.TrimSpace(l.text.String())
}
