package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/tests/harness"
)

// TestNodeDeaths: what becomes of mounts when the programs of a node die.
func TestNodeDeaths(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	n := harness.NewNode(t, ceph, "node-a")
	root := ceph.RootMount(t)

	t.Run("strata-node is killed under a writer", func(t *testing.T) {
		v := create(t, c, harness.Request("kill-node", 512*mib))
		at := n.Mount(v, "kill-node", harness.RWX)
		w := startWriters(t, at, at)
		progress := func(what string) {
			t.Helper()
			begin := w.total()
			harness.Eventually(t, what, harness.Patience, func() error {
				if err := w.err(); err != nil {
					t.Fatal(err)
				}
				if w.total() < begin+100 {
					return fmt.Errorf("%d records, %d at the beginning", w.total(), begin)
				}
				return nil
			})
		}
		progress("the writer works before")
		client := n.Clients()[n.Staging("kill-node")].PID
		for range 3 {
			n.Kill()
			progress("the writer works while strata-node is dead")
			n.Start("")
			progress("the writer works after")
		}
		// The new one finds what the old one mounted.
		if err := n.Stage(call(t), v, "kill-node", harness.RWX); err != nil {
			t.Error(err)
		}
		if err := n.Publish(call(t), v, "kill-node", "kill-node", harness.RWX, false); err != nil {
			t.Error(err)
		}
		if got := n.Clients()[n.Staging("kill-node")].PID; got != client {
			t.Errorf("ceph-fuse is process %d, was %d", got, client)
		}
		wantHealth(t, n, v, "kill-node")
		for _, path := range []string{n.Staging("kill-node"), at} {
			if m, ok, err := mountpoint.Find(path); err != nil || !ok || m.Stacked != 1 {
				t.Errorf("%s: %+v, %v, %v", path, m, ok, err)
			}
		}
		w.stop(at)
		n.Kill()
		n.Start("")
		n.Unmount(v, "kill-node")
		remove(t, c, v)
	})

	t.Run("ceph-fuse is killed", func(t *testing.T) {
		v := create(t, c, harness.Request("kill-fuse", 64*mib))
		at := n.Mount(v, "kill-fuse", harness.RWX)
		fill(t, at, 8)
		want := tree(t, at)
		killFuse(t, n, n.Staging("kill-fuse"))
		harness.Eventually(t, "the mount is dead", harness.Patience, func() error {
			if _, err := os.ReadDir(at); !errors.Is(err, unix.ENOTCONN) {
				return fmt.Errorf("reading gives %w", errors.Join(err, errors.New("an answer")))
			}
			return nil
		})
		wantHealth(t, n, v, "kill-fuse", "INACCESSIBLE MountDead")
		if err := n.Stage(call(t), v, "kill-fuse", harness.RWX); err != nil {
			t.Fatal(err)
		}
		if err := n.Publish(call(t), v, "kill-fuse", "kill-fuse", harness.RWX, false); err != nil {
			t.Fatal(err)
		}
		wantHealth(t, n, v, "kill-fuse")
		wantTree(t, tree(t, at), want)

		// Publish alone mends it too: kubelet stages only once.
		killFuse(t, n, n.Staging("kill-fuse"))
		harness.Eventually(t, "publishing mends the mount", harness.Patience, func() error {
			if err := n.Publish(call(t), v, "kill-fuse", "kill-fuse", harness.RWX, false); err != nil {
				return err
			}
			_, err := os.ReadDir(at)
			return err
		})
		wantTree(t, tree(t, at), want)
		for _, path := range []string{n.Staging("kill-fuse"), at} {
			if m, ok, err := mountpoint.Find(path); err != nil || !ok || m.Stacked != 1 {
				t.Errorf("%s: %+v, %v, %v", path, m, ok, err)
			}
		}
		// A dead mount can be taken away as well.
		killFuse(t, n, n.Staging("kill-fuse"))
		n.Unmount(v, "kill-fuse")
		remove(t, c, v)
	})

	t.Run("an evicted client is mended", func(t *testing.T) {
		v := create(t, c, harness.Request("evicted", 64*mib))
		at := n.Mount(v, "evicted", harness.RWX)
		fill(t, at, 9)
		want := tree(t, at)
		evict(t, ceph, sessions(t, ceph, n.Staging("evicted")))
		harness.Eventually(t, "the eviction is seen", harness.Patience, func() error {
			if got := health(t, n, v, "evicted"); len(got) == 0 {
				return errors.New("health has nothing to say")
			}
			return nil
		})
		if err := n.Publish(call(t), v, "evicted", "evicted", harness.RWX, false); err != nil {
			t.Fatal(err)
		}
		wantTree(t, tree(t, at), want)
		writeFile(t, filepath.Join(at, "after"), []byte("x"))
		wantHealth(t, n, v, "evicted")
		n.Unmount(v, "evicted")
		remove(t, c, v)
	})
	if left := n.Mounts(); len(left) > 0 {
		t.Errorf("still mounted: %v", left)
	}
	wantNothingLeft(t, ceph, root, c.Prefix)
}

