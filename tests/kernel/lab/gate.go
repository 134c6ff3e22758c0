package lab

// The host's end of the agent's connections: a listener on 127.0.0.1 that keeps what
// begins with the machine's token and hands it out, one connection per request.

import (
	"context"
	"crypto/subtle"
	"io"
	"net"
	"time"
)

type gate struct {
	listener net.Listener
	token    string
	ready    chan net.Conn
	closed   chan struct{}
}

func openGate(token string) (*gate, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gate{listener: l, token: token, ready: make(chan net.Conn), closed: make(chan struct{})}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go g.admit(c)
		}
	}()
	return g, nil
}

func (g *gate) port() int { return g.listener.Addr().(*net.TCPAddr).Port }

func (g *gate) close() error {
	select {
	case <-g.closed:
		return nil
	default:
		close(g.closed)
		return g.listener.Close()
	}
}

// admit checks the first line of c and keeps c until someone takes it.
func (g *gate) admit(c net.Conn) {
	line := make([]byte, len(g.token)+1)
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err == nil {
		_, err = io.ReadFull(c, line)
		if err == nil && subtle.ConstantTimeCompare(line, []byte(g.token+"\n")) == 1 && c.SetReadDeadline(time.Time{}) == nil {
			select {
			case g.ready <- c:
				return
			case <-g.closed:
			}
		}
	}
	_ = c.Close()
}

// conn returns a connection on which the agent serves one request.
func (m *Machine) conn(ctx context.Context) (net.Conn, error) {
	select {
	case c := <-m.gate.ready:
		return c, nil
	case <-m.dead:
		return nil, m.exit
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
