// Package coldfstest mounts volumes of tier cold for tests: it does what strata-mountd does, with the real kernel, and runs the engine as a process of its own.
//
// The engine is the test binary itself (Main), built as the test is, so that `go test -race` covers it. It isn't in the test's process, because a page fault in a mapping of the
// mount would stop the runtime that has to answer it.
package coldfstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// asEngine has the engineTask in JSON.
const asEngine = "STRATA_COLDFSTEST_ENGINE"

// Main makes the test binary an engine when Mount starts it as one. A package's TestMain calls it first.
func Main() {
	task := os.Getenv(asEngine)
	if task == "" {
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	err := coldfs.Seal()
	var o coldfs.Options
	var e engineTask
	if err == nil {
		err = json.Unmarshal([]byte(task), &e)
	}
	if err == nil {
		o.Limits, o.Pauses = e.Limits, e.Pauses
		o.Fuse, o.Control = os.NewFile(control.FDFuse, "/dev/fuse"), os.NewFile(control.FDControl, "control")
		o.Config, err = coldfs.ReadConfig(os.NewFile(control.FDConfig, "config"))
	}
	if err == nil {
		o.Credentials, err = coldfs.ReadCredentials(os.NewFile(control.FDCredentials, "credentials"))
	}
	if err == nil {
		err = coldfs.Run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "the engine ends:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// engineTask is what an engine is told besides its configuration.
type engineTask struct {
	Limits coldfs.Limits
	Pauses coldfs.Pauses
}

// Options of a mount. The zero Options are a volume in a bucket of its own.
type Options struct {
	// Config changes what Mount makes up.
	Config func(*config.Config)
	// Pauses replace the engine's.
	Pauses coldfs.Pauses
	// Endpoint replaces the server's, for a proxy before it.
	Endpoint string
	// Credentials replace the server's.
	Credentials *control.Credentials
	// Limits are lower ones of the engine.
	Limits coldfs.Limits
	// Watched: the engine tells all the time what it counts, for Wait and Most.
	Watched bool
	// Deaf: the holder, which is this package, doesn't answer what the engine asks it.
	Deaf bool
	// Fails: the engine is expected not to start.
	Fails bool
}

// Mount is a mounted volume.
type Mount struct {
	Dir    string // where it is mounted
	Config config.Config

	deaf    bool
	fuse    *os.File
	conn    *net.UnixConn
	cmd     *exec.Cmd
	log     lockedBuffer
	ended   chan struct{}
	started chan struct{} // closed when the engine said Ready or Failed, or ended
	silent  chan struct{} // closed when the engine has said its last

	mu     sync.Mutex
	init   []byte
	ready  bool
	failed *control.Failure
	health control.Health
	told   chan struct{} // closed and replaced when health changes
	counts map[string]*dto.MetricFamily
	most   map[string]float64 // of gauges
	tells  chan struct{}      // closed and replaced when the engine has told what it counts
}

// Start mounts a volume of a bucket. It is unmounted when the test ends; what the engine printed is shown if the test fails.
func Start(t testing.TB, server *s3test.Server, bucket string, o Options) *Mount {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("mounting needs root")
	}
	location := server.Location(bucket)
	if o.Endpoint != "" {
		location.Endpoint = o.Endpoint
	}
	m := &Mount{
		Dir: t.TempDir(), deaf: o.Deaf, ended: make(chan struct{}), started: make(chan struct{}), silent: make(chan struct{}), told: make(chan struct{}), tells: make(chan struct{}), most: map[string]float64{},
		Config: config.Config{
			Volume: "cold:test:" + bucket, Store: location, Prefix: "vol/", MetadataTTL: time.Second,
			DirMode: 0o755, FileMode: 0o644, CacheDir: t.TempDir(), CacheLimit: 1 << 30, Passthrough: 1,
		},
	}
	if o.Config != nil {
		o.Config(&m.Config)
	}
	credentials := control.Credentials{AccessKeyID: server.Credentials.AccessKeyID, SecretAccessKey: server.Credentials.SecretAccessKey}
	if o.Credentials != nil {
		credentials = *o.Credentials
	}
	if err := m.start(credentials, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Stop()
		for _, bad := range []string{"DATA RACE", "panic", "fatal error"} {
			if strings.Contains(m.Log(), bad) {
				t.Errorf("the engine has printed %q", bad)
			}
		}
		if t.Failed() {
			t.Logf("the engine's output:\n%s", m.Log())
		}
	})
	<-m.started
	if m.ready == o.Fails {
		t.Fatalf("the engine is ready: %v, %+v\n%s", m.ready, m.failed, m.Log())
	}
	return m
}

func (m *Mount) start(credentials control.Credentials, o Options) error {
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("/dev/fuse: %w", err)
	}
	m.fuse = os.NewFile(uintptr(fd), "/dev/fuse")
	options := fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions", fd)
	var flags uintptr = unix.MS_NOSUID | unix.MS_NODEV
	if m.Config.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	if err := unix.Mount("strata-test", m.Dir, "fuse.strata-coldfs", flags, options); err != nil {
		return fmt.Errorf("mount: %w", err)
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours, theirs := os.NewFile(uintptr(pair[0]), "control"), os.NewFile(uintptr(pair[1]), "control")
	defer ours.Close()
	defer theirs.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		return err
	}
	m.conn = conn.(*net.UnixConn)
	settings, err := jsonFile(m.Config)
	if err != nil {
		return err
	}
	defer settings.Close()
	secret, err := jsonFile(credentials)
	if err != nil {
		return err
	}
	defer secret.Close()
	task := engineTask{Limits: o.Limits, Pauses: o.Pauses}
	if o.Watched {
		task.Pauses.Metrics = 20 * time.Millisecond
	}
	raw, err := json.Marshal(task)
	if err != nil {
		return err
	}
	m.cmd = exec.Command(os.Args[0])
	m.cmd.Env = append(os.Environ(), asEngine+"="+string(raw))
	m.cmd.ExtraFiles = []*os.File{m.fuse, settings, secret, theirs}
	m.cmd.Stdout, m.cmd.Stderr = &m.log, &m.log
	if err := m.cmd.Start(); err != nil {
		return err
	}
	go m.listen()
	go func() {
		_ = m.cmd.Wait()
		close(m.ended)
	}()
	return nil
}

