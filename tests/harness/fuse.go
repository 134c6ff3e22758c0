package harness

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mountFuse mounts path of the file system with a bare ceph-fuse, without any of our code, and unmounts it with the test.
func mountFuse(t testing.TB, c *Ceph, dir, user, keyring, path string, options ...string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-f", "--conf", c.Conf(), "--name", "client." + user, "--keyring", keyring,
		"--client_fs=" + FS, "-r", path, "--log-file=", "--admin-socket="}, options...)
	cmd := exec.Command("ceph-fuse", append(args, dir)...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
		select {
		case <-ended:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			<-ended
		}
	})
	const fuseMagic = 0x65735546
	Eventually(t, "ceph-fuse mounts "+path, Patience, func() error {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("ceph-fuse ended: %v\n%s", err, out.String())
		default:
		}
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil {
			return err
		}
		if st.Type != fuseMagic {
			return os.ErrNotExist
		}
		return nil
	})
}
