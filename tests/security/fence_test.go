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

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/tests/harness"
)

// TestAFencedClientIsShutOut: a running writer with an open file writes and reads not a byte more, nor does who has its key; another volume
// of the same node goes on, and the data is what it was.
func TestAFencedClientIsShutOut(t *testing.T) {
	l := newLab(t)
	v, other := l.volume("fenced"), l.volume("free")
	node := harness.NewNode(t, l.ceph, "n1")
	node.Secrets = other.secret
	free := openWriter(t, filepath.Join(node.Mount(other.Volume, "free", harness.RWX), "log"))
	node.Secrets = v.secret
	target := node.Mount(v.Volume, "fenced", harness.RWX)
	// It is never read before, so that it is in no cache.
	unread := filepath.Join(l.root+v.path, "unread")
	if err := os.WriteFile(unread, bytes.Repeat([]byte("secret\n"), 1<<16), 0o644); err != nil {
		t.Fatal(err)
	}
	reader, err := os.Open(filepath.Join(target, "unread"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Close() }()
	w := openWriter(t, filepath.Join(target, "log"))
	if err := w.write("before\n"); err != nil {
		t.Fatal(err)
	}
	// It writes on and on, until it fails.
	stopped := make(chan error, 1)
	running := make(chan struct{})
	go func() {
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

	k := l.controller.Keys("fence", v.GetVolumeId())
	if k.Error != "" || !k.Fenced || len(k.ShutOut) != 1 || !slices.Equal(k.Retired, []string{"client." + v.secret["userID"]}) {
		t.Fatalf("fence: %+v", k)
	}
	if host, _ := os.Hostname(); k.ShutOut[0].Host != host || k.ShutOut[0].Path != v.path || k.ShutOut[0].User != v.secret["userID"] {
		t.Errorf("shut out: %+v", k.ShutOut[0])
	}
	if err := <-stopped; !errors.Is(err, syscall.ESHUTDOWN) && !errors.Is(err, syscall.EACCES) && !errors.Is(err, syscall.EIO) && !errors.Is(err, syscall.ENOTCONN) {
		t.Errorf("the writer stopped with: %v", err)
	}
	log := filepath.Join(l.root+v.path, "log")
	was, err := os.ReadFile(log)
	if err != nil || !strings.HasPrefix(string(was), "before\nrunning\n") {
		t.Fatalf("the file: %d bytes, %v", len(was), err)
	}
	for what, try := range map[string]func() error{
		"write to the open file": func() error { return w.write("more\n") },
		"read the open file":     func() error { _, err := reader.Read(make([]byte, 4096)); return err },
		"open a file":            func() error { _, err := os.ReadFile(filepath.Join(target, "file")); return err },
		"make a file":            func() error { return os.WriteFile(filepath.Join(target, "new"), []byte("x"), 0o600) },
		"make a directory":       func() error { return os.Mkdir(filepath.Join(target, "dir"), 0o700) },
		"remove a file":          func() error { return os.Remove(filepath.Join(target, "file")) },
	} {
		if err := try(); err == nil {
			t.Errorf("%s: it worked", what)
		}
	}
	if now, err := os.ReadFile(log); err != nil || !bytes.Equal(now, was) {
		t.Errorf("the file has %d bytes and had %d, %v", len(now), len(was), err)
	}
	if got, err := os.ReadFile(filepath.Join(l.root+v.path, "file")); err != nil || string(got) != content {
		t.Errorf("another file: %q, %v", got, err)
	}
	if names, err := os.ReadDir(l.root + v.path); err != nil || len(names) != 3 {
		t.Errorf("the volume has %v, %v", names, err)
	}
	unknown(t, "a mount with the key", l.ceph.As(t, v.secret).TryMount(t, v.path))
	if s, there := l.kube.Secrets()[v.name]; there || len(l.identities(v)) > 0 {
		t.Errorf("left: a secret of %s, %v", s["userID"], l.identities(v))
	}
	if err := free.write("goes on\n"); err != nil {
		t.Errorf("another volume of the node: %v", err)
	}

	// A repeated request of the provisioner gives it no key, and a rotation neither.
	if _, err := l.controller.CreateVolume(l.call(), own(harness.Request("fenced", 64*mib))); err != nil {
		t.Error(err)
	}
	if k := l.controller.Keys("rotate", v.GetVolumeId()); !strings.Contains(k.Error, "fenced") {
		t.Errorf("rotate: %+v", k)
	}
	if len(l.identities(v)) > 0 {
		t.Error("it has an identity again")
	}

	k = l.controller.Keys("fence", "--undo", v.GetVolumeId())
	secret := l.kube.Secrets()[v.name]
	if k.Error != "" || k.User != "client."+secret["userID"] || secret["userKey"] == v.secret["userKey"] {
		t.Fatalf("undo: %+v", k)
	}
	// The client that was there stays out; its pod is started again, on its node or another.
	if err := w.write("more\n"); err == nil {
		t.Error("the old client writes again")
	}
	_ = w.Close() // the client is dead
	_ = reader.Close()
	node.Unmount(v.Volume, "fenced")
	node.Secrets = secret
	again := node.Mount(v.Volume, "fenced-again", harness.RWX)
	if now, err := os.ReadFile(filepath.Join(again, "log")); err != nil || !bytes.Equal(now, was) {
		t.Errorf("afterwards the file has %d bytes and had %d, %v", len(now), len(was), err)
	}
	if err := os.WriteFile(filepath.Join(again, "new"), []byte("x"), 0o600); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	node.Unmount(v.Volume, "fenced-again")
	if err := errors.Join(free.write("to the end\n"), free.Close()); err != nil {
		t.Errorf("another volume of the node: %v", err)
	}
	node.Unmount(other.Volume, "free")
	l.delete(v)
	l.delete(other)
}

// TestTheUserForFencingIsLeast: it sees clients and shuts them out; no key and no file's content is within its reach.
func TestTheUserForFencingIsLeast(t *testing.T) {
	l := newLab(t)
	v := l.volume("v")
	user := l.ceph.FencingUser(t)
	conn, err := l.dialAs(user, l.ceph.Key(t, user))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ceph.Sessions(l.call(), conn, harness.FS, user); err != nil {
		t.Errorf("sessions: %v", err)
	}
	for _, c := range []command{
		mon("auth ls"), mon("auth get", "entity", "client."+v.secret["userID"]), mon("auth get-or-create", "entity", "client.evil"),
		mon("auth rm", "entity", "client."+v.secret["userID"]), mon("osd blocklist", "blocklistop", "rm", "addr", "127.0.0.1:0/1"), mon("osd blocklist", "blocklistop", "rm", "addr", "127.0.0.1:0/10"), mon("osd blocklist clear"),
		mon("config-key ls"), mon("config set", "who", "osd", "name", "debug_osd", "value", "0"), mon("osd down", "ids", []string{"0"}), mon("mds fail", "role_or_gid", "0"),
		mgr("fs subvolume ls", "vol_name", harness.FS), mgr("fs volume rm", "vol_name", harness.FS, "yes-i-really-mean-it", "--yes-i-really-mean-it"),
	} {
		refused(t, c.String(), l.send(conn, c))
	}
	attacker := l.ceph.As(t, map[string]string{"userID": user, "userKey": l.ceph.Key(t, user)})
	for _, object := range l.objects(v) {
		_, err := attacker.Run("rados", "-p", v.pool, "-N", v.namespace, "get", object, "/dev/null")
		refused(t, "read an object of a volume", err)
	}
	l.delete(v)
}