// jsonFile is an open file that has no name any more.
func jsonFile(v any) (*os.File, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("coldfstest", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "memory")
	if _, err := file.WriteAt(raw, 0); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (m *Mount) listen() {
	raw, rights := make([]byte, control.MaxMessage+1), make([]byte, unix.CmsgSpace(4))
	backings := m.Backings()
	heard := sync.OnceFunc(func() { close(m.started) })
	defer close(m.silent)
	defer heard()
	for {
		n, rn, _, _, err := m.conn.ReadMsgUnix(raw, rights)
		if err != nil || n == 0 {
			return
		}
		var message control.Message
		if err := json.Unmarshal(raw[:n], &message); err != nil {
			continue
		}
		if message.Backing != nil {
			m.back(backings, *message.Backing, rights[:rn])
			continue
		}
		m.mu.Lock()
		switch {
		case message.Init != nil:
			m.init = message.Init
		case message.Ready:
			m.ready = true
			heard()
		case message.Failed != nil:
			m.failed = message.Failed
			heard()
		case message.Health != nil:
			m.health = *message.Health
			close(m.told)
			m.told = make(chan struct{})
		case message.Metrics != nil:
			m.counts = map[string]*dto.MetricFamily{}
			for d := expfmt.NewDecoder(bytes.NewReader(message.Metrics), control.MetricsFormat); ; {
				var family dto.MetricFamily
				if err := d.Decode(&family); err != nil {
					break
				}
				m.counts[family.GetName()] = &family
				if metrics := family.GetMetric(); len(metrics) == 1 && metrics[0].Gauge != nil {
					m.most[family.GetName()] = max(m.most[family.GetName()], metrics[0].GetGauge().GetValue())
				}
			}
			close(m.tells)
			m.tells = make(chan struct{})
		}
		m.mu.Unlock()
	}
}

// Backings are the mount's backing files, as strata-mountd has them, without those that the engine has asked for.
func (m *Mount) Backings() *control.Backings {
	return &control.Backings{Fuse: m.fuse, Dir: m.Config.CacheDir, UID: uint32(os.Getuid())}
}

// back is what strata-mountd does when an engine asks for a backing file.
func (m *Mount) back(b *control.Backings, r control.BackingRequest, rights []byte) {
	var file *os.File
	if messages, err := unix.ParseSocketControlMessage(rights); err == nil && len(messages) == 1 {
		if fds, err := unix.ParseUnixRights(&messages[0]); err == nil && len(fds) == 1 {
			file = os.NewFile(uintptr(fds[0]), "backing")
			defer file.Close()
		}
	}
	if m.deaf {
		return
	}
	if answer := b.Do(r, file); answer != nil {
		raw, _ := json.Marshal(control.Order{Backing: answer})
		_, _ = m.conn.Write(raw)
	}
}

// Count is what the engine has told of a counter or gauge, or of how often an operation was asked for, after it has ended.
func (m *Mount) Count(name, operation string) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, metric := range m.counts[name].GetMetric() {
		if len(metric.GetLabel()) > 0 && metric.GetLabel()[0].GetValue() != operation {
			continue
		}
		switch {
		case metric.Histogram != nil:
			return float64(metric.GetHistogram().GetSampleCount())
		case metric.Counter != nil:
			return metric.GetCounter().GetValue()
		}
		return metric.GetGauge().GetValue()
	}
	return 0
}

