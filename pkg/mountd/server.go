package mountd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/metrics"
)

// Options of a server.
type Options struct {
	Socket   string // path of the Unix socket; its directory is made with mode 0700
	StateDir string // records of the mounts; one holder at a time
	LogDir   string // what the clients print
	CephFuse string // path or name of ceph-fuse; empty: the kind is not served
	ColdFS   ColdFSOptions
	// MetricsAddress is where Prometheus metrics and /healthz are served, host:port; empty: nowhere.
	MetricsAddress string
	// AllowUID is the one user who may ask, by the peer's credentials of the kernel.
	AllowUID uint32
}

// Validate says which option is wrong.
func (o Options) Validate() error {
	for _, f := range []struct{ flag, value string }{{"--socket", o.Socket}, {"--state-dir", o.StateDir}, {"--log-dir", o.LogDir}} {
		if !filepath.IsAbs(f.value) {
			return fmt.Errorf("%s: %q is not an absolute path", f.flag, f.value)
		}
	}
	if len(o.Socket) > 107 {
		return fmt.Errorf("--socket: %d bytes; a Unix socket's path has 107 at most", len(o.Socket))
	}
	if o.CephFuse == "" && o.ColdFS.Binary == "" {
		return errors.New("--ceph-fuse, --coldfs: one of them must be given; without either nothing can be mounted")
	}
	if err := o.ColdFS.validate(); err != nil {
		return err
	}
	if o.MetricsAddress != "" {
		if err := (metrics.Options{Address: o.MetricsAddress}).Validate(); err != nil {
			return fmt.Errorf("--metrics-address: %w", err)
		}
	}
	return nil
}

// idle is how long a connection may take to send its request.
const idle = 10 * time.Second

// maxTime bounds a request whatever its caller asks.
const maxTime = 5 * time.Minute

// Run holds mounts and answers requests until ctx ends. It ends no mount: they go on without a holder, and the next one adopts them.
func Run(ctx context.Context, o Options) error {
	if err := o.Validate(); err != nil {
		return err
	}
	h, err := newHolder(ctx, o)
	if err != nil {
		return err
	}
	defer h.store.close()
	l, err := listen(o.Socket)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	klog.FromContext(ctx).Info("Holding mounts", "socket", o.Socket, "known", len(h.mounts))
	serving, cancel := context.WithCancel(ctx)
	var calls sync.WaitGroup
	defer func() { cancel(); calls.Wait() }()
	calls.Go(func() { h.tidy(serving) })
	failed := make(chan error, 1)
	if o.MetricsAddress != "" {
		run, err := h.serveMetrics(serving, o.MetricsAddress)
		if err != nil {
			_ = l.Close()
			return err
		}
		calls.Go(func() {
			if err := run(); err != nil {
				failed <- err
				_ = l.Close()
			}
		})
	}
	for {
		conn, err := l.AcceptUnix()
		if err != nil {
			select {
			case err := <-failed:
				return err
			default:
			}
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept: %w", err)
		}
		calls.Go(func() {
			defer conn.Close()
			h.serve(serving, conn, o.AllowUID)
		})
	}
}

// listen makes the socket. The state directory's lock has shown that no other holder lives, so a socket that is there is a leftover.
func listen(path string) (*net.UnixListener, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	if info, err := os.Lstat(path); err == nil {
		if info.Mode().Type() != os.ModeSocket {
			return nil, fmt.Errorf("%s exists and isn't a socket", path)
		}
		if c, err := net.Dial("unixpacket", path); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("another strata-mountd answers on %s", path)
		}
		if err := os.Remove(path); err != nil {
			return nil, err
		}
	}
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	return l, os.Chmod(path, 0o600)
}

// serve answers the one request of a connection.
func (h *holder) serve(ctx context.Context, conn *net.UnixConn, allowed uint32) {
	_ = conn.SetReadDeadline(time.Now().Add(idle))
	answer := reply{Version: Version}
	mounts, err := h.handle(ctx, conn, allowed)
	_ = conn.SetWriteDeadline(time.Now().Add(idle))
	for i := 0; i < len(mounts) && err == nil; i++ {
		err = send(conn, reply{Version: Version, Mount: &mounts[i], More: true}, -1)
	}
	if err != nil {
		h.refused.Add(1)
		answer.Code, answer.Message = codeOf(err), err.Error()
		klog.FromContext(ctx).Info("Refused", "reason", err.Error())
	}
	if err := send(conn, answer, -1); err != nil {
		klog.FromContext(ctx).Info("The caller left before its answer", "reason", err.Error())
	}
}

func (h *holder) handle(ctx context.Context, conn *net.UnixConn, allowed uint32) ([]Status, error) {
	// The request is read whoever sent it: a caller that is closed off while it writes would not hear why.
	var r request
	key, err := receive(conn, maxRequest, &r)
	if key != nil {
		defer key.Close()
	}
	if err := errors.Join(checkPeer(conn, allowed), err); err != nil {
		return nil, err
	}
	if r.Version != Version {
		return nil, fmt.Errorf("%w: protocol version %d; this strata-mountd speaks %d: upgrade both", ErrInvalid, r.Version, Version)
	}
	limit := maxTime
	if r.Timeout > 0 {
		limit = min(limit, r.Timeout)
	}
	// A little less than the caller has, so that the answer reaches it.
	ctx, cancel := context.WithTimeout(ctx, limit-min(time.Second, limit/10))
	defer cancel()
	switch r.Op {
	case opPing:
		return nil, h.available(r.Kind)
	case opList:
		return h.list()
	case opStop:
		return nil, h.stop(ctx, r.Mountpoint)
	case opStart:
		if r.Spec == nil {
			return nil, fmt.Errorf("%w: start without a spec", ErrInvalid)
		}
		if err := h.check(*r.Spec); err != nil {
			return nil, err
		}
		return nil, h.start(ctx, *r.Spec, key)
	case opRenew:
		return nil, h.renew(ctx, r.Mountpoint, key)
	}
	return nil, fmt.Errorf("%w: no operation %q", ErrInvalid, r.Op)
}

// checkPeer asks the kernel who is at the other end.
func checkPeer(conn *net.UnixConn, allowed uint32) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	if cred.Uid != allowed {
		return fmt.Errorf("%w: user %d may not ask, only user %d", ErrInvalid, cred.Uid, allowed)
	}
	return nil
}
