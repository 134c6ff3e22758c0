package rpc

// A Unix socket that belongs to one process at a time: a live one is never taken from its owner, a dead one is replaced.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxSocketPath is sizeof(sockaddr_un.sun_path) less the final NUL (unix(7)).
	maxSocketPath = 107
	// socketMode keeps other users of the machine out: whoever can connect can mount and delete volumes.
	socketMode = 0o600
	lockWait   = 5 * time.Second
	probeWait  = 2 * time.Second
)

// ErrInUse says that another process serves the socket.
var ErrInUse = errors.New("another process serves this socket")

// SocketPath returns the path in an endpoint: "unix:///run/csi.sock", "unix:/run/csi.sock" or the path alone, absolute. A TCP
// endpoint is refused: CSI has no authentication of its own, and a socket's permissions are all that guards it.
func SocketPath(endpoint string) (string, error) {
	path := endpoint
	if scheme, rest, ok := strings.Cut(endpoint, ":"); ok && !strings.Contains(scheme, "/") {
		if scheme != "unix" {
			return "", fmt.Errorf("endpoint %q: only unix:///absolute/path is served", endpoint)
		}
		path = rest
		if after, ok := strings.CutPrefix(rest, "//"); ok {
			path = after
		}
	}
	if !filepath.IsAbs(path) {
		return "", fmt.Errorf("endpoint %q: must be unix:///absolute/path", endpoint)
	}
	path = filepath.Clean(path)
	if len(path) > maxSocketPath {
		return "", fmt.Errorf("endpoint %q: the path has %d bytes and a socket's may have %d", endpoint, len(path), maxSocketPath)
	}
	return path, nil
}

// Listen listens on the endpoint (see SocketPath) with mode 0600, in a directory that must exist. A socket that nobody serves is replaced;
// one that somebody serves is ErrInUse, and a file that is no socket is refused. Closing the listener removes the socket.
func Listen(ctx context.Context, endpoint string) (net.Listener, error) {
	path, err := SocketPath(endpoint)
	if err != nil {
		return nil, err
	}
	// Two processes that start at once must not remove each other's new socket: look, remove and bind are one step.
	unlock, err := lockDir(ctx, filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	defer unlock()
	if err := removeStale(ctx, path); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	// The mode of an unbound socket is the mode of the file that bind makes (Linux, unix_bind): there is no moment
	// in which another user could connect.
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		cerr := c.Control(func(fd uintptr) { err = unix.Fchmod(int(fd), socketMode) })
		return errors.Join(err, cerr)
	}}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", path, err)
	}
	return l, nil
}

// lockDir takes the lock of a directory, which needs no file that would be left over.
func lockDir(ctx context.Context, dir string) (unlock func(), err error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, lockWait)
	defer cancel()
	for {
		err := unix.Flock(int(d.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { d.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			d.Close()
			return nil, fmt.Errorf("lock %s: %w", dir, err)
		}
		select {
		case <-ctx.Done():
			d.Close()
			return nil, fmt.Errorf("lock %s: held by another process: %w", dir, ctx.Err())
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// removeStale removes a socket that nobody serves.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is not a socket, and it is not removed")
	}
	d := net.Dialer{Timeout: probeWait}
	c, err := d.DialContext(ctx, "unix", path)
	if err == nil {
		defer c.Close()
		if pid := peer(c); pid > 0 {
			return fmt.Errorf("%w (process %d)", ErrInUse, pid)
		}
		return ErrInUse
	}
	// Only a refusal proves that nobody listens; a full backlog, say, is a process that is busy.
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w, or did: %w", ErrInUse, err)
	}
	return os.Remove(path)
}

// peer is the process that made the listening socket, or 0.
func peer(c net.Conn) int {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0
	}
	pid := 0
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			pid = int(cred.Pid)
		}
	})
	return pid
}
