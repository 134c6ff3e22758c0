package main

// Process 1: makes the machine out of what the initramfs brought, starts the
// agent, and then only reaps what others leave behind.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/tests/kernel/agent"
)

// boot returns only with an error.
func boot() error {
	if err := os.Setenv("PATH", "/bin:/sbin"); err != nil {
		return err
	}
	if err := mountAll(); err != nil {
		return err
	}
	cmdline, err := commandLine()
	if err != nil {
		return err
	}
	if err := run("/bin/busybox", "--install", "-s", "/bin"); err != nil {
		return err
	}
	if modules := cmdline[agent.ParamModules]; modules != "" {
		if err := run("modprobe", append([]string{"-a"}, strings.Split(modules, ",")...)...); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"addr", "add", "10.0.2.15/24", "dev", "eth0"},
		{"link", "set", "eth0", "up"},
		{"route", "add", "default", "via", agent.HostLoopback},
	} {
		if err := run("ip", args...); err != nil {
			return err
		}
	}
	a := exec.Command("/init", "agent")
	a.Stdout, a.Stderr = os.Stdout, os.Stderr
	if err := a.Start(); err != nil {
		return err
	}
	for {
		pid, err := unix.Wait4(-1, nil, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case pid == a.Process.Pid:
			return errors.New("the agent ended")
		}
	}
}

func mountAll() error {
	for _, m := range []struct{ fs, dir, options string }{
		{"proc", "/proc", ""},
		{"sysfs", "/sys", ""},
		{"devtmpfs", "/dev", ""},
		{"tmpfs", "/run", "mode=0755"},
		{"tmpfs", "/tmp", "mode=1777"},
		{"tmpfs", "/var", "mode=0755"},
		{"debugfs", "/sys/kernel/debug", ""},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.fs, m.dir, m.fs, 0, m.options); err != nil {
			return fmt.Errorf("mount %s: %w", m.dir, err)
		}
	}
	// As on a node: what is mounted in one mount namespace is seen in the others.
	if err := unix.Mount("", "/", "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share /: %w", err)
	}
	return os.MkdirAll("/run/lab", 0o755)
}

// commandLine reads the NAME=VALUE words of the kernel's command line.
func commandLine() (map[string]string, error) {
	b, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	words := make(map[string]string)
	for _, w := range strings.Fields(string(b)) {
		name, value, _ := strings.Cut(w, "=")
		words[name] = value
	}
	return words, nil
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