// Most is the most that a watched engine has told of a gauge since it began or since Forget.
func (m *Mount) Most(name string) float64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.most[name]
}

// Forget lets Most begin anew.
func (m *Mount) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.most = map[string]float64{}
}

// Wait waits until a watched engine tells of a gauge what is wanted.
func (m *Mount) Wait(t testing.TB, name string, wanted func(float64) bool) {
	t.Helper()
	for limit := time.After(time.Minute); ; {
		m.mu.Lock()
		tells := m.tells
		m.mu.Unlock()
		select {
		case <-tells:
		case <-limit:
			t.Fatalf("%s is %v", name, m.Count(name, ""))
		}
		if wanted(m.Count(name, "")) {
			return
		}
	}
}

// Leave closes the holder's end of the socket, as its death does.
func (m *Mount) Leave() { _ = m.conn.Close() }

// Path is a path in the mount.
func (m *Mount) Path(name ...string) string {
	return filepath.Join(append([]string{m.Dir}, name...)...)
}

// Init is the INIT request that the engine has told.
func (m *Mount) Init() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.init
}

// Failure is why the engine didn't start.
func (m *Mount) Failure() *control.Failure {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed
}

// Await waits until the conditions that the engine tells have exactly these reasons.
func (m *Mount) Await(t testing.TB, reasons ...string) {
	t.Helper()
	limit := time.After(time.Minute)
	for {
		m.mu.Lock()
		told := m.told
		var now []string
		for _, c := range m.health.Conditions {
			now = append(now, c.Reason)
		}
		m.mu.Unlock()
		if strings.Join(now, " ") == strings.Join(reasons, " ") {
			return
		}
		select {
		case <-told:
		case <-limit:
			t.Fatalf("the conditions are %q, want %q", now, reasons)
		}
	}
}

// Order sends an order to the engine; files go with it.
func (m *Mount) Order(t testing.TB, o control.Order, files ...*os.File) {
	t.Helper()
	raw, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	if _, _, err := m.conn.WriteMsgUnix(raw, oob, nil); err != nil {
		t.Fatal(err)
	}
}

// NewCredentials sends credentials to the engine.
func (m *Mount) NewCredentials(t testing.TB, c s3.Credentials) {
	t.Helper()
	file, err := jsonFile(control.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken})
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m.Order(t, control.Order{Credentials: true}, file)
}

// PID is the engine's process.
func (m *Mount) PID() int { return m.cmd.Process.Pid }

// Log is what the engine printed.
func (m *Mount) Log() string { return m.log.String() }

// Kill ends the engine at once and the connection behind it.
func (m *Mount) Kill() {
	_ = m.cmd.Process.Kill()
	<-m.ended
	m.close()
}

// Terminate asks the engine to end, and waits; its error is that of the process. The connection ends with it.
func (m *Mount) Terminate() error {
	_ = m.cmd.Process.Signal(syscall.SIGTERM)
	<-m.ended
	m.close()
	if code := m.cmd.ProcessState.ExitCode(); code != 0 {
		return fmt.Errorf("the engine ended with %d", code)
	}
	return nil
}

// Unmount unmounts the volume, which nobody may have open, and waits for the engine.
func (m *Mount) Unmount() error {
	if err := unix.Unmount(m.Dir, 0); err != nil {
		return err
	}
	<-m.ended
	<-m.silent
	m.close()
	return nil
}

// Stop unmounts, whoever has what open; it may be called more than once.
func (m *Mount) Stop() {
	_ = unix.Unmount(m.Dir, unix.MNT_DETACH)
	select {
	case <-m.ended:
	case <-time.After(20 * time.Second):
		// Somebody has something open still, or the engine hangs.
		_ = m.cmd.Process.Kill()
		<-m.ended
	}
	m.close()
}

func (m *Mount) close() {
	_ = m.fuse.Close()
	_ = m.conn.Close()
	_ = unix.Unmount(m.Dir, unix.MNT_DETACH)
}

// lockedBuffer is what a process prints.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
