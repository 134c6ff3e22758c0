package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSocketPath(t *testing.T) {
	for _, c := range []struct{ name, endpoint, want string }{
		{"URL", "unix:///run/csi.sock", "/run/csi.sock"},
		{"one slash", "unix:/run/csi.sock", "/run/csi.sock"},
		{"path", "/run/csi.sock", "/run/csi.sock"},
		{"path with a colon", "/run/a:b/csi.sock", "/run/a:b/csi.sock"},
		{"untidy path", "unix:///run//x/../csi.sock", "/run/csi.sock"},
		{"relative", "unix://csi.sock", ""},
		{"relative path", "csi.sock", ""},
		{"abstract", "unix:@csi", ""},
		{"TCP", "tcp://127.0.0.1:10000", ""},
		{"nothing", "", ""},
		{"too long", "unix:///" + strings.Repeat("a", maxSocketPath), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := SocketPath(c.endpoint)
			if got != c.want || (err == nil) != (c.want != "") {
				t.Errorf("got %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestASocketIsForItsOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "csi.sock")
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != socketMode {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	l.Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is left after Close: %v", err)
	}
}

func TestALiveSocketIsNotTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "csi.sock")
	first, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	_, err = Listen(t.Context(), path)
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("got %v", err)
	}
	if c, err := net.Dial("unix", path); err != nil {
		t.Errorf("the first listener lost its socket: %v", err)
	} else {
		c.Close()
	}
}

func TestAStaleSocketIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "csi.sock")
	// A killed process leaves its socket.
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	l, err := Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

func TestAFileThatIsNoSocketStays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "csi.sock")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(t.Context(), path); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("got %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != "precious" {
		t.Error("the file is gone")
	}
}

func TestOfManyThatStartAtOnceOneListens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "csi.sock")
	var wg sync.WaitGroup
	listeners := make([]net.Listener, 20)
	for i := range listeners {
		wg.Go(func() {
			l, err := Listen(context.WithoutCancel(t.Context()), path)
			if err == nil {
				listeners[i] = l
			} else if !errors.Is(err, ErrInUse) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	won := 0
	for _, l := range listeners {
		if l != nil {
			won++
			l.Close()
		}
	}
	if won != 1 {
		t.Errorf("%d listen", won)
	}
}
