package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

func listen(t *testing.T) (net.Listener, int) {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln, ln.Addr().(*net.TCPAddr).Port
}

func TestAPortThatSomebodyListensOnIsRefusedAtOnce(t *testing.T) {
	_, port := listen(t)
	err := portsFree(t.Context(), []int{port})
	if err == nil || !strings.Contains(err.Error(), "choose another --port-base") {
		t.Errorf("error %v", err)
	}
}

func TestAPortOfAnOutgoingConnectionIsWaitedFor(t *testing.T) {
	server, _ := listen(t)
	free, port := listen(t)
	free.Close()
	conn, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}}).Dial("tcp4", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	accepted, err := server.Accept()
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := portsFree(short, []int{port}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want it to wait", err)
	}
	accepted.Close() // the other side closes first and keeps the minute's memory of it
	conn.Close()
	if err := portsFree(t.Context(), []int{port}); err != nil {
		t.Error(err)
	}
}

func TestFixedPortsAreInTheRange(t *testing.T) {
	l := testLayout(t)
	seen := map[int]bool{}
	for _, d := range allDaemons() {
		for _, p := range d.FixedPorts(l) {
			if p < l.PortBase || p >= l.PortBase+100 || seen[p] {
				t.Errorf("%s: port %d", d, p)
			}
			seen[p] = true
		}
	}
	if len(seen) != 3 {
		t.Errorf("%d fixed ports, want mon v2, mon v1 and the gateway's", len(seen))
	}
}
