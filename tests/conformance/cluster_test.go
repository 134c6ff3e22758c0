package conformance

// The cluster under test: how to connect to it, and its command-line tool for what a driver never does.

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ceph/go-ceph/cephfs"

	"github.com/strata-csi/strata/pkg/ceph/librados"
)

const (
	fsName  = "warm"
	user    = "strata-controller"
	poolEC  = "warm-ec"
	poolRep = "warm-data"
)

// directory is where the cluster lives.
func directory(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("STRATA_CEPH_DIR")
	if dir == "" {
		dir = "../../.strata/ceph"
	}
	dir, err := filepath.Abs(dir)
	if err == nil {
		_, err = os.Stat(filepath.Join(dir, "ceph.conf"))
	}
	if err != nil {
		t.Fatalf("no Ceph to test with: %v; run `go run ./hack/ceph start`, and set STRATA_CEPH_DIR unless it is in .strata/ceph of the checkout", err)
	}
	return dir
}

// setting is the value of the first line "name = value" of a file of Ceph's.
func setting(t *testing.T, file, name string) string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(raw)); lines.Scan(); {
		k, v, ok := strings.Cut(lines.Text(), "=")
		if ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	t.Fatalf("%s has no %q", file, name)
	return ""
}

// options connect to the cluster as the controller does.
func options(t *testing.T) librados.Options {
	dir := directory(t)
	return librados.Options{
		Monitors: []string{setting(t, filepath.Join(dir, "ceph.conf"), "mon host")},
		User:     user,
		Key:      setting(t, filepath.Join(dir, "ceph.client."+user+".keyring"), "key"),
	}
}

// dial connects to the cluster until the test ends.
func dial(t *testing.T) *librados.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := librados.Dial(ctx, options(t))
	if err != nil {
		t.Fatalf("the cluster in %s: %v", directory(t), err)
	}
	t.Cleanup(c.Close)
	return c
}

// admin runs the ceph tool as client.admin.
func admin(t *testing.T, args ...string) []byte {
	t.Helper()
	conf := filepath.Join(directory(t), "ceph.conf")
	keyring := filepath.Join(directory(t), "ceph.client.admin.keyring")
	out, err := exec.Command("ceph", append([]string{"-c", conf, "-n", "client.admin", "-k", keyring}, args...)...).Output()
	if err != nil {
		t.Fatalf("ceph %s: %v", strings.Join(args, " "), err)
	}
	return out
}

// daemon does something to one daemon of the cluster, in the words of hack/ceph.
func daemon(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"run", "./hack/ceph", "--dir", directory(t)}, args...)...)
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("hack/ceph %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// mount mounts the file system in this process.
func mount(t *testing.T) *cephfs.MountInfo {
	t.Helper()
	dir := directory(t)
	m, err := cephfs.CreateMountWithId("admin")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{
		m.ReadConfigFile(filepath.Join(dir, "ceph.conf")),
		m.SetConfigOption("keyring", filepath.Join(dir, "ceph.client.admin.keyring")),
		m.SelectFilesystem(fsName),
		m.Mount(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		_ = m.Unmount()
		_ = m.Release()
	})
	return m
}

// write makes a file of size bytes.
func write(t *testing.T, m *cephfs.MountInfo, path string, size int64) {
	t.Helper()
	f, err := m.Open(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
	if _, err := f.Write(bytes.Repeat([]byte{'x'}, int(size))); err != nil {
		t.Errorf("write %s: %v", path, err)
	}
	if err := f.Sync(); err != nil {
		t.Errorf("write %s: %v", path, err)
	}
	if err := f.Close(); err != nil {
		t.Errorf("write %s: %v", path, err)
	}
}
