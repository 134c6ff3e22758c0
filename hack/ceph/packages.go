package main

// Installing what the project needs beside Go: Debian packages, only the missing ones.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// dpkgDir exists on every Debian. Its lock keeps two of us from installing at once (dpkg's own are on files in it).
const dpkgDir = "/var/lib/dpkg"

// packages is everything the project's commands and tests call on Debian 12.
func packages() []string {
	return []string{
		"ceph-base", "ceph-common", "ceph-mon", "ceph-mgr", "ceph-mgr-modules-core", "ceph-osd", "ceph-mds", "radosgw", "ceph-fuse",
		"librados-dev", "libcephfs-dev", "gcc", "libc6-dev", // strata-controller and the go-ceph binding
		"fuse3", "attr", "fio", "kmod", // mounts and their tests
		"qemu-system-x86", "cpio", "busybox-static", "xz-utils", // the emulated machine with the kernel client
		"lvm2", "dmsetup", "util-linux", "e2fsprogs", "xfsprogs", "btrfs-progs", // scratch volumes, here and in that machine
		"containerd", "runc", "containernetworking-plugins", "iproute2", "iptables", "conntrack", "socat", // Kubernetes
	}
}

// missingPackages returns those of want that dpkg-query's output, lines of
// "NAME STATUS" with db:Status-Status, doesn't call installed.
func missingPackages(want []string, dpkg string) []string {
	installed := map[string]bool{}
	for line := range strings.Lines(dpkg) {
		if f := strings.Fields(line); len(f) == 2 && f[1] == "installed" {
			installed[f[0]] = true
		}
	}
	var missing []string
	for _, p := range want {
		if !installed[p] {
			missing = append(missing, p)
		}
	}
	return missing
}

// queryMissing asks dpkg what of want isn't installed.
func queryMissing(ctx context.Context, want []string) ([]string, error) {
	// dpkg-query exits 1 when it doesn't know one of the names, and still prints the others.
	args := append([]string{"-W", "-f", "${Package} ${db:Status-Status}\n"}, want...)
	out, err := exec.CommandContext(ctx, "dpkg-query", args...).Output()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return nil, fmt.Errorf("dpkg-query (hack/ceph installs Debian packages and runs on Debian 12): %w", err)
	}
	return missingPackages(want, string(out)), nil
}

// installPackages installs what is missing, more included, and doesn't touch the network when nothing is.
func installPackages(ctx context.Context, say *Progress, more ...string) error {
	want := append(packages(), more...)
	missing, err := queryMissing(ctx, want)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if os.Geteuid() != 0 {
			return fmt.Errorf("packages are missing and only root can install them; run: apt-get install --no-install-recommends %s", strings.Join(missing, " "))
		}
		if err := installMissing(ctx, say, want); err != nil {
			return err
		}
	}
	say.Step("packages: all %d installed", len(want))
	return nil
}

// installMissing installs under the lock, with services forbidden.
func installMissing(ctx context.Context, say *Progress, want []string) (err error) {
	lock, err := os.Open(dpkgDir)
	if err != nil {
		return err
	}
	defer lock.Close()
	err = poll(ctx, 200*time.Millisecond, func() (bool, string, error) {
		err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return false, "another installation of packages", nil
		}
		return err == nil, "", err
	})
	if err != nil {
		return err
	}
	missing, err := queryMissing(ctx, want) // another of us may have installed them meanwhile
	if err != nil || len(missing) == 0 {
		return err
	}
	restore, err := forbidServices(servicePolicy)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, restore()) }()
	say.Step("packages: updating the package lists")
	if err := apt(ctx, say, "update"); err != nil {
		return err
	}
	say.Step("packages: installing %s", strings.Join(missing, " "))
	return apt(ctx, say, append([]string{"install", "--yes", "--no-install-recommends"}, missing...)...)
}

// apt runs apt-get to its end whatever happens to this program: a dpkg that is killed leaves packages half
// configured. So it has a session of its own, and its output goes to a file without a name, not a pipe.
func apt(ctx context.Context, say *Progress, args ...string) error {
	out, err := os.CreateTemp("", "strata-apt-")
	if err != nil {
		return err
	}
	defer out.Close()
	if err := os.Remove(out.Name()); err != nil {
		return err
	}
	cmd := exec.Command("apt-get", append([]string{"-q", "-o", "DPkg::Lock::Timeout=300"}, args...)...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("apt-get: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { say.Step("packages: finishing apt-get %s before stopping", args[0]) })
	defer stop()
	if err := cmd.Wait(); err != nil {
		b, rerr := io.ReadAll(io.NewSectionReader(out, 0, 1<<20))
		return errors.Join(fmt.Errorf("apt-get %s: %w\n%s", args[0], err, lastLines(b, 20)), rerr)
	}
	return ctx.Err()
}

// servicePolicy is asked by Debian's invoke-rc.d and deb-systemd-invoke before they start a daemon.
const servicePolicy = "/usr/sbin/policy-rc.d"

// servicePolicyText answers "forbidden by policy".
const servicePolicyText = "#!/bin/sh\n# Written by Strata's hack/ceph for the time of an installation.\nexit 101\n"

// forbidServices keeps packages from starting daemons while they are installed, and returns what allows it again.
// A policy that isn't ours is left alone; one of ours, left by an interrupted installation, is taken over.
func forbidServices(path string) (restore func() error, err error) {
	present, err := os.ReadFile(path)
	switch {
	case err == nil && string(present) != servicePolicyText:
		return func() error { return nil }, nil
	case errors.Is(err, fs.ErrNotExist):
		err = writeFile(path, []byte(servicePolicyText), 0o755)
	}
	if err != nil {
		return nil, err
	}
	return func() error { return os.Remove(path) }, nil
}

func lastLines(b []byte, n int) string {
	lines := bytes.Split(bytes.TrimSpace(b), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}
