// Package harness runs the real programs of Strata against a running development Ceph, for the tests in the
// directories beside it. A test names what it needs (Ceph, a Controller, a Node) and the harness builds, starts and
// stops it; a test that is killed leaves no controller and no node behind, and hack/test clears away its mounts.
//
// STRATA_CEPH_DIR names the cluster: the directory that `go run ./hack/ceph start --dir` was given.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What the development cluster holds; hack/ceph makes it.
const (
	FS       = "warm"      // the file system
	ECPool   = "warm-ec"   // its erasure-coded data pool, 4+2
	DataPool = "warm-data" // its first data pool, replicated
)

// Ceph is the running development cluster.
type Ceph struct {
	Dir     string
	Monitor string // host:port of the messenger v2
}

// NewCeph finds the cluster that STRATA_CEPH_DIR names.
func NewCeph(t testing.TB) *Ceph {
	t.Helper()
	dir := os.Getenv("STRATA_CEPH_DIR")
	if dir == "" {
		t.Fatal("STRATA_CEPH_DIR is not set: these tests need a development Ceph. Run `make test`, or `go run ./hack/ceph start` and " +
			"`export STRATA_CEPH_DIR=$PWD/.strata/ceph`")
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	c := &Ceph{Dir: dir}
	var dump struct {
		Mons []struct {
			Addrs struct {
				Vec []struct{ Type, Addr string } `json:"addrvec"`
			} `json:"public_addrs"`
		} `json:"mons"`
	}
	c.JSON(t, &dump, "mon", "dump")
	for _, a := range dump.Mons[0].Addrs.Vec {
		if a.Type == "v2" {
			c.Monitor = a.Addr
		}
	}
	if c.Monitor == "" {
		t.Fatalf("the monitors of %s have no messenger v2 address", dir)
	}
	return c
}

// Conf is the path of ceph.conf, AdminKeyring that of client.admin's key.
func (c *Ceph) Conf() string         { return filepath.Join(c.Dir, "ceph.conf") }
func (c *Ceph) AdminKeyring() string { return c.Keyring("admin") }

// Keyring is the path of the keyring of client.user.
func (c *Ceph) Keyring(user string) string {
	return filepath.Join(c.Dir, "ceph.client."+user+".keyring")
}

// Key is the key of client.user.
func (c *Ceph) Key(t testing.TB, user string) string {
	t.Helper()
	return strings.TrimSpace(c.Run(t, "auth", "print-key", "client."+user))
}

// Try runs the ceph command line as client.admin.
func (c *Ceph) Try(args ...string) (string, error) {
	return c.tool("ceph", args...)
}

// Run is Try for what must work.
func (c *Ceph) Run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.Try(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// JSON runs a command and decodes its JSON output.
func (c *Ceph) JSON(t testing.TB, into any, args ...string) {
	t.Helper()
	out := c.Run(t, append(args, "--format", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("ceph %s: %v in %q", strings.Join(args, " "), err, out)
	}
}

// Rados runs the rados command line as client.admin.
func (c *Ceph) Rados(t testing.TB, args ...string) string {
	t.Helper()
	out, err := c.tool("rados", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c *Ceph) tool(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, append([]string{"--conf", c.Conf(), "--keyring", c.AdminKeyring()}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// Daemon runs a verb of hack/ceph on a daemon, such as Daemon(t, "kill", "osd.3"). The cluster remembers its ports.
func (c *Ceph) Daemon(t testing.TB, args ...string) {
	t.Helper()
	out, err := exec.Command(program(t, "hack-ceph"), append(args, "--dir", c.Dir)...).CombinedOutput()
	if err != nil {
		t.Fatalf("hack/ceph %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// Root is the top of the checkout.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("the test doesn't run inside the checkout")
}

// programs are what the harness builds, with failpoints compiled in.
var programs = map[string][]string{
	"strata-controller": {"CGO_ENABLED=1", "pacific,failpoint", "./cmd/strata-controller"},
	"strata-node":       {"CGO_ENABLED=0", "failpoint", "./cmd/strata-node"},
	"strata-mountd":     {"CGO_ENABLED=0", "", "./cmd/strata-mountd"},
	"strata-coldfs":     {"CGO_ENABLED=0", "", "./cmd/strata-coldfs"},
	"hack-ceph":         {"CGO_ENABLED=0", "", "./hack/ceph"},
}

var built struct {
	sync.Mutex
	paths map[string]string
}

// program builds one of the programs, once in a test process, and returns its path. It is kept below .strata, so
// that the next process finds the compiler's cache warm and the same path. Others may build it, or start it, at the same time: the path
// always leads to a whole program.
func program(t testing.TB, name string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if path, ok := built.paths[name]; ok {
		return path
	}
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	how := programs[name]
	path := filepath.Join(root, ".strata", "test-bin", name)
	made := filepath.Join(root, ".strata", "test-bin", "made", name)
	if err := os.MkdirAll(filepath.Dir(made), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(made + ".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "build", "-tags", how[1], "-o", made, how[2])
	cmd.Dir, cmd.Env = root, append(os.Environ(), how[0])
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	// The compiler makes a new file, or leaves the one that is right.
	if err := errors.Join(removeIfThere(made+".new"), os.Link(made, made+".new"), os.Rename(made+".new", path)); err != nil {
		t.Fatal(err)
	}
	if built.paths == nil {
		built.paths = map[string]string{}
	}
	built.paths[name] = path
	return path
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// Patience is how long a test waits for what should come at once: two busy cores, emulated machines and two clusters make seconds of
// it minutes, and where nothing is wrong it costs nothing.
const Patience = 4 * time.Minute

// Eventually waits until ok returns nil, and fails with its last error.
func Eventually(t testing.TB, what string, limit time.Duration, ok func() error) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		err := ok()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, limit, err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}
