package lab

// What a test asks of a machine.

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"

	"github.com/strata-csi/strata/tests/kernel/agent"
)

// Exec runs c to its end; the program is killed when ctx ends. A program that fails
// is no error here: see Result.Code.
func (m *Machine) Exec(ctx context.Context, c agent.Command) (agent.Result, error) {
	var r agent.Result
	body, err := json.Marshal(c)
	if err != nil {
		return r, err
	}
	return r, m.call(ctx, agent.PathExec, nil, bytes.NewReader(body), &r)
}

// Run runs a program and returns what it printed, without the space around it. An
// exit code other than 0 is an error.
func (m *Machine) Run(ctx context.Context, args ...string) (string, error) {
	r, err := m.Exec(ctx, agent.Command{Args: args})
	if err == nil && r.Code != 0 {
		err = fmt.Errorf("exit code %d: %s", r.Code, strings.TrimSpace(string(r.Stderr)))
	}
	if err != nil {
		err = fmt.Errorf("in the machine: %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(r.Stdout)), err
}

// Start starts a program that goes on running under name, its output in
// agent.LogPath(name). It does not end with ctx.
func (m *Machine) Start(ctx context.Context, name string, c agent.Command) error {
	body, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return m.call(ctx, agent.PathStart, url.Values{"name": {name}}, bytes.NewReader(body), nil)
}

// Signal sends a signal to the program started as name.
func (m *Machine) Signal(ctx context.Context, name string, signal syscall.Signal) error {
	return m.call(ctx, agent.PathSignal, url.Values{"name": {name}, "signal": {strconv.Itoa(int(signal))}}, http.NoBody, nil)
}

// Wait waits for the program started as name and returns its exit code.
func (m *Machine) Wait(ctx context.Context, name string) (int, error) {
	var r agent.Result
	err := m.call(ctx, agent.PathWait, url.Values{"name": {name}}, nil, &r)
	return r.Code, err
}

// Log returns the output so far of the program started as name.
func (m *Machine) Log(ctx context.Context, name string) (string, error) {
	b, err := m.ReadFile(ctx, agent.LogPath(name))
	return string(b), err
}

// Network changes what becomes of the forwarded ports: agent.NetworkUp and so on.
func (m *Machine) Network(ctx context.Context, state string) error {
	return m.call(ctx, agent.PathNetwork, url.Values{"state": {state}}, http.NoBody, nil)
}

// ReadFile reads a file of the machine.
func (m *Machine) ReadFile(ctx context.Context, path string) ([]byte, error) {
	resp, err := m.do(ctx, http.MethodGet, agent.PathFile, url.Values{"path": {path}}, nil)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// WriteFile writes a file of the machine.
func (m *Machine) WriteFile(ctx context.Context, path string, content io.Reader, mode os.FileMode) error {
	resp, err := m.do(ctx, http.MethodPut, agent.PathFile, url.Values{"path": {path}, "mode": {strconv.FormatUint(uint64(mode.Perm()), 8)}}, content)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// PutFile copies a file of the host to the machine, with its permissions.
func (m *Machine) PutFile(ctx context.Context, path, from string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	return m.WriteFile(ctx, path, f, st.Mode())
}

// Dial connects to a Unix socket in the machine: a server there, a gRPC one for
// instance, is talked to from the host as if it were here.
func (m *Machine) Dial(ctx context.Context, socket string) (net.Conn, error) {
	resp, c, r, err := m.request(ctx, http.MethodGet, agent.PathDial, url.Values{"path": {socket}}, nil)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, errors.Join(failure(resp), c.Close())
	}
	return &joined{Conn: c, r: r}, nil
}

// joined is a connection of which some bytes have been read already.
type joined struct {
	net.Conn
	r *bufio.Reader
}

func (j *joined) Read(p []byte) (int, error) { return j.r.Read(p) }

// call posts body and decodes the JSON answer into reply, if that isn't nil.
func (m *Machine) call(ctx context.Context, path string, q url.Values, body io.Reader, reply any) error {
	resp, err := m.do(ctx, http.MethodPost, path, q, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if reply == nil {
		_, err = io.Copy(io.Discard, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(reply)
}

// do sends a request and returns the answer of one that succeeded. Closing the
// answer's body closes the connection.
func (m *Machine) do(ctx context.Context, method, path string, q url.Values, body io.Reader) (*http.Response, error) {
	resp, c, _, err := m.request(ctx, method, path, q, body)
	if err != nil {
		return nil, err
	}
	resp.Body = &bodyOf{ReadCloser: resp.Body, conn: c}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.Join(failure(resp), resp.Body.Close())
	}
	return resp, nil
}

// bodyOf closes its connection with the body: there is one request to a connection.
type bodyOf struct {
	io.ReadCloser
	conn net.Conn
}

func (b *bodyOf) Close() error { return errors.Join(b.ReadCloser.Close(), b.conn.Close()) }

// request sends one request over a connection of its own. The end of ctx closes the
// connection until the answer's head has arrived, which the agent takes as "stop".
func (m *Machine) request(ctx context.Context, method, path string, q url.Values, body io.Reader) (*http.Response, net.Conn, *bufio.Reader, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://guest"+path+"?"+q.Encode(), body)
	if err != nil {
		return nil, nil, nil, err
	}
	c, err := m.conn(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	fail := func(err error) (*http.Response, net.Conn, *bufio.Reader, error) {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		select {
		case <-m.dead:
			err = errors.Join(err, m.exit)
		default:
		}
		return nil, nil, nil, errors.Join(fmt.Errorf("agent%s: %w", path, err), c.Close())
	}
	if err := req.Write(c); err != nil {
		return fail(err)
	}
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, req)
	if err != nil {
		return fail(err)
	}
	return resp, c, r, nil
}

// failure is the error of an answer that isn't success.
func failure(resp *http.Response) error {
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return fmt.Errorf("agent: %s", strings.TrimSpace(string(text)))
}
