package main

// A bare mount: ceph-fuse as strata-mountd starts it, and a bind mount, without any of our programs.

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// bareMount is one such mount.
type bareMount struct {
	staging, target string
	source          string // path in the file system
	cmd             *exec.Cmd
	ended           chan struct{}
}

// bareMountOf prepares a mount, without mounting.
func (b *bench) bareMountOf(name, source string) (*bareMount, error) {
	dir := filepath.Join(b.Dir, "bare", name)
	m := &bareMount{staging: filepath.Join(dir, "staging"), target: filepath.Join(dir, "target"), source: source}
	b.mu.Lock()
	b.bare = append(b.bare, m)
	b.mu.Unlock()
	return m, errors.Join(os.MkdirAll(m.staging, 0o750), os.MkdirAll(m.target, 0o750))
}

// mount starts ceph-fuse with the options of pkg/mountd/cephfuse.go and pkg/warm/client/fuse.go, waits until its mount is there, and binds it.
func (m *bareMount) mount(ctx context.Context, monitor string, who credential) error {
	key, err := keyFile(who.key)
	if err != nil {
		return err
	}
	defer key.Close()
	log, err := os.Create(m.staging + ".log")
	if err != nil {
		return err
	}
	defer log.Close()
	before, err := device(m.staging)
	if err != nil {
		return err
	}
	m.cmd = exec.Command("ceph-fuse", "-f", "-c", "/dev/null", "--keyring=", "--keyfile=/proc/self/fd/3", "-n", "client."+who.user,
		"-m", monitor, "--client_fs="+fsName, "-r", m.source, "--admin_socket=", "--log_file=", "--log_to_stderr=true",
		"--err_to_stderr=true", "--crash_dir=", "--fuse_default_permissions=true", "--client_try_dentry_invalidate=true",
		"-o", "fsname=bare", m.staging)
	m.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	m.cmd.ExtraFiles, m.cmd.Stdout, m.cmd.Stderr = []*os.File{key}, log, log
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // ctrl-C is for us, and we unmount
	if err := m.cmd.Start(); err != nil {
		return err
	}
	m.ended = make(chan struct{})
	go func() {
		_ = m.cmd.Wait()
		close(m.ended)
	}()
	if err := awaitMount(ctx, m.staging, before, m.ended, log.Name()); err != nil {
		return err
	}
	return os.NewSyscallError("bind", unix.Mount(m.staging, m.target, "", unix.MS_BIND, ""))
}

// awaitMount waits until something else is mounted at a path than the device before, or the process that mounts it has ended.
func awaitMount(ctx context.Context, path string, before uint64, ended <-chan struct{}, log string) error {
	for {
		now, err := device(path)
		if err != nil || now != before {
			return err
		}
		select {
		case <-ended:
			text, _ := os.ReadFile(log)
			return fmt.Errorf("the process that was to mount %s ended: %s", path, strings.TrimSpace(string(text)))
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Millisecond): // a mount takes 40 of them
		}
	}
}

// unmount takes both away and waits until ceph-fuse has ended, having written everything back.
func (m *bareMount) unmount(ctx context.Context) error {
	for _, path := range []string{m.target, m.staging} {
		if err := unix.Unmount(path, 0); err != nil {
			return os.NewSyscallError("unmount "+path, err)
		}
	}
	select {
	case <-m.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// discard ends what an interrupted run has left of a mount.
func (m *bareMount) discard() error {
	if m.ended == nil {
		return nil
	}
	for _, path := range []string{m.target, m.staging} {
		_ = unix.Unmount(path, unix.MNT_DETACH) // there may be none
	}
	for _, signal := range []os.Signal{unix.SIGTERM, unix.SIGKILL} {
		_ = m.cmd.Process.Signal(signal)
		select {
		case <-m.ended:
			return nil
		case <-time.After(5 * time.Second):
		}
	}
	return fmt.Errorf("ceph-fuse, process %d, doesn't end", m.cmd.Process.Pid)
}

// keyFile is a file in memory that holds a key, at its beginning.
func keyFile(key string) (*os.File, error) {
	fd, err := unix.MemfdCreate("key", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "key")
	if _, err := f.WriteAt([]byte(key), 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// device tells what is mounted at a path from what was there before.
func device(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return st.Dev, nil
}
