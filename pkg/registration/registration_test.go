package registration

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	v1 "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// kubelet plays kubelet's part: it dials as that does (operation_generator.go), asks, and says what it thinks of the driver.
type kubelet struct {
	*testing.T
	dir  string
	conn *grpc.ClientConn
}

func (k *kubelet) socket() string { return filepath.Join(k.dir, "csi.strata.dev-reg.sock") }

func (k *kubelet) dial() v1.RegistrationClient {
	k.Helper()
	conn, err := grpc.NewClient("passthrough:///"+k.socket(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", addr)
		}))
	if err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() { conn.Close() })
	k.conn = conn
	return v1.NewRegistrationClient(conn)
}

// register asks once and answers with status.
func (k *kubelet) register(status *v1.RegistrationStatus) *v1.PluginInfo {
	k.Helper()
	c := k.dial()
	info, err := c.GetInfo(k.Context(), &v1.InfoRequest{}, grpc.WaitForReady(true))
	if err != nil {
		k.Fatal(err)
	}
	if _, err := c.NotifyRegistrationStatus(k.Context(), status); err != nil {
		k.Fatal(err)
	}
	if err := k.conn.Close(); err != nil {
		k.Fatal(err)
	}
	return info
}

func (k *kubelet) await(what string, ok func() bool) {
	k.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			k.Fatalf("never: %s", what)
		}
	}
}

func (k *kubelet) stat() os.FileInfo {
	info, err := os.Lstat(k.socket())
	if err != nil {
		return nil
	}
	return info
}

// start runs a Registration with short waits; end stops it and returns Run's error.
func start(t *testing.T, dir string) (*Registration, *kubelet, func() error) {
	t.Helper()
	r := New(Options{Dir: dir, Driver: "csi.strata.dev", Endpoint: "/var/lib/kubelet/plugins/csi.strata.dev/csi.sock"})
	r.firstWait, r.lastWait, r.lookEvery = 10*time.Millisecond, 50*time.Millisecond, 20*time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	end := func() error {
		cancel()
		err := <-done
		done <- err
		return err
	}
	t.Cleanup(func() { _ = end() })
	return r, &kubelet{T: t, dir: dir}, end
}

var accepted = &v1.RegistrationStatus{PluginRegistered: true}

func TestKubeletRegistersTheDriver(t *testing.T) {
	r, k, end := start(t, t.TempDir())
	if err := r.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "hasn't asked") || r.SeesKubelet() {
		t.Errorf("before kubelet came: %v", err)
	}
	info := k.register(accepted)
	if info.GetType() != "CSIPlugin" || info.GetName() != "csi.strata.dev" || info.GetEndpoint() != r.options.Endpoint || len(info.GetSupportedVersions()) != 1 || info.GetSupportedVersions()[0] != "1.0.0" {
		t.Errorf("kubelet was told %v", info)
	}
	if err := r.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	if !r.SeesKubelet() {
		t.Error("a kubelet in this PID namespace isn't seen")
	}
	if mode := k.stat().Mode(); mode.Perm() != 0o600 || mode.Type() != os.ModeSocket {
		t.Errorf("the socket has mode %s", mode)
	}
	t.Run("and again after its restart", func(t *testing.T) {
		before := k.stat()
		k.register(accepted)
		if !os.SameFile(before, k.stat()) || r.Ready(t.Context()) != nil {
			t.Error("the socket didn't stay")
		}
	})
	if err := end(); err != nil {
		t.Error(err)
	}
	if k.stat() != nil {
		t.Error("the socket is left: kubelet would go on calling")
	}
}

func TestARefusalIsSaidAndTriedAgain(t *testing.T) {
	r, k, _ := start(t, t.TempDir())
	for range 3 {
		k.await("a socket", func() bool { return k.stat() != nil })
		before := k.stat()
		k.register(&v1.RegistrationStatus{Error: "node info: no topology"})
		if err := r.Ready(t.Context()); err == nil || !strings.Contains(err.Error(), "refused to register csi.strata.dev: node info: no topology") {
			t.Fatalf("ready says %v", err)
		}
		if r.SeesKubelet() {
			t.Error("it isn't known who refused")
		}
		// kubelet forgets what it refused when the socket goes.
		k.await("another socket", func() bool {
			now := k.stat()
			return now != nil && !(os.SameFile(before, now) && before.ModTime().Equal(now.ModTime()))
		})
	}
	k.register(accepted)
	k.await("ready", func() bool { return r.Ready(t.Context()) == nil })
}

func TestTheSocketOfADeadProcessIsReplaced(t *testing.T) {
	dir := t.TempDir()
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "csi.strata.dev-reg.sock"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	if err := dead.Close(); err != nil {
		t.Fatal(err)
	}
	r, k, _ := start(t, dir)
	k.register(accepted)
	if err := r.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTheSocketOfALivingProcessIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	first, k, end := start(t, dir)
	k.register(accepted)
	second, _, _ := start(t, dir)
	k.await("the second says why", func() bool {
		err := second.Ready(t.Context())
		return err != nil && strings.Contains(err.Error(), "another process")
	})
	if first.Ready(t.Context()) != nil {
		t.Error("the first lost it")
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	k.await("the second's socket", func() bool { return k.stat() != nil })
	k.register(accepted)
	k.await("the second is ready", func() bool { return second.Ready(t.Context()) == nil })
}

func TestALostSocketIsMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plugins_registry")
	r, k, _ := start(t, dir)
	k.await("why there is none", func() bool { return errors.Is(r.Ready(t.Context()), os.ErrNotExist) })
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	k.await("a socket", func() bool { return k.stat() != nil })
	k.register(accepted)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	k.await("the loss is noticed", func() bool { return r.Ready(t.Context()) != nil })
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	k.await("a socket again", func() bool { return k.stat() != nil })
	k.register(accepted)
	k.await("ready", func() bool { return r.Ready(t.Context()) == nil })
}
