package kernel

// pkg/cephkernel on the kernel it is made for.

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-csi/strata/tests/harness"
	"github.com/strata-csi/strata/tests/kernel/agent"
)

const mib = 1 << 20

func TestMounter(t *testing.T) {
	c := openCluster(t)
	n := bootNode(t, c, nil)
	for _, test := range []struct {
		name string
		run  func(*testing.T)
	}{
		// First, because the others make the kernel load its client.
		{"a node without the client says so", n.testWithoutClient},
		{"data is the same through both kinds of client", n.testBothClients},
		{"the size is the quota, and grows while mounted", n.testQuota},
		{"read-only is kept", n.testReadOnly},
		{"an identity that may only read mounts", n.testReadOnlyIdentity},
		{"a snapshot is served from the snapshot", n.testSnapshot},
		{"every protocol carries data", n.testProtocols},
		{"the key leaves no trace", n.testKeyTraces},
		{"a lost connection comes back without the key", n.testReconnect},
		{"eviction is seen and mounting again repairs", n.testEviction},
		{"recover_session=clean survives an eviction", n.testRecoverSession},
		{"failures have a kind", n.testFailures},
		{"a deadline leaves no mount behind", n.testDeadline},
	} {
		t.Run(test.name, test.run)
	}
}

func (n node) testWithoutClient(t *testing.T) {
	n.sh(t, "! grep -w ceph /proc/filesystems; mv /lib/modules /lib/hidden")
	r := n.call(t, agent.MountRequest{Target: target(t)})
	n.sh(t, "mv /lib/hidden /lib/modules")
	if r.Kind != agent.KindUnavailable || !strings.Contains(r.Error, "modprobe ceph") {
		t.Errorf("got %+v", r)
	}
}

