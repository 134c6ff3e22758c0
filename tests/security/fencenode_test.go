package security

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/tests/harness"
)

// TestAFencedNodeIsShutOut: a running writer on the node writes and reads not a byte more, and no key opens anything from there; the same
// volume on another node goes on. Undone, the node mounts again.
func TestAFencedNodeIsShutOut(t *testing.T) {
	l := newLab(t)
	v, other := l.volume("fenced"), l.volume("free")
	m := harness.NewMachine(t, l.ceph, "n2", "127.0.0.2")
	n1, n2 := harness.NewNode(t, l.ceph, "n1"), harness.NewNodeOn(t, l.ceph, m, "n2")
	n1.Secrets, n2.Secrets = v.secret, v.secret
	goesOn := openWriter(t, filepath.Join(n1.Mount(v.Volume, "fenced", harness.RWX), "n1"))
	target := n2.Mount(v.Volume, "fenced", harness.RWX)
	// It is never read before, so that it is in no cache.
	if err := os.WriteFile(filepath.Join(l.root+v.path, "unread"), bytes.Repeat([]byte("secret\n"), 1<<16), 0o644); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(filepath.Join(target, "unread"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	thief := l.ceph.As(t, other.secret)
	thief.Machine = m
	steal := func() error {
		_, err := thief.Run("rados", "-p", other.pool, "-N", other.namespace, "get", l.objects(other)[0], "/dev/null")
		return err
	}
	if err := steal(); err != nil {
		t.Fatalf("with a key, before: %v", err)
	}
	w := openWriter(t, filepath.Join(target, "n2"))
	stopped, running := make(chan error, 1), make(chan struct{})
	go func() { // it writes on and on, until it fails
		for n := 0; ; n++ {
			if err := w.write("running\n"); err != nil {
				stopped <- err
				return
			}
			if n == 3 {
				close(running)
			}
		}
	}()
	<-running

	if f := l.controller.FenceNode("n1", "--address=127.0.0.2", "--address=127.0.0.1"); !strings.Contains(f.Error, "mon.a") || len(f.Addresses)+len(f.ShutOut) > 0 {
		t.Errorf("where Ceph's own daemons work: %+v", f)
	}
	if err := w.write("goes on\n"); err != nil {
		t.Fatal(err)
	}
	f := l.controller.FenceNode("n2", "--address=127.0.0.2")
	if f.Error != "" || !slices.Equal(f.Addresses, []string{"127.0.0.2"}) || len(f.ShutOut) != 1 {
		t.Fatalf("fence: %+v", f)
	}
	if c := f.ShutOut[0]; c.Host != "n2" || c.Path != v.path || c.User != v.secret["userID"] || !strings.HasPrefix(c.Address, "127.0.0.2:0/") || c.FileSystem != harness.FS {
		t.Errorf("shut out: %+v", c)
	}
	if err := <-stopped; !errors.Is(err, syscall.ESHUTDOWN) && !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOTCONN) {
		t.Errorf("the writer stopped with: %v", err)
	}
	log := filepath.Join(l.root+v.path, "n2")
	was, err := os.ReadFile(log)
	if err != nil || len(was) == 0 {
		t.Fatalf("the file: %d bytes, %v", len(was), err)
	}
	dead := func(when string) {
		t.Helper()
		for what, try := range map[string]func() error{
			"write to the open file": func() error { return w.write("more\n") },
			"read the open file":     func() error { _, err := reader.Read(make([]byte, 4096)); return err },
			"open a file":            func() error { _, err := os.ReadFile(filepath.Join(target, "file")); return err },
			"make a file":            func() error { return os.WriteFile(filepath.Join(target, "new"), []byte("x"), 0o600) },
			"remove a file":          func() error { return os.Remove(filepath.Join(target, "file")) },
		} {
			if err := try(); err == nil {
				t.Errorf("%s, %s: it worked", when, what)
			}
		}
		if now, err := os.ReadFile(log); err != nil || !bytes.Equal(now, was) {
			t.Errorf("%s, the file has %d bytes and had %d, %v", when, len(now), len(was), err)
		}
	}
	dead("fenced")
	for what, err := range map[string]error{"read an object with a key": steal(), "mount with a key": thief.TryMount(t, other.path)} {
		if err == nil || !strings.Contains(err.Error(), "(108)") { // EBLOCKLISTED
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := goesOn.write("goes on\n"); err != nil {
		t.Errorf("the volume on another node: %v", err)
	}
	if l.kube.Secrets()[v.name]["userKey"] != v.secret["userKey"] {
		t.Error("the volume has another key")
	}

	if f := l.controller.FenceNode("n2", "--undo", "--address=127.0.0.2"); f.Error != "" || !slices.Equal(f.Addresses, []string{"127.0.0.2"}) {
		t.Fatalf("undo: %+v", f)
	}
	if err := steal(); err != nil {
		t.Errorf("undone: %v", err)
	}
	dead("undone")
	_ = w.Close() // the client is dead
	_ = reader.Close()
	n2.Unmount(v.Volume, "fenced")
	again := n2.Mount(v.Volume, "again", harness.RWX)
	if now, err := os.ReadFile(filepath.Join(again, "n2")); err != nil || !bytes.Equal(now, was) {
		t.Errorf("afterwards the file has %d bytes and had %d, %v", len(now), len(was), err)
	}
	if err := os.WriteFile(filepath.Join(again, "new"), []byte("x"), 0o600); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	n2.Unmount(v.Volume, "again")
	if err := errors.Join(goesOn.write("to the end\n"), goesOn.Close()); err != nil {
		t.Errorf("the volume on another node: %v", err)
	}
	n1.Unmount(v.Volume, "fenced")
	l.delete(v)
	l.delete(other)
}
