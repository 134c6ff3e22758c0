package harness

// Another machine, as far as Ceph can tell: it has an IP address and a host name of its own, while the test's cluster listens on 127.0.0.1
// alone. Programs on it are in a network namespace that has nothing but a loopback; what listens there on the cluster's ports passes
// connections on to the cluster, from the machine's address.

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// clusterPorts is how many ports the development cluster uses, from that of the monitor on (hack/ceph).
const clusterPorts = 200

// Machine is one machine. What runs on it shares the files and mounts of this one.
type Machine struct {
	Host    string
	Address string // one of 127.0.0.0/8, other than 127.0.0.1
	network *os.File
	names   *os.File
}

// NewMachine makes a machine that reaches a cluster. It goes with the test, and what runs on it must have ended by then.
func NewMachine(t testing.TB, c *Ceph, host, address string) *Machine {
	t.Helper()
	at, err := netip.ParseAddrPort(c.Monitor)
	if err != nil {
		t.Fatal(err)
	}
	m := &Machine{Host: host, Address: address}
	made := make(chan error, 1)
	var listeners []net.Listener
	go func() {
		lockThread() // it ends with the goroutine, and nothing else ever runs in it
		var err error
		listeners, err = m.make(at)
		made <- err
	}()
	err = <-made
	t.Cleanup(func() {
		for _, l := range listeners {
			_ = l.Close()
		}
		for _, f := range []*os.File{m.network, m.names} {
			if f != nil {
				_ = f.Close()
			}
		}
	})
	if err != nil {
		t.Fatalf("make machine %s: %v", host, err)
	}
	from := &net.TCPAddr{IP: net.ParseIP(address)}
	for _, l := range listeners {
		go forward(l, from)
	}
	return m
}

// make moves this thread to the new machine and listens there.
func (m *Machine) make(monitor netip.AddrPort) ([]net.Listener, error) {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWUTS); err != nil {
		return nil, err
	}
	if err := unix.Sethostname([]byte(m.Host)); err != nil {
		return nil, err
	}
	var err error
	if m.network, err = os.Open("/proc/thread-self/ns/net"); err != nil {
		return nil, err
	}
	if m.names, err = os.Open("/proc/thread-self/ns/uts"); err != nil {
		return nil, err
	}
	if err := loopbackUp(); err != nil {
		return nil, err
	}
	var all []net.Listener
	for i := range uint16(clusterPorts) {
		l, err := net.Listen("tcp", netip.AddrPortFrom(monitor.Addr(), monitor.Port()+i).String())
		if err != nil {
			return all, err
		}
		all = append(all, l)
	}
	return all, nil
}

func loopbackUp() error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(socket) }()
	flags, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	flags.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(socket, unix.SIOCSIFFLAGS, flags)
}

// enter moves the thread to the machine, for good; the goroutine must be locked to it. On none it does nothing.
func (m *Machine) enter() error {
	if m == nil {
		return nil
	}
	for kind, ns := range map[int]*os.File{unix.CLONE_NEWNET: m.network, unix.CLONE_NEWUTS: m.names} {
		if err := unix.Setns(int(ns.Fd()), kind); err != nil {
			return fmt.Errorf("enter machine %s: %w", m.Host, err)
		}
	}
	return nil
}

// forward passes connections on to the same port of the cluster until the listener is closed.
func forward(l net.Listener, from net.Addr) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			out, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", l.Addr().String())
			if err != nil {
				_ = in.Close()
				return
			}
			// Each way ends by itself, and closes both: a client of Ceph never half-closes.
			pass := func(to, from net.Conn) {
				_, _ = io.Copy(to, from)
				_ = to.Close()
				_ = from.Close()
			}
			go pass(in, out)
			pass(out, in)
		}()
	}
}
