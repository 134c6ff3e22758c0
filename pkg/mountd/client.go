package mountd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// Client asks the holder on a Unix socket. The zero Client with a Socket is ready; it is safe for concurrent use.
type Client struct{ Socket string }

// defaultTime bounds a call whose context has no deadline.
const defaultTime = time.Minute

// Ping says whether a holder of this protocol answers. The error wraps ErrNoServer when none does.
func (c Client) Ping(ctx context.Context) error {
	_, err := c.call(ctx, request{Op: opPing}, nil)
	return err
}

// Available says whether a holder of this protocol answers and can start clients of the kind. The error wraps ErrNoServer when none answers.
func (c Client) Available(ctx context.Context, kind string) error {
	_, err := c.call(ctx, request{Op: opPing, Kind: kind}, nil)
	return err
}

// Start mounts, or finds the mount that an equal Start made; a dead one is replaced. It returns when the mount answers. The key goes to the
// client as a descriptor and is kept by nobody. That of strata-coldfs is a control.Credentials in JSON.
func (c Client) Start(ctx context.Context, spec Spec, key []byte) error {
	if err := spec.check(); err != nil {
		return err
	}
	f, err := secret(key)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = c.call(ctx, request{Op: opStart, Spec: &spec}, f)
	return err
}

// Renew hands new credentials to the engine of the mount at a mountpoint, which uses them from its next request on. ErrNotFound: there is none;
// ErrDetached: an earlier holder started it, and it goes on with what it has.
func (c Client) Renew(ctx context.Context, mountpoint string, secretText []byte) error {
	f, err := secret(secretText)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = c.call(ctx, request{Op: opRenew, Mountpoint: mountpoint}, f)
	return err
}

// Stop unmounts, when something is still mounted, and waits for the process to end. A mount that isn't there is no error.
func (c Client) Stop(ctx context.Context, mountpoint string) error {
	_, err := c.call(ctx, request{Op: opStop, Mountpoint: mountpoint}, nil)
	return err
}

// List returns every mount that the holder knows, dead ones included.
func (c Client) List(ctx context.Context) ([]Status, error) {
	return c.call(ctx, request{Op: opList}, nil)
}

// Health returns what the holder knows of the mount at a mountpoint, and whether it knows it.
func (c Client) Health(ctx context.Context, mountpoint string) (Status, bool, error) {
	all, err := c.List(ctx)
	for _, s := range all {
		if s.Spec.Mountpoint == mountpoint {
			return s, true, nil
		}
	}
	return Status{}, false, err
}

func (c Client) call(ctx context.Context, r request, key *os.File) ([]Status, error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, defaultTime)
		defer cancel()
	}
	deadline, _ := ctx.Deadline()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unixpacket", c.Socket)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
			return nil, fmt.Errorf("%w on %s: is it running on this node?", ErrNoServer, c.Socket)
		}
		return nil, fmt.Errorf("%w: %w", ErrNoServer, err)
	}
	unixConn := conn.(*net.UnixConn)
	defer unixConn.Close()
	stop := context.AfterFunc(ctx, func() { _ = unixConn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	r.Version, r.Timeout = Version, time.Until(deadline)
	fd := -1
	if key != nil {
		fd = int(key.Fd())
	}
	if err := send(unixConn, r, fd); err != nil {
		return nil, ended(ctx, err)
	}
	var mounts []Status
	for {
		var answer reply
		if _, err := receive(unixConn, maxMessage, &answer); err != nil {
			return nil, ended(ctx, err)
		}
		if answer.Code != "" {
			return nil, &remoteError{sentinel: errorOf(answer.Code), text: answer.Message}
		}
		if answer.Mount != nil {
			mounts = append(mounts, *answer.Mount)
		}
		if !answer.More {
			return mounts, nil
		}
	}
}

// ended says that the caller's time was up rather than that the connection broke.
func ended(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("strata-mountd: %w", ctx.Err())
	}
	if errors.Is(err, ErrInvalid) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNoServer, err)
}

// remoteError is an error of the server with its own words.
type remoteError struct {
	sentinel error
	text     string
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.sentinel }