// health is what a node says of a volume staged and published under one name: status and reason of each entry.
func health(t testing.TB, n *harness.Node, v *csi.Volume, name string) []string {
	t.Helper()
	resp, err := n.NodeGetVolumeHealth(call(t), &csi.NodeGetVolumeHealthRequest{VolumeId: v.GetVolumeId(),
		StagingTargetPath: n.Staging(name), VolumePublishPath: n.Target(name)})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, s := range resp.GetVolumeHealth().GetHealthStatuses() {
		out = append(out, s.GetStatus().String()+" "+s.GetReason())
	}
	return out
}

func wantHealth(t testing.TB, n *harness.Node, v *csi.Volume, name string, want ...string) {
	t.Helper()
	if got := health(t, n, v, name); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("health %v, want %v", got, want)
	}
}

const activeServer = "mds." + harness.FS + ":0"

// sessions are those of the clients mounted at path, dead ones included.
func sessions(t testing.TB, ceph *harness.Ceph, path string) []int64 {
	t.Helper()
	var all []struct {
		ID       int64
		Metadata struct {
			Mountpoint string `json:"mount_point"`
		} `json:"client_metadata"`
	}
	ceph.JSON(t, &all, "tell", activeServer, "session", "ls")
	var out []int64
	for _, s := range all {
		if s.Metadata.Mountpoint == path {
			out = append(out, s.ID)
		}
	}
	if len(out) == 0 {
		t.Fatalf("no client is mounted at %s", path)
	}
	return out
}

// evict ends sessions as an operator would, or the metadata server after a minute of silence.
func evict(t testing.TB, ceph *harness.Ceph, ids []int64) {
	t.Helper()
	for _, id := range ids {
		ceph.Run(t, "tell", activeServer, "session", "evict", fmt.Sprintf("id=%d", id))
	}
}

// killFuse kills the ceph-fuse of a staging path. What it held at the metadata server is freed at once, which would
// otherwise wait for the end of its session.
func killFuse(t testing.TB, n *harness.Node, staging string) {
	t.Helper()
	held := sessions(t, n.Ceph, staging)
	if err := syscall.Kill(n.Clients()[staging].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	evict(t, n.Ceph, held)
}

// TestKeysLeaveNoTrace: the key of a volume is nowhere but in the secret, the request, and the memory of ceph-fuse.
func TestKeysLeaveNoTrace(t *testing.T) {
	ceph := harness.NewCeph(t)
	c := harness.NewController(t, ceph, harness.ControllerOptions{})
	n := harness.NewNode(t, ceph, "node-a")
	v := create(t, c, harness.Request("pvc", 32*mib))
	keys := map[string]string{"the node's": n.Secrets["userKey"], "the controller's": ceph.Key(t, c.User())}
	look := func(when string) {
		t.Helper()
		for whose, key := range keys {
			for _, path := range traces(t, n.Dir, c.ConfigPath) {
				if text, err := os.ReadFile(path); err == nil && strings.Contains(string(text), key) {
					t.Errorf("%s: %s key is in %s", when, whose, path)
				}
			}
			for what, text := range map[string]string{"strata-node's log": n.Log(), "the controller's log": c.Log(), "the volume": v.String()} {
				if strings.Contains(text, key) {
					t.Errorf("%s: %s key is in %s", when, whose, what)
				}
			}
		}
	}
	n.Mount(v, "pvc", harness.RWX)
	look("mounted")
	// What goes wrong with a key must not show it either.
	good := n.Secrets
	for what, secret := range map[string]map[string]string{
		"a wrong key":  {"userID": "strata-node", "userKey": keys["the controller's"]},
		"a wrong user": {"userID": "client.strata-node", "userKey": good["userKey"]},
		"no user":      {"userKey": good["userKey"]},
	} {
		n.Secrets = secret
		err := n.Stage(call(t), v, "wrong", harness.RWX)
		if err == nil {
			t.Errorf("%s: staged", what)
		}
		for whose, key := range keys {
			if strings.Contains(fmt.Sprint(err), key) {
				t.Errorf("%s: the error holds %s key", what, whose)
			}
		}
	}
	n.Secrets = good
	look("after failures")
	n.Unmount(v, "pvc")
	look("unmounted")
	remove(t, c, v)
}

// traces are the files that could hold a secret: of every process, and what the programs write.
func traces(t testing.TB, dirs ...string) []string {
	t.Helper()
	var out []string
	for _, pattern := range []string{"/proc/[0-9]*/cmdline", "/proc/[0-9]*/environ"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d, %v", pattern, len(found), err)
		}
		out = append(out, found...)
	}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				out = append(out, path)
			}
			if errors.Is(err, os.ErrNotExist) {
				return nil
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}
