// Package registration makes a CSI driver known to kubelet, as the sidecar node-driver-registrar does: through a socket in kubelet's
// plugins_registry, on which kubelet is the client (k8s.io/kubelet/pkg/apis/pluginregistration/v1).
//
// What kubelet does (pkg/kubelet/pluginmanager and pkg/volume/csi/csi_plugin.go of Kubernetes 1.35): it registers what has a socket in the
// directory, when it starts and when one appears, and forgets the driver when the socket is removed. It calls GetInfo, then NodeGetInfo
// at the CSI socket, and last NotifyRegistrationStatus. After a refusal it may take the socket for done with and never ask again, so
// the socket is made anew.
package registration

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	v1 "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/strata-csi/strata/pkg/rpc"
)

// csiVersion is what kubelet is told that the driver speaks. kubelet takes any 1.x.
const csiVersion = "1.0.0"

// firstWait and lastWait bound the time between a refusal and the next try, which doubles.
const (
	firstWait = time.Second
	lastWait  = time.Minute
	// lookEvery is how often it is made sure that the socket is still there: nobody else tells.
	lookEvery = 10 * time.Second
	// answerWait is for the answer to kubelet's last call.
	answerWait = time.Second
)

// Options are what a Registration needs; all are required.
type Options struct {
	// Dir is kubelet's plugins_registry, DIR/plugins_registry for kubelet's --root-dir.
	Dir string
	// Driver is the name of the CSI driver.
	Driver string
	// Endpoint is the path of the CSI socket, as kubelet sees it.
	Endpoint string
}

// Registration is one driver's, for as long as it runs.
type Registration struct {
	v1.UnimplementedRegistrationServer
	options             Options
	firstWait, lastWait time.Duration
	lookEvery           time.Duration

	refused chan struct{} // one refusal that Run hasn't seen
	peer    atomic.Int32  // the process that connected last, 0 when it is in no PID namespace of ours

	mu  sync.Mutex
	err error // why kubelet doesn't have the driver; nil: it has
}

// New returns a Registration that does nothing before Run.
func New(o Options) *Registration {
	r := &Registration{options: o, firstWait: firstWait, lastWait: lastWait, lookEvery: lookEvery, refused: make(chan struct{}, 1)}
	r.err = fmt.Errorf("kubelet hasn't asked for the registration at %s yet; it does within seconds when it runs and that is its plugins_registry", r.socket())
	return r
}

func (r *Registration) socket() string {
	return filepath.Join(r.options.Dir, r.options.Driver+"-reg.sock")
}

// Ready says why kubelet doesn't use the driver, or nil.
func (r *Registration) Ready(context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *Registration) set(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.err = err
}

// SeesKubelet says whether kubelet's process is in this process's PID namespace, or one below: then so are the containers of its pods. It
// is known since kubelet accepted the registration.
func (r *Registration) SeesKubelet() bool {
	return r.Ready(context.Background()) == nil && r.peer.Load() > 0
}

// GetInfo is kubelet's first call.
func (r *Registration) GetInfo(context.Context, *v1.InfoRequest) (*v1.PluginInfo, error) {
	return &v1.PluginInfo{Type: v1.CSIPlugin, Name: r.options.Driver, Endpoint: r.options.Endpoint, SupportedVersions: []string{csiVersion}}, nil
}

// NotifyRegistrationStatus is kubelet's last call: it has the driver now, or why not.
func (r *Registration) NotifyRegistrationStatus(ctx context.Context, s *v1.RegistrationStatus) (*v1.RegistrationStatusResponse, error) {
	if s.GetPluginRegistered() {
		r.set(nil)
		klog.FromContext(ctx).Info("kubelet has registered the driver", "driver", r.options.Driver)
		return &v1.RegistrationStatusResponse{}, nil
	}
	r.set(fmt.Errorf("kubelet refused to register %s: %s", r.options.Driver, s.GetError()))
	select {
	case r.refused <- struct{}{}:
	default:
	}
	return &v1.RegistrationStatusResponse{}, nil
}

// Run serves the socket until ctx ends and removes it then, so that kubelet sends no more requests. What goes wrong is logged, tried
// again, and meanwhile said by Ready. The CSI socket must be served before: kubelet calls it at once.
func (r *Registration) Run(ctx context.Context) error {
	backoff := wait.Backoff{Duration: r.firstWait, Cap: r.lastWait, Factor: 2, Steps: 1 << 30, Jitter: 0.1}
	next := backoff
	for {
		err := r.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errLost) {
			next = backoff
		}
		pause := next.Step()
		r.set(err)
		klog.FromContext(ctx).Error(err, "Registering with kubelet; it is tried again", "in", pause)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
	}
}

// errLost: somebody removed the socket, with kubelet's whole directory perhaps.
var errLost = errors.New("the registration socket was removed by somebody else")

// serve serves one socket until ctx ends, kubelet refuses, or the socket is lost.
func (r *Registration) serve(ctx context.Context) error {
	l, err := rpc.Listen(ctx, r.socket())
	if err != nil {
		return err
	}
	made, err := os.Lstat(r.socket())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	server := grpc.NewServer(grpc.UnaryInterceptor(func(call context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		return handle(klog.NewContext(call, klog.FromContext(ctx)), req)
	}))
	v1.RegisterRegistrationServer(server, r)
	served := make(chan error, 1)
	go func() { served <- server.Serve(&listener{l, &r.peer}) }()
	defer stop(server)
	tick := time.NewTicker(r.lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return fmt.Errorf("serve %s: %w", r.socket(), err)
		case <-r.refused:
			if err := r.Ready(ctx); err != nil {
				return err
			}
		case <-tick.C:
			if now, err := os.Lstat(r.socket()); err != nil || !os.SameFile(made, now) {
				if u, ok := l.(*net.UnixListener); ok {
					u.SetUnlinkOnClose(false) // what is there now isn't ours
				}
				return fmt.Errorf("%w: %s", errLost, r.socket())
			}
		}
	}
}

// stop closes the socket at once and lets the call that is being answered end.
func stop(server *grpc.Server) {
	ended := time.AfterFunc(answerWait, server.Stop)
	defer ended.Stop()
	server.GracefulStop()
}

// listener remembers who connected last.
type listener struct {
	net.Listener
	peer *atomic.Int32
}

func (l *listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.peer.Store(peer(c))
	}
	return c, err
}

// peer is the process at the other end, or 0: one outside of this PID namespace (unix(7), SO_PEERCRED).
func peer(c net.Conn) int32 {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	pid := int32(0)
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = cred.Pid
		}
	})
	return pid
}
