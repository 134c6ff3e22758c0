package kernel

// The cluster, seen from the host: commands, subvolumes with an identity each, and
// ceph-fuse mounts as the other kind of client.

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/tests/harness"
)

// cluster is the development Ceph.
type cluster struct {
	*harness.Ceph
	monitor1 string // for version 1 of the protocol; Ceph.Monitor is for version 2
	portBase int    // of the ports its daemons listen on
	group    string // the subvolume group of the tests that need no controller
}

// openCluster finds the running cluster.
func openCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{Ceph: harness.NewCeph(t), group: "kernel-test-" + strconv.Itoa(os.Getpid())}
	var dump struct {
		Mons []struct {
			Addrs struct {
				Vec []struct{ Type, Addr string } `json:"addrvec"`
			} `json:"public_addrs"`
		} `json:"mons"`
	}
	c.JSON(t, &dump, "mon", "dump")
	for _, a := range dump.Mons[0].Addrs.Vec {
		if a.Type == "v1" {
			c.monitor1 = a.Addr
		}
	}
	v2, err := netip.ParseAddrPort(c.Monitor)
	if err != nil || !v2.Addr().IsLoopback() || c.monitor1 == "" {
		t.Fatalf("the monitor's addresses %q and %q: want both, on 127.0.0.1: %v", c.Monitor, c.monitor1, err)
	}
	c.portBase = int(v2.Port())
	c.Run(t, "fs", "subvolumegroup", "create", harness.FS, c.group)
	t.Cleanup(func() {
		if _, err := c.Try("fs", "subvolumegroup", "rm", harness.FS, c.group); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	return c
}

// subvolume is a subvolume and the identity that may mount it.
type subvolume struct {
	cluster               *cluster
	name, path, user, key string
}

// createSubvolume makes a subvolume of size bytes whose identity may do access: "rw" or "r".
func (c *cluster) createSubvolume(t *testing.T, name string, size int64, access string) subvolume {
	t.Helper()
	s := subvolume{cluster: c, name: name, user: c.group + "." + name}
	c.Run(t, "fs", "subvolume", "create", harness.FS, name, "--group_name", c.group, "--size", strconv.FormatInt(size, 10),
		"--pool_layout", harness.ECPool, "--namespace-isolated", "--mode", "0777")
	t.Cleanup(func() {
		_, err := c.Try("fs", "subvolume", "rm", harness.FS, name, "--group_name", c.group)
		_, err2 := c.Try("auth", "rm", "client."+s.user)
		if err != nil || err2 != nil {
			t.Errorf("clean up: %v %v", err, err2)
		}
	})
	var info struct {
		Path      string `json:"path"`
		Namespace string `json:"pool_namespace"`
	}
	c.JSON(t, &info, "fs", "subvolume", "info", harness.FS, name, "--group_name", c.group)
	s.path = info.Path
	c.Run(t, "auth", "get-or-create", "client."+s.user, "mon", "allow r", "mds", "allow "+access+" path="+s.path,
		"osd", fmt.Sprintf("allow %s pool=%s namespace=%s", access, harness.ECPool, info.Namespace))
	s.key = c.Key(t, s.user)
	return s
}

func (s subvolume) resize(t *testing.T, size int64) {
	t.Helper()
	s.cluster.Run(t, "fs", "subvolume", "resize", harness.FS, s.name, strconv.FormatInt(size, 10), "--group_name", s.cluster.group)
}

// snapshot takes a snapshot, which is removed with the test.
func (s subvolume) snapshot(t *testing.T, name string) {
	t.Helper()
	s.cluster.Run(t, "fs", "subvolume", "snapshot", "create", harness.FS, s.name, name, "--group_name", s.cluster.group)
	t.Cleanup(func() {
		if _, err := s.cluster.Try("fs", "subvolume", "snapshot", "rm", harness.FS, s.name, name, "--group_name", s.cluster.group); err != nil {
			t.Error(err)
		}
	})
}

// evictKernelClient evicts the kernel's clients that mounted path.
func (c *cluster) evictKernelClient(t *testing.T, path string) {
	t.Helper()
	var sessions []struct {
		ID       int64 `json:"id"`
		Metadata struct {
			Root   string `json:"root"`
			Kernel string `json:"kernel_version"` // only the kernel's client says it
		} `json:"client_metadata"`
	}
	const mds = "mds." + harness.FS + ":0"
	c.JSON(t, &sessions, "tell", mds, "session", "ls")
	evicted := 0
	for _, session := range sessions {
		if session.Metadata.Root == path && session.Metadata.Kernel != "" {
			c.Run(t, "tell", mds, "client", "evict", "id="+strconv.FormatInt(session.ID, 10))
			evicted++
		}
	}
	if evicted == 0 {
		t.Fatalf("no kernel client of %s among %d sessions", path, len(sessions))
	}
}

// fuse mounts the subvolume on the host with ceph-fuse and returns where.
func (s subvolume) fuse(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	keyring := filepath.Join(dir, "keyring")
	if err := os.WriteFile(keyring, []byte("[client."+s.user+"]\n\tkey = "+s.key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	mnt := filepath.Join(dir, "mnt")
	if err := os.Mkdir(mnt, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("ceph-fuse", "-f", "--conf", s.cluster.Conf(), "--name", "client."+s.user, "--keyring", keyring,
		"--client_fs="+harness.FS, "-r", s.path, "--log-file=", "--admin-socket=", mnt)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := unix.Unmount(mnt, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Error("ceph-fuse did not end after the unmount")
			_ = cmd.Process.Kill()
		}
	})
	harness.Eventually(t, "ceph-fuse mounts", harness.Patience, func() error {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("ceph-fuse ended: %v", err)
		default:
		}
		var st unix.Statfs_t
		if err := unix.Statfs(mnt, &st); err != nil || st.Type != unix.FUSE_SUPER_MAGIC {
			return fmt.Errorf("not yet: %v", err)
		}
		return nil
	})
	return mnt
}
