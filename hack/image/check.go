package main

// Looking into the archives: what they say and that what they promise runs. The archives are read, not the builder's storage.

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// call is a program that must run in an image. It is called as the image's user.
type call struct {
	args   []string
	output string // what must be in its output
}

// promise is what must be true of one of the driver's images.
type promise struct {
	user       string
	entrypoint string
	calls      []call
	libraries  []string // programs whose libraries must all be there
}

// fileTools are what pkg/mkfs and pkg/scratch/lvm call, at the first of the places where those look.
var fileTools = map[string]call{
	"mkfs.ext4":  {[]string{"/usr/sbin/mkfs.ext4", "-V"}, "mke2fs"},
	"resize2fs":  {[]string{"/bin/sh", "-c", "/usr/sbin/resize2fs 2>&1; exit 0"}, "resize2fs 1."},
	"mkfs.xfs":   {[]string{"/usr/sbin/mkfs.xfs", "-V"}, "mkfs.xfs version"},
	"xfs_growfs": {[]string{"/usr/sbin/xfs_growfs", "-V"}, "xfs_growfs version"},
	"lvm":        {[]string{"/usr/sbin/lvm", "version"}, "LVM version"},
}

// authorities are those that the certificates of S3 stores are checked against without a caBundle, where Go looks for them first (crypto/x509, root_linux.go).
var authorities = call{[]string{"/bin/cat", "/etc/ssl/certs/ca-certificates.crt"}, "-----BEGIN CERTIFICATE-----"}

// promises are by target of the Dockerfile.
func promises() map[string]promise {
	node := promise{
		entrypoint: "/usr/local/bin/strata-node",
		calls: []call{
			{[]string{"/usr/local/bin/strata-node", "--version"}, "dev-"},
			{[]string{"/usr/local/bin/strata-mountd", "--version"}, "dev-"},
			{[]string{"/usr/local/bin/strata-coldfs", "--version"}, "dev-"},
			{[]string{"ceph-fuse", "--version"}, "ceph version"},
			{[]string{"fusermount3", "--version"}, "fusermount3 version"},
			{[]string{"mount", "--version"}, "util-linux"},
			{[]string{"losetup", "--version"}, "util-linux"},
			{[]string{"btrfs", "--version"}, "btrfs-progs"},
			authorities,
		},
		libraries: []string{"/usr/bin/ceph-fuse", "/usr/sbin/lvm", "/usr/sbin/mkfs.ext4", "/usr/sbin/mkfs.xfs"},
	}
	for _, c := range fileTools {
		node.calls = append(node.calls, c)
	}
	return map[string]promise{
		"node": node,
		"controller": {
			user: nonroot, entrypoint: "/usr/local/bin/strata-controller",
			calls:     []call{{[]string{"/usr/local/bin/strata-controller", "--version"}, "dev-"}, authorities},
			libraries: []string{"/usr/local/bin/strata-controller"},
		},
	}
}

// searches must find nothing in an image of the Dockerfile.
var searches = []struct{ what, find string }{
	{"files that run as another user or group", "find / -xdev -type f -perm /6000"},
	{"files that anybody may write", "find / -xdev -type f -perm -0002"},
	{"lists of packages, which age", "find /var/lib/apt/lists /var/cache -type f"},
	{"manuals and translations", "find /usr/share/man /usr/share/info /usr/share/locale -type f"},
}

// check looks into the archives and prints what is wrong of each.
func (s *store) check(ctx context.Context, images []image) error {
	log, err := s.logFile("check")
	if err != nil {
		return err
	}
	defer log.Close()
	var errs []error
	for _, i := range images {
		err := s.checkOne(ctx, log, i)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", i.name, err))
			continue
		}
		s.say.Step("%s: as promised", i.name)
	}
	return errors.Join(errs...)
}

func (s *store) checkOne(ctx context.Context, log io.Writer, i image) error {
	references, c, err := readArchive(s.path(i.name + ".tar"))
	if err != nil {
		return err
	}
	if !slices.Equal(references, []string{i.reference}) {
		return fmt.Errorf("has the references %q, not %q", references, i.reference)
	}
	if i.target == "" {
		return differs(c.Config, i.config)
	}
	p := promises()[i.target]
	want := config{User: p.user, Entrypoint: []string{p.entrypoint}}
	errs := []error{differs(config{User: c.Config.User, Entrypoint: c.Config.Entrypoint}, want), labels(i, c.Config.Labels)}
	container := "check-" + i.name
	if _, err := s.buildah(ctx, log, "", "from", "--name", container, "docker-archive:"+s.path(i.name+".tar")); err != nil {
		return err
	}
	defer func() { _, _ = s.buildah(context.WithoutCancel(ctx), log, "", "rm", container) }() // else the next build does it
	user := c.Config.User
	if user == "" {
		user = "0:0"
	}
	run := func(args ...string) (string, error) { return s.inside(ctx, log, container, user, args...) }
	for _, c := range p.calls {
		// Some tell their version on standard error.
		out, err := run(append([]string{"/bin/sh", "-c", `exec "$@" 2>&1`, "sh"}, c.args...)...)
		if err == nil && !strings.Contains(out, c.output) {
			err = fmt.Errorf("%q says %q, without %q", c.args, out, c.output)
		}
		errs = append(errs, err)
	}
	for _, l := range p.libraries {
		out, err := run("ldd", l)
		if err == nil && strings.Contains(out, "not found") {
			err = fmt.Errorf("%s lacks libraries:\n%s", l, out)
		}
		errs = append(errs, err)
	}
	for _, q := range searches {
		// Places that aren't there are as good as empty ones.
		out, err := s.inside(ctx, log, container, "0:0", "/bin/sh", "-c", q.find+" 2>/dev/null; exit 0")
		if err == nil && out != "" {
			err = fmt.Errorf("has %s: %s", q.what, strings.Join(strings.Fields(out), " "))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// inside runs a program in a container's root directory and returns what it printed. There is nothing but the image: no /proc, no
// devices, and not the files that a builder puts over it. "buildah run" was seen to lose what a short program printed.
func (s *store) inside(ctx context.Context, log io.Writer, container, user string, args ...string) (string, error) {
	const script = `root=$(buildah --root "$1" --runroot "$2" --storage-driver overlay mount "$3") && user=$4 && shift 4 &&
exec chroot --userspec "$user" "$root" "$@"`
	all := []string{"-c", script, "sh", s.path("storage"), s.runRoot(), container, user}
	return s.command(ctx, log, "/", "", "sh", append(all, args...)...)
}

// differs compares what says how an image runs, but for the environment.
func differs(have, want config) error {
	if have.User != want.User || !slices.Equal(have.Entrypoint, want.Entrypoint) || !slices.Equal(have.Cmd, want.Cmd) {
		return fmt.Errorf("runs as user %q: %q %q; should be user %q: %q %q",
			have.User, have.Entrypoint, have.Cmd, want.User, want.Entrypoint, want.Cmd)
	}
	return nil
}

// labels asks for those that operators and scanners read (OCI image specification, annotations.md).
func labels(i image, have map[string]string) error {
	want := []string{"title", "description", "source", "licenses", "version"}
	var missing []string
	for _, l := range want {
		if have["org.opencontainers.image."+l] == "" {
			missing = append(missing, "org.opencontainers.image."+l)
		}
	}
	if key, value, ok := strings.Cut(i.label, "="); ok && have[key] != value {
		missing = append(missing, i.label)
	}
	if len(missing) > 0 {
		return fmt.Errorf("lacks the labels %s", strings.Join(missing, ", "))
	}
	return nil
}
