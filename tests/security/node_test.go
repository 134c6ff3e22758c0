package security

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/tests/harness"
)

// TestANodeOpensItsVolumeAlone: with all that a node holds for one volume nothing else of the cluster can be had.
func TestANodeOpensItsVolumeAlone(t *testing.T) {
	l := newLab(t)
	mine := l.volume("mine")
	neighbour := l.volume("neighbour")                                             // of the same team, in the same pool
	stranger := l.volume("stranger", "team", "other", "pool", harness.DataPool)    // of another team, in another pool
	namesake := l.volume("mine-too", "team", "other", "volumeNamePrefix", "mine2") // in the same pool
	attacker := l.ceph.As(t, mine.secret)

	t.Run("its own", func(t *testing.T) {
		at := attacker.Mount(t, mine.path)
		got, err := os.ReadFile(filepath.Join(at, "file"))
		if err != nil || string(got) != content {
			t.Fatalf("read %q, %v", got, err)
		}
		if err := os.WriteFile(filepath.Join(at, "new"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := attacker.Run("rados", "-p", mine.pool, "-N", mine.namespace, "ls"); err != nil || strings.TrimSpace(out) == "" {
			t.Fatalf("its objects: %q, %v", out, err)
		}
	})
	t.Run("mount", func(t *testing.T) {
		for _, p := range []string{neighbour.path, path.Dir(neighbour.path), stranger.path, namesake.path, path.Dir(mine.path), path.Dir(path.Dir(mine.path)), "/volumes", "/strata", "/"} {
			refused(t, "mount "+p, attacker.TryMount(t, p))
		}
		for _, p := range []string{mine.path + "/..", mine.path + "/../../neighbour"} { // the metadata server knows no such name
			if err := attacker.TryMount(t, p); err == nil || !strings.Contains(err.Error(), "(2) No such file or directory") {
				t.Errorf("mount %s: %v", p, err)
			}
		}
	})
	t.Run("objects", func(t *testing.T) {
		for _, v := range []victim{neighbour, stranger, namesake} {
			there := l.objects(v)
			if len(there) == 0 {
				t.Fatalf("volume %s has no object to steal", v.name)
			}
			at := []string{"-p", v.pool, "-N", v.namespace}
			_, err := attacker.Run("rados", append(at, "ls")...)
			refused(t, "list the objects of "+v.name, err)
			for _, args := range [][]string{{"get", there[0], filepath.Join(t.TempDir(), "o")}, {"stat", there[0]}, {"put", there[0], os.DevNull}, {"rm", there[0]}, {"create", "new"}} {
				_, err := attacker.Run("rados", append(at, args...)...)
				refused(t, args[0]+" an object of "+v.name, err)
			}
			if now := l.objects(v); len(now) != len(there) {
				t.Errorf("volume %s had %d objects and has %d", v.name, len(there), len(now))
			}
		}
		for _, pool := range []string{harness.ECPool, harness.DataPool, "warm-meta"} {
			_, err := attacker.Run("rados", "-p", pool, "ls") // without a namespace: backtraces, the metadata
			refused(t, "list the objects of pool "+pool, err)
			_, err = attacker.Run("rados", "-p", pool, "--all", "ls")
			refused(t, "list all objects of pool "+pool, err)
		}
		_, err := attacker.Run("rados", "-p", harness.DataPool, "-N", "strata-locks", "ls")
		refused(t, "list the locks", err)
	})
	t.Run("commands", func(t *testing.T) {
		conn, err := l.dial(mine.secret)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.send(conn, mon("osd pool ls")); err != nil { // what any client has to know
			t.Fatal(err)
		}
		group := path.Base(path.Dir(path.Dir(mine.path)))
		me, other := "client."+attacker.User, "client."+neighbour.secret["userID"]
		everything := []string{"mon", "allow *", "mgr", "allow *", "mds", "allow *", "osd", "allow *"}
		for _, c := range []command{
			mon("auth ls"), mon("auth get", "entity", me), mon("auth get", "entity", "client.admin"), mon("auth get-key", "entity", other), mon("auth export"),
			mon("auth get-or-create", "entity", "client.evil", "caps", everything), mon("auth caps", "entity", me, "caps", everything), mon("auth rm", "entity", other),
			mon("fs authorize", "filesystem", harness.FS, "entity", me, "caps", []string{"/", "rw"}), mon("config-key ls"), mon("config set", "who", "osd", "name", "debug_osd", "value", "0"),
			mon("osd blocklist", "blocklistop", "add", "addr", "127.0.0.1:0/1"), mon("osd down", "ids", []string{"0"}), mon("osd pool set", "pool", harness.ECPool, "var", "nodelete", "val", "1"),
			mgr("fs subvolume ls", "vol_name", harness.FS, "group_name", group), mgr("fs subvolume info", "vol_name", harness.FS, "sub_name", "mine", "group_name", group),
			mgr("fs subvolume rm", "vol_name", harness.FS, "sub_name", "neighbour", "group_name", group),
			mgr("fs subvolume authorize", "vol_name", harness.FS, "sub_name", "neighbour", "auth_id", attacker.User, "group_name", group),
			mgr("fs subvolume resize", "vol_name", harness.FS, "sub_name", "mine", "group_name", group, "new_size", "inf"), mgr("pg dump"),
		} {
			refused(t, c.String(), l.send(conn, c))
		}
	})
	t.Run("from within", func(t *testing.T) {
		at := attacker.Mount(t, mine.path)
		// A link leads out of the mount on the attacker's own machine, never in the cluster.
		if err := os.Symlink("../../neighbour", filepath.Join(at, "link")); err != nil {
			t.Fatal(err)
		}
		if _, err := os.ReadDir(filepath.Join(at, "link")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("through a link: %v", err)
		}
	})
	for _, v := range []victim{mine, neighbour, stranger, namesake} {
		l.delete(v)
	}
}

// TestAKeyDiesWithItsVolume: so does its secret.
func TestAKeyDiesWithItsVolume(t *testing.T) {
	l := newLab(t)
	v := l.volume("short-lived")
	attacker := l.ceph.As(t, v.secret)
	if _, err := l.dial(v.secret); err != nil {
		t.Fatalf("while it lives: %v", err)
	}
	l.delete(v)
	if left := l.kube.Secrets(); len(left) > 0 {
		t.Errorf("%d secrets are left", len(left))
	}
	unknown(t, "a mount with the key of a deleted volume", attacker.TryMount(t, v.path))
	_, err := attacker.Run("rados", "-p", v.pool, "-N", v.namespace, "ls")
	unknown(t, "objects with the key of a deleted volume", err)

	// The next of its name has another key, which the old one doesn't become.
	again := l.volume("short-lived")
	if again.secret["userID"] != v.secret["userID"] || again.secret["userKey"] == v.secret["userKey"] {
		t.Error("the next volume of the name has the old one's key")
	}
	unknown(t, "a mount with the key of the volume before", attacker.TryMount(t, again.path))
	l.delete(again)
}

// TestAReaderWritesNothing: the identity of a volume that is served from a snapshot only reads, whatever its client asks for.
func TestAReaderWritesNothing(t *testing.T) {
	l := newLab(t)
	source := l.volume("source")
	neighbour := l.volume("neighbour")
	snap, err := l.controller.CreateSnapshot(l.call(), &csi.CreateSnapshotRequest{Name: "snap", SourceVolumeId: source.GetVolumeId()})
	if err != nil {
		t.Fatal(err)
	}
	req := own(harness.Request("reader", 0))
	req.CapacityRange = nil
	req.VolumeCapabilities = harness.Capabilities(csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)
	req.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: snap.GetSnapshot().GetSnapshotId()}}}
	reader := l.make(req)
	attacker := l.ceph.As(t, reader.secret)

	at := attacker.Mount(t, path.Dir(source.path))
	below, err := filepath.Rel(path.Dir(source.path), reader.path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(at, below, "file")); err != nil || string(got) != content {
		t.Fatalf("read %q, %v", got, err)
	}
	live := filepath.Join(at, path.Base(source.path))
	for what, err := range map[string]error{
		"make a file":      os.WriteFile(filepath.Join(live, "new"), nil, 0o600),
		"write to a file":  os.WriteFile(filepath.Join(live, "file"), []byte("x"), 0o600),
		"remove a file":    os.Remove(filepath.Join(live, "file")),
		"make a directory": os.Mkdir(filepath.Join(live, "dir"), 0o700),
		"make a snapshot":  os.Mkdir(filepath.Join(at, ".snap", "mine"), 0o700),
		"change a mode":    os.Chmod(filepath.Join(live, "file"), 0o777),
	} {
		if !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, object := range l.objects(source) {
		_, err := attacker.Run("rados", "-p", source.pool, "-N", source.namespace, "rm", object)
		refused(t, "remove an object of its source", err)
	}
	refused(t, "mount another volume", attacker.TryMount(t, neighbour.path))

	// On a node, as kubelet would.
	node := harness.NewNode(t, l.ceph, "n1")
	node.Secrets = reader.secret
	target := node.Mount(reader.Volume, "reader", csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY)
	if got, err := os.ReadFile(filepath.Join(target, "file")); err != nil || string(got) != content {
		t.Errorf("in a pod: %q, %v", got, err)
	}
	node.Unmount(reader.Volume, "reader")
	l.delete(reader)
	if _, err := l.controller.DeleteSnapshot(l.call(), &csi.DeleteSnapshotRequest{SnapshotId: snap.GetSnapshot().GetSnapshotId()}); err != nil {
		t.Fatal(err)
	}
	l.delete(source)
	l.delete(neighbour)
}
