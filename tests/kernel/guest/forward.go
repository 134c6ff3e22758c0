package main

// The forwarder. Ceph's maps name its daemons by 127.0.0.1 and a port; here the
// same ports lead to the host's loopback interface, so the kernel client finds the
// daemons at the addresses the maps give. It is also the place where a test cuts
// the network.

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/strata-csi/strata/tests/kernel/agent"
)

type forwarder struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	cut   bool
}

// listen forwards the ports of ports, "FIRST-LAST". An empty range is none.
func (f *forwarder) listen(ctx context.Context, ports string) error {
	if ports == "" {
		return nil
	}
	first, last, _ := strings.Cut(ports, "-")
	low, err := strconv.Atoi(first)
	if err != nil {
		return fmt.Errorf("ports %q: %w", ports, err)
	}
	high, err := strconv.Atoi(last)
	if err != nil {
		return fmt.Errorf("ports %q: %w", ports, err)
	}
	for port := low; port <= high; port++ {
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = l.Close() })
		go f.accept(l, net.JoinHostPort(agent.HostLoopback, strconv.Itoa(port)))
	}
	return nil
}

func (f *forwarder) accept(l net.Listener, to string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go f.forward(c, to)
	}
}

func (f *forwarder) forward(c net.Conn, to string) {
	if !f.add(c) {
		return // it hangs until the network is up again
	}
	defer f.remove(c)
	d, err := net.Dial("tcp4", to)
	if err != nil {
		return // closed: as near to "connection refused" as it gets here
	}
	if !f.add(d) {
		return
	}
	defer f.remove(d)
	join(c, d)
}

// add remembers c; it is false while the network is cut.
func (f *forwarder) add(c net.Conn) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.conns[c] = struct{}{}
	return !f.cut
}

func (f *forwarder) remove(c net.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.cut {
		return // set closes it
	}
	_ = c.Close()
	delete(f.conns, c)
}

// set changes the state of the network; each change ends all connections.
func (f *forwarder) set(state string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch state {
	case agent.NetworkUp, agent.NetworkDrop:
		f.cut = false
	case agent.NetworkCut:
		f.cut = true
	default:
		return fmt.Errorf("no such network state %q", state)
	}
	for c := range f.conns {
		_ = c.Close()
	}
	clear(f.conns)
	return nil
}

// join copies both ways until both are done.
func join(a, b net.Conn) {
	var wg sync.WaitGroup
	for _, pair := range [][2]net.Conn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			if c, ok := pair[0].(interface{ CloseWrite() error }); ok {
				_ = c.CloseWrite()
			}
		})
	}
	wg.Wait()
}
