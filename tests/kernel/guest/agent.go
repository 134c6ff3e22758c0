package main

// The agent's connections: it dials the host and serves HTTP on what it dialled.

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/strata-csi/strata/tests/kernel/agent"
)

// spare is how many connections wait for a request.
const spare = 4

func serveAgent(ctx context.Context) error {
	cmdline, err := commandLine()
	if err != nil {
		return err
	}
	f := &forwarder{conns: make(map[net.Conn]struct{})}
	if err := f.listen(ctx, cmdline[agent.ParamPorts]); err != nil {
		return err
	}
	l := &callback{host: cmdline[agent.ParamHost], token: cmdline[agent.ParamToken], slots: make(chan struct{}, spare), idle: make(map[net.Conn]struct{})}
	server := &http.Server{Handler: newHandler(f), ConnState: l.state}
	return server.Serve(l)
}

// callback is a listener whose connections are dialled. It keeps a few of them
// waiting for a request and dials another when one is taken.
type callback struct {
	host, token string
	slots       chan struct{}

	mu   sync.Mutex
	idle map[net.Conn]struct{}
}

// Accept dials the host. Only the end of the machine ends it.
func (l *callback) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	for {
		c, err := net.DialTimeout("tcp4", l.host, 10*time.Second)
		if err == nil {
			if _, err = fmt.Fprintln(c, l.token); err == nil {
				l.mu.Lock()
				l.idle[c] = struct{}{}
				l.mu.Unlock()
				return c, nil
			}
			_ = c.Close()
		}
		fmt.Println("guest: agent:", err)
		time.Sleep(time.Second) // the pace of retries, not a wait for anything
	}
}

// state frees a slot when a connection is taken or lost.
func (l *callback) state(c net.Conn, s http.ConnState) {
	if s == http.StateNew {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.idle[c]; ok {
		delete(l.idle, c)
		<-l.slots
	}
}

func (l *callback) Close() error   { return nil }
func (l *callback) Addr() net.Addr { return &net.TCPAddr{} }

// dialUnix answers 101 and joins the connection to a Unix socket.
func dialUnix(w http.ResponseWriter, r *http.Request) {
	u, err := (&net.Dialer{}).DialContext(r.Context(), "unix", r.FormValue("path"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer u.Close()
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer c.Close()
	if err := c.SetDeadline(time.Time{}); err != nil {
		return
	}
	fmt.Fprint(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n")
	if err := rw.Flush(); err != nil {
		return
	}
	join(u, &buffered{Conn: c, r: rw.Reader})
}

// buffered is a connection of which some bytes have been read already.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b *buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

func (b *buffered) CloseWrite() error {
	if c, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
