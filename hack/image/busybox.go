package main

// A userland of one static program, and Debian's packages that this command needs.

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"strings"
)

// busyboxPath is where busybox-static installs it.
const busyboxPath = "/usr/bin/busybox"

// needs are the programs this command calls and the packages they are in.
var needs = []struct{ path, pkg string }{
	{"/usr/bin/buildah", "buildah"},
	{"/usr/sbin/debootstrap", "debootstrap"},
	{busyboxPath, "busybox-static"},
}

// install installs what is missing.
func (s *store) install(ctx context.Context) error {
	var missing []string
	for _, n := range needs {
		if _, err := os.Stat(n.path); errors.Is(err, fs.ErrNotExist) {
			missing = append(missing, n.pkg)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	install := append([]string{"install", "--yes", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"}, missing...)
	if os.Geteuid() != 0 {
		return fmt.Errorf("packages are missing and only root can install them; run: apt-get %s", strings.Join(install, " "))
	}
	log, err := s.logFile("packages")
	if err != nil {
		return err
	}
	defer log.Close()
	s.say.Step("packages: installing %s", strings.Join(missing, " "))
	for _, args := range [][]string{{"update"}, install} {
		// To its end whatever happens to us: a dpkg that is killed leaves packages half configured.
		if _, err := s.command(context.WithoutCancel(ctx), log, "/", "", "apt-get", args...); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// busyboxEntries are busybox under all the names it answers to, and what programs look for in /etc and /tmp.
func busyboxEntries(ctx context.Context) ([]entry, error) {
	program, err := os.ReadFile(busyboxPath)
	if err != nil {
		return nil, err
	}
	if err := static(program); err != nil {
		return nil, fmt.Errorf("%s: %w: install busybox-static", busyboxPath, err)
	}
	out, err := exec.CommandContext(ctx, busyboxPath, "--list-full").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list-full: %w", busyboxPath, err)
	}
	return userlandEntries(program, strings.Fields(string(out))), nil
}

// userlandEntries places a program and links to it. A shell script of the tests' may begin with /bin/sh and call the rest by name.
func userlandEntries(program []byte, applets []string) []entry {
	var entries []entry
	for _, d := range []string{"/bin/", "/etc/", "/home/", "/mnt/", "/root/", "/sbin/", "/usr/", "/usr/bin/", "/usr/sbin/", "/var/"} {
		entries = append(entries, entry{name: d, mode: 0o755})
	}
	entries = append(entries,
		entry{name: "/tmp/", mode: 0o1777},
		entry{name: "/bin/busybox", mode: 0o755, data: program},
		entry{name: "/etc/passwd", mode: 0o644, data: []byte("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n")},
		entry{name: "/etc/group", mode: 0o644, data: []byte("root:x:0:\nnogroup:x:65534:\n")},
	)
	placed := map[string]bool{"/bin/busybox": true}
	for _, a := range applets {
		// Only the directories above; busybox also knows /linuxrc and the like.
		a = path.Join("/", a)
		switch dir := path.Dir(a); dir {
		case "/bin", "/sbin", "/usr/bin", "/usr/sbin":
			if !placed[a] {
				entries = append(entries, entry{name: a, link: "/bin/busybox", mode: 0o777})
				placed[a] = true
			}
		}
	}
	return entries
}