func (n node) testBothClients(t *testing.T) {
	s := n.cluster.createSubvolume(t, "both", 256*mib, "rw")
	here := s.fuse(t)
	there := n.mount(t, n.request(s, target(t)))

	sum := strings.Fields(n.sh(t, fmt.Sprintf("dd if=/dev/urandom of=%[1]s/guest bs=1M count=8 conv=fsync 2>/dev/null; sha256sum %[1]s/guest", there)))[0]
	if got := sha256File(t, filepath.Join(here, "guest")); got != sum {
		t.Errorf("written by the kernel client as %s, read by ceph-fuse as %s", sum, got)
	}

	data := make([]byte, 8*mib)
	if _, err := rand.Read(data); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(here, "host"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(data)
	if got := strings.Fields(n.sh(t, "sha256sum "+there+"/host"))[0]; got != hex.EncodeToString(want[:]) {
		t.Errorf("written by ceph-fuse as %x, read by the kernel client as %s", want, got)
	}

	// Appending in turns: each sees the other's lines at once.
	for i := range 5 {
		n.sh(t, fmt.Sprintf("echo guest %d >>%s/log", i, there))
		f, err := os.OpenFile(filepath.Join(here, "log"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintf(f, "host %d\n", i); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := n.sh(t, "wc -l <"+there+"/log"); got != "10" {
		t.Errorf("%s lines of 10", got)
	}
}

func (n node) testQuota(t *testing.T) {
	s := n.cluster.createSubvolume(t, "quota", 16*mib, "rw")
	there := n.mount(t, n.request(s, target(t)))
	if got := n.size(t, there); got != 16*mib {
		t.Errorf("size %d, want %d", got, 16*mib)
	}
	n.fails(t, "dd if=/dev/zero of="+there+"/big bs=1M count=64 conv=fsync", "Disk quota exceeded")
	s.resize(t, 64*mib)
	harness.Eventually(t, "the new size arrived", harness.Patience, func() error {
		if got := n.size(t, there); got != 64*mib {
			return fmt.Errorf("size %d", got)
		}
		return nil
	})
	n.sh(t, "dd if=/dev/zero of="+there+"/big bs=1M count=32 conv=fsync 2>&1")
}

func (n node) testReadOnly(t *testing.T) {
	s := n.cluster.createSubvolume(t, "readonly", 64*mib, "rw")
	req := n.request(s, target(t))
	req.Mount.ReadOnly = true
	there := n.mount(t, req)
	n.fails(t, "echo x >"+there+"/f", "Read-only file system")
	n.fails(t, "mount -o remount,rw "+there+" && echo x >"+there+"/f", "")

	// The same volume mounted for writing elsewhere doesn't make this one writable.
	req = n.request(s, there+"-rw")
	n.sh(t, "echo x >"+n.mount(t, req)+"/f")
	n.fails(t, "echo x >"+there+"/f", "")
}

func (n node) testReadOnlyIdentity(t *testing.T) {
	s := n.cluster.createSubvolume(t, "reader", 64*mib, "r")
	there := n.mount(t, n.request(s, target(t)))
	n.sh(t, "ls "+there)
	n.fails(t, "echo x >"+there+"/f", "ermission denied")
}

// testSnapshot fixes what the design of snapshot-backed volumes stands on.
func (n node) testSnapshot(t *testing.T) {
	s := n.cluster.createSubvolume(t, "snapshot", 64*mib, "rw")
	live := n.mount(t, n.request(s, target(t)))
	n.sh(t, "echo before >"+live+"/f; sync")
	s.snapshot(t, "one_2")
	n.sh(t, "echo after >"+live+"/f; sync")

	// In the mount's root, a snapshot of the directory above is _NAME_INODE.
	entry := n.sh(t, "cd "+live+"/.snap; echo _one_2_*")
	for _, dead := range []string{s.path + "/.snap/" + entry, filepath.Dir(s.path) + "/.snap/one_2/" + filepath.Base(s.path)} {
		req := n.request(s, live+"-direct")
		req.Mount.Path = dead
		if r := n.call(t, req); r.Kind != agent.KindNotFound && r.Kind != agent.KindDenied {
			t.Errorf("mounting %s: %+v", dead, r)
		}
	}

	req := n.request(s, live+"-hidden")
	req.Mount.ReadOnly = true
	if r := n.call(t, req); r.Kind != agent.KindNone {
		t.Fatalf("%+v", r)
	}
	bind := live + "-bind"
	n.sh(t, fmt.Sprintf("mkdir %[1]s; mount --bind %[2]s/.snap/%[3]s %[1]s; umount -l %[2]s", bind, req.Target, entry))
	if got := n.sh(t, "cat "+bind+"/f"); got != "before" {
		t.Errorf("the snapshot holds %q", got)
	}
	n.fails(t, "echo x >"+bind+"/f", "Read-only file system")
	n.sh(t, "umount "+bind)
}

func (n node) testProtocols(t *testing.T) {
	s := n.cluster.createSubvolume(t, "protocols", 64*mib, "rw")
	for _, mode := range []string{"legacy", "crc", "secure", "prefer-crc", "prefer-secure"} {
		t.Run(mode, func(t *testing.T) {
			req := n.request(s, target(t))
			// As a ceph.conf writes it: the mode chooses the address.
			req.Mount.Monitors = []string{"[v2:" + n.cluster.Monitor + ",v1:" + n.cluster.monitor1 + "]"}
			req.Mount.Options = []string{"ms_mode=" + mode}
			there := n.mount(t, req)
			want := n.sh(t, fmt.Sprintf("dd if=/dev/urandom of=%[1]s/f bs=1M count=4 conv=fsync 2>/dev/null; sha256sum %[1]s/f; echo 3 >/proc/sys/vm/drop_caches", there))
			if got := n.sh(t, "sha256sum "+there+"/f"); got != want {
				t.Errorf("wrote %s, read %s", want, got)
			}
		})
	}
}

func (n node) testKeyTraces(t *testing.T) {
	s := n.cluster.createSubvolume(t, "traces", 64*mib, "rw")
	there := n.mount(t, n.request(s, target(t)))
	for what, script := range map[string]string{
		"mounts":         "cat /proc/self/mountinfo",
		"kernel log":     "dmesg",
		"command lines":  "cat /proc/[0-9]*/cmdline | tr '\\0' ' '",
		"debugging file": "cat /sys/kernel/debug/ceph/*/* 2>/dev/null || true",
	} {
		if strings.Contains(n.sh(t, script), s.key) {
			t.Errorf("%s: the key is there", what)
		}
	}
	if mounts := n.sh(t, "grep "+there+" /proc/self/mountinfo"); !strings.Contains(mounts, "secret=<hidden>") {
		t.Errorf("mountinfo: %s", mounts)
	}
	// No key of the type the client uses is left in any keyring.
	if keys := n.sh(t, "awk '$8 ~ /^ceph/' /proc/keys"); keys != "" {
		t.Errorf("keys: %s", keys)
	}
}

func (n node) testReconnect(t *testing.T) {
	s := n.cluster.createSubvolume(t, "reconnect", 64*mib, "rw")
	there := n.mount(t, n.request(s, target(t)))
	n.sh(t, "echo 1 >"+there+"/f; sync")
	sessions := func() int {
		var count int
		if _, err := fmt.Sscan(n.sh(t, "dmesg | grep -c 'session established'"), &count); err != nil {
			t.Fatal(err)
		}
		return count
	}
	before := sessions()
	if err := n.Network(t.Context(), agent.NetworkDrop); err != nil {
		t.Fatal(err)
	}
	harness.Eventually(t, "a new monitor session", harness.Patience, func() error {
		if now := sessions(); now <= before {
			return fmt.Errorf("%d sessions so far, %d before", now, before)
		}
		return nil
	})
	n.sh(t, "echo 2 >>"+there+"/f; sync; echo 3 >/proc/sys/vm/drop_caches")
	if got := n.sh(t, "cat "+there+"/f"); got != "1\n2" {
		t.Errorf("got %q", got)
	}
}

func (n node) testEviction(t *testing.T) {
	s := n.cluster.createSubvolume(t, "evicted", 64*mib, "rw")
	req := n.request(s, target(t))
	there := n.mount(t, req)
	n.sh(t, "echo kept >"+there+"/f; sync")
	// Someone holds a file open, as a pod does: the old client can't go away.
	if err := n.Start(t.Context(), "holder", agent.Command{Args: []string{"sh", "-c", "exec sleep 1000 <" + there + "/f"}}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Signal(t.Context(), "holder", 9); err != nil {
			t.Error(err)
		}
	}()
	n.cluster.evictKernelClient(t, s.path)
	harness.Eventually(t, "the eviction shows", harness.Patience, func() error {
		r, err := n.Exec(t.Context(), agent.Command{Args: []string{"ls", there}})
		if err != nil {
			t.Fatal(err)
		}
		if r.Code == 0 {
			return fmt.Errorf("ls still works")
		}
		return nil
	})
	n.fails(t, "stat "+there, "Permission denied")
	n.fails(t, "cat "+there+"/f", "Permission denied")
	n.fails(t, "echo x >"+there+"/g", "Permission denied")
	// The monitors answer statfs, and they know nothing of an eviction.
	n.sh(t, "stat -f "+there)

	n.sh(t, "umount -l "+there)
	if r := n.call(t, req); r.Kind != agent.KindNone {
		t.Fatalf("mounting again: %+v", r)
	}
	if got := n.sh(t, "cat "+there+"/f; echo new >"+there+"/g; sync; cat "+there+"/g"); got != "kept\nnew" {
		t.Errorf("after the repair: %q", got)
	}
}

func (n node) testRecoverSession(t *testing.T) {
	s := n.cluster.createSubvolume(t, "recovers", 64*mib, "rw")
	req := n.request(s, target(t))
	req.Mount.Options = []string{"recover_session=clean"}
	there := n.mount(t, req)
	n.sh(t, "echo kept >"+there+"/f; sync")
	n.cluster.evictKernelClient(t, s.path)
	harness.Eventually(t, "the client recovered by itself", harness.Patience, func() error {
		r, err := n.Exec(t.Context(), agent.Command{Args: []string{"sh", "-ec", "echo new >" + there + "/g; sync; cat " + there + "/f " + there + "/g"}})
		if err != nil {
			t.Fatal(err)
		}
		if r.Code != 0 || string(r.Stdout) != "kept\nnew\n" {
			return fmt.Errorf("exit code %d: %s%s", r.Code, r.Stdout, r.Stderr)
		}
		return nil
	})
}

func sha256File(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}
