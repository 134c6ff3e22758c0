package security

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/tests/harness"
)

// identities are the Ceph users of a volume.
func (l *lab) identities(v victim) (names []string) {
	l.Helper()
	var dump struct {
		Auth []struct {
			Entity string `json:"entity"`
		} `json:"auth_dump"`
	}
	l.ceph.JSON(l, &dump, "auth", "ls")
	for _, u := range dump.Auth {
		if strings.HasPrefix(u.Entity, "client.strata."+string(l.controller.Prefix)+".") && strings.HasSuffix(u.Entity, "."+v.name) {
			names = append(names, u.Entity)
		}
	}
	return names
}

// writer has a file of a volume open.
type writer struct {
	*os.File
	t testing.TB
}

func openWriter(t testing.TB, path string) writer {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() }) // of a mount that may be dead by then
	return writer{f, t}
}

// write writes text and waits until it is in the cluster.
func (w writer) write(text string) error {
	_, err := w.WriteString(text)
	return errors.Join(err, w.Sync())
}

// TestRotationLeavesMountsAlone: what runs goes on with its key, what comes gets the new one, and only what nobody uses is retired.
func TestRotationLeavesMountsAlone(t *testing.T) {
	l := newLab(t)
	v := l.volume("rotated")
	old := v.secret
	n1 := harness.NewNode(t, l.ceph, "n1")
	n1.Secrets = old
	target := n1.Mount(v.Volume, "rotated", harness.RWX)
	w := openWriter(t, filepath.Join(target, "log"))
	if err := w.write("before\n"); err != nil {
		t.Fatal(err)
	}

	k := l.controller.Keys("rotate", v.GetVolumeId())
	secret := l.kube.Secrets()[v.name]
	if k.Error != "" || !slices.Equal(k.Former, []string{"client." + old["userID"]}) || k.User != "client."+secret["userID"] ||
		secret["userID"] == old["userID"] || secret["userKey"] == old["userKey"] {
		t.Fatalf("rotate: %+v, from %s to %s", k, old["userID"], secret["userID"])
	}
	if err := w.write("after\n"); err != nil {
		t.Errorf("the open file: %v", err)
	}
	// The staging is repeated, as kubelet does, with the new secret.
	n1.Secrets = secret
	if err := n1.Stage(l.call(), v.Volume, "rotated", harness.RWX); err != nil {
		t.Errorf("the staging is repeated: %v", err)
	}
	n2 := harness.NewNode(t, l.ceph, "n2")
	n2.Secrets = secret
	second := n2.Mount(v.Volume, "rotated-2", harness.RWX)
	if got, err := os.ReadFile(filepath.Join(second, "log")); err != nil || string(got) != "before\nafter\n" {
		t.Errorf("on another node: %q, %v", got, err)
	}

	k = l.controller.Keys("rotate", "--retire", v.GetVolumeId())
	if len(k.Retired) != 0 || !strings.Contains(k.Error, "in use") || !strings.Contains(k.Error, "client."+old["userID"]) {
		t.Errorf("retire while it is in use: %+v", k)
	}
	if err := w.write("still\n"); err != nil {
		t.Errorf("the open file: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	n1.Unmount(v.Volume, "rotated")
	harness.Eventually(t, "the old key is retired", harness.Patience, func() error {
		if k = l.controller.Keys("rotate", "--retire", v.GetVolumeId()); k.Error != "" {
			return errors.New(k.Error)
		}
		return nil
	})
	if !slices.Equal(k.Retired, []string{"client." + old["userID"]}) || !slices.Equal(l.identities(v), []string{k.User}) {
		t.Errorf("retired: %+v, there are %v", k, l.identities(v))
	}
	_, err := l.ceph.As(t, old).Run("rados", "-p", v.pool, "-N", v.namespace, "ls")
	unknown(t, "the old key", err)
	w = openWriter(t, filepath.Join(second, "log"))
	if err := w.write("new\n"); err != nil {
		t.Errorf("with the new key: %v", err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	n2.Unmount(v.Volume, "rotated-2")
	// Two generations are there when it is deleted.
	l.controller.Keys("rotate", v.GetVolumeId())
	if n := len(l.identities(v)); n != 2 {
		t.Errorf("%d identities", n)
	}
	l.delete(v)
	if left := l.identities(v); len(left) > 0 || l.kube.Secrets()[v.name] != nil {
		t.Errorf("left over: %v", left)
	}
}

// TestNoSecondKeyOfAUser: why a rotation makes another user. A release in which this fails has keys that wait to be used.
func TestNoSecondKeyOfAUser(t *testing.T) {
	l := newLab(t)
	v := l.volume("one-key")
	conn, err := l.dialAs("admin", l.ceph.Key(t, "admin"))
	if err != nil {
		t.Fatal(err)
	}
	for _, prefix := range []string{"auth get-or-create-pending", "auth rotate"} {
		if err := l.send(conn, mon(prefix, "entity", "client."+v.secret["userID"])); !errors.Is(err, syscall.EINVAL) {
			t.Errorf("%s: %v", prefix, err)
		}
	}
	l.delete(v)
}
