package harness

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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

// As is a Ceph user with the key of a volume's secret, as whoever has taken a node holds it.
type As struct {
	User    string   // without "client."
	Keyring string   // path of a file with its key
	Machine *Machine // where Run and TryMount run; nil: on this one
	ceph    *Ceph
}

// As writes the key of a secret where the programs of Ceph read it.
func (c *Ceph) As(t testing.TB, secret map[string]string) As {
	t.Helper()
	a := As{User: secret["userID"], Keyring: filepath.Join(shortDir(t), "keyring"), ceph: c}
	if a.User == "" || secret["userKey"] == "" {
		t.Fatal("the secret has no user or no key")
	}
	text := "[client." + a.User + "]\n\tkey = " + secret["userKey"] + "\n"
	if err := os.WriteFile(a.Keyring, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return a
}

// Mount mounts a path of the file system and returns where; it is unmounted with the test.
func (a As) Mount(t testing.TB, path string) string {
	t.Helper()
	dir := filepath.Join(shortDir(t), "m")
	mountFuse(t, a.ceph, dir, a.User, a.Keyring, path)
	return dir
}

// TryMount says why a path of the file system can't be mounted; nil: it could, and was unmounted again.
func (a As) TryMount(t testing.TB, path string) error {
	t.Helper()
	dir := filepath.Join(shortDir(t), "m")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// It goes into the background when it has mounted, and ends by itself when it is unmounted.
	_, err := a.Run("ceph-fuse", "--client_fs="+FS, "-r", path, "--log-file=", "--admin-socket=", "--client_mount_timeout=30", dir)
	if err == nil {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	}
	return err
}

// Run runs one of the programs of Ceph as the user.
func (a As) Run(program string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, append([]string{"--conf", a.ceph.Conf(), "--name", "client." + a.User, "--keyring", a.Keyring}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	ended := make(chan error, 1)
	go func() {
		if a.Machine != nil {
			lockThread() // and it ends with the goroutine
		}
		if err := a.Machine.enter(); err != nil {
			ended <- err
			return
		}
		ended <- cmd.Run()
	}()
	if err := <-ended; err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}
