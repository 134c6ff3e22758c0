package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// process is one program, killed with the test when not before.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *logBuffer
	done chan struct{}
	err  error
}

// logBuffer keeps what a program writes, for the failure message and the search for secrets.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// launch starts a program. It dies with the thread that started it, hence with a test process that is killed.
func launch(t testing.TB, log *logBuffer, env []string, name string, args ...string) *process {
	t.Helper()
	return launchOn(t, nil, log, env, name, args...)
}

// launchOn starts a program on a machine; nil: on this one.
func launchOn(t testing.TB, m *Machine, log *logBuffer, env []string, name string, args ...string) *process {
	t.Helper()
	p := &process{name: name, log: log, done: make(chan struct{})}
	started := make(chan error, 1)
	path := program(t, name)
	go func() {
		// The parent-death signal is bound to the thread: it must live as long as the program.
		lockThread()
		if err := m.enter(); err != nil {
			started <- err
			return
		}
		p.cmd = exec.Command(path, args...)
		p.cmd.Env = append(os.Environ(), env...)
		p.cmd.Stdout, p.cmd.Stderr = log, log
		p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return p
}

// kill ends the program with SIGKILL and waits.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// crash has the program end as by a fault of its own, with all that it then says, and waits.
func (p *process) crash() {
	_ = p.cmd.Process.Signal(syscall.SIGABRT)
	<-p.done
}

// stop ends the program with SIGTERM and waits.
func (p *process) stop(limit time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return nil
	case <-time.After(limit):
		p.kill()
		return fmt.Errorf("%s did not stop within %s of SIGTERM", p.name, limit)
	}
}

// exited says whether the program has ended.
func (p *process) exited() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// dial connects to a program's CSI socket and waits until it is ready.
func dial(t testing.TB, p *process, socket string) *grpc.ClientConn {
	t.Helper()
	// Not before the socket is there: after a refusal gRPC would wait a second.
	Eventually(t, p.name+" listening", Patience, func() error {
		if p.exited() {
			t.Fatalf("%s ended: %v\n%s", p.name, p.err, p.log)
		}
		c, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		return c.Close()
	})
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	client := csi.NewIdentityClient(conn)
	Eventually(t, p.name+" ready", Patience, func() error {
		if p.exited() {
			t.Fatalf("%s ended: %v\n%s", p.name, p.err, p.log)
		}
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		resp, err := client.Probe(ctx, &csi.ProbeRequest{})
		if err == nil && resp.GetReady() != nil && !resp.GetReady().GetValue() {
			err = errors.New("not ready yet")
		}
		return err
	})
	return conn
}

// showLog prints the end of a log when the test failed.
func showLog(t testing.TB, name string, log *logBuffer) {
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		text := log.String()
		if len(text) > 6000 {
			text = "..." + text[len(text)-6000:]
		}
		t.Logf("log of %s:\n%s", name, text)
	})
}

// shortDir is a directory for sockets, whose paths may have 107 bytes at most, removed with the test. The name of the test, which
// t.TempDir puts into the path, would be too long.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "s")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		// Never across a mount: what is still mounted below must not lose its files.
		if err := removeUnmounted(dir); err != nil {
			t.Errorf("left over: %v", err)
		}
	})
	return dir
}
