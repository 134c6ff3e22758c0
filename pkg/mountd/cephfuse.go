package mountd

// ceph-fuse: how it is started, and what it means by what it prints.

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// keyDescriptor is the number under which a client finds its key: the first after standard error.
const keyDescriptor = 3

// cephFuse is the kind.
type cephFuse struct{ binary, logDir string }

// cephClient is a client of the kind.
type cephClient struct {
	kind *cephFuse
	spec Spec
	cmd  *exec.Cmd
}

// place are the settings that say what is mounted, which is for the other fields of a spec to say.
func place() []string { return []string{"client_mountpoint=", "client_fs=", "client_mds_namespace="} }

var (
	wordForm    = regexp.MustCompile(`^[A-Za-z0-9_.][A-Za-z0-9_.:-]*$`)
	monitorForm = regexp.MustCompile(`^[A-Za-z0-9.:\[\]-]+$`)
	optionForm  = regexp.MustCompile(`^(client|fuse|rados)_[a-z0-9_]+=[A-Za-z0-9_.:+-]+$|^(noatime|nodiratime|nodev|noexec|nosuid|sync|dirsync)$`)
	// keyForm is base64 with nothing around it but white space.
	keyForm = regexp.MustCompile(`^\s*[A-Za-z0-9+/]+={0,2}\s*$`)
)

// check wants words that can mean nothing else on a command line than what they say.
func (*cephFuse) check(s Spec) string {
	switch {
	case !cleanPath(s.Path):
		return fmt.Sprintf("path %q is not a clean absolute path", s.Path)
	case !wordForm.MatchString(s.User), !wordForm.MatchString(s.FS):
		return fmt.Sprintf("user %q and fs %q must be words of [A-Za-z0-9_.:-]", s.User, s.FS)
	case len(s.Monitors) == 0 || slices.ContainsFunc(s.Monitors, func(m string) bool { return !monitorForm.MatchString(m) }):
		return fmt.Sprintf("monitors %q must be host:port", s.Monitors)
	case len(s.Engine) > 0:
		return "engine is for " + KindColdFS + " alone"
	}
	for _, o := range s.Options {
		placed := slices.ContainsFunc(place(), func(name string) bool { return strings.HasPrefix(o, name) })
		if placed || !optionForm.MatchString(o) {
			return fmt.Sprintf("option %q is neither a flag of a mount nor NAME=VALUE of a client_, fuse_ or rados_ setting", o)
		}
	}
	return ""
}

func (*cephFuse) secret(raw []byte) ([]byte, error) {
	if !keyForm.Match(raw) {
		return nil, fmt.Errorf("%w: the key isn't base64", ErrInvalid)
	}
	return bytes.TrimSpace(raw), nil
}

func (c *cephFuse) start(ctx context.Context, s Spec, secret, log *os.File) (client, error) {
	cmd := c.command(ctx, s, secret, log)
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFailed, err)
	}
	return &cephClient{c, s, cmd}, nil
}

// find knows a client by its mountpoint, the last word of its command line.
func (c *cephFuse) find(s Spec) (pid int, same bool) {
	pid, words := findWords(c.binary, s.Mountpoint)
	return pid, pid != 0 && sameClient(words, s)
}

func (c *cephClient) process() *exec.Cmd { return c.cmd }

// mounted waits until the client's mount is in the mount table.
func (c *cephClient) mounted(ctx context.Context, ended <-chan struct{}) (string, error) {
	look := time.NewTicker(logPoll)
	defer look.Stop()
	changes, err := mountpoint.Watch()
	if err != nil {
		return "", err
	}
	defer changes.Close()
	var monitors refusals
	for {
		found, ok, err := mountpoint.Find(c.spec.Mountpoint)
		if err != nil {
			return "", err
		}
		if ok && found.Source == c.spec.Source {
			return device(*found), nil
		}
		select {
		case <-ended:
			return "", explain(ErrFailed, c.spec, tail(c.kind.logDir, c.spec.Mountpoint))
		case <-ctx.Done():
			return "", fmt.Errorf("not mounted from %v in time: %w", c.spec.Monitors, explain(ErrUnreachable, c.spec, tail(c.kind.logDir, c.spec.Mountpoint)))
		case <-look.C:
			if monitors.final(head(c.kind.logDir, c.spec.Mountpoint)) {
				return "", fmt.Errorf("%w: the monitors refuse client.%s with the key of the request", ErrDenied, c.spec.User)
			}
		case <-changes.C:
		}
	}
}

func (c *cephClient) accepted() error { return checkOptions(head(c.kind.logDir, c.spec.Mountpoint)) }

// release: the connection is the client's alone.
func (*cephClient) release() {}

// command builds the command of a ceph-fuse process that gives up when it isn't connected at the end of ctx. It reads no configuration of
// the host, writes no file, and has the key as a descriptor; what it prints goes to log.
func (c *cephFuse) command(ctx context.Context, s Spec, key, log *os.File) *exec.Cmd {
	cmd := exec.Command(c.binary, arguments(s, patience(ctx))...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"}
	cmd.ExtraFiles = []*os.File{key}
	cmd.Stdout, cmd.Stderr = log, log
	// A session of its own: neither a terminal's signals nor the end of the holder reach it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd
}

// patience is how many seconds ceph-fuse may try: a little less than the request, so that it says itself why it gave up.
func patience(ctx context.Context) int {
	deadline, ok := ctx.Deadline()
	if !ok {
		return int(maxTime / time.Second)
	}
	return max(1, int((time.Until(deadline)-time.Second/2)/time.Second))
}

// mountTimeout is set by every command line, and may be set again by the options of the spec: the last one counts.
const mountTimeout = "--client_mount_timeout="

// posixACL has ceph-fuse check permissions itself, for only it knows the lists of POSIX ACL: with fuse_default_permissions the kernel checks
// the modes alone, and what a list denies is granted (seen with 16.2.15). Everywhere else the kernel checks: it knows the supplementary
// groups of a pod's processes, which ceph-fuse only finds when it runs in their PID namespace or an outer one (seen, too).
const posixACL = "client_acl_type=posix_acl"

func arguments(s Spec, seconds int) []string {
	args := []string{
		"-f", "-c", "/dev/null", "--keyring=", fmt.Sprintf("--keyfile=/proc/self/fd/%d", keyDescriptor),
		"-n", "client." + s.User, "-m", strings.Join(s.Monitors, ","), "--client_fs=" + s.FS, "-r", s.Path,
		"--admin_socket=", "--log_file=", "--log_to_stderr=true", "--err_to_stderr=true", "--crash_dir=",
		fmt.Sprintf("--fuse_default_permissions=%t", !slices.Contains(s.Options, posixACL)),
		// The kernel's directory entries are dropped one by one. By default ceph-fuse remounts its mountpoint for that, by path, at its
		// start and whenever the metadata server wants capabilities back, and aborts when it can't: unmounted within its
		// first seconds it would leave a session that blocks the volume for a minute (seen with 16.2.15), and a
		// staging path that lost its mount would take those of running pods with it.
		"--client_try_dentry_invalidate=true",
		mountTimeout + strconv.Itoa(seconds),
		"-o", "fsname=" + s.Source, "-o", "subtype=ceph-fuse",
	}
	if s.ReadOnly {
		args = append(args, "-o", "ro")
	}
	for _, o := range s.Options {
		if strings.Contains(o, "=") {
			args = append(args, "--"+o)
		} else {
			args = append(args, "-o", o)
		}
	}
	return append(args, s.Mountpoint)
}

// sameClient tells whether a process was started for the spec, from its command line.
func sameClient(words []string, s Spec) bool {
	withoutTimeout := func(words []string) []string {
		i := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, mountTimeout) })
		if i < 0 {
			return words
		}
		return slices.Delete(slices.Clone(words), i, i+1)
	}
	return len(words) > 0 && slices.Equal(withoutTimeout(words[1:]), withoutTimeout(arguments(s, 0)))
}

// refusal is what ceph-fuse prints when a monitor refuses its user or key. It then tries again, every three seconds, until its time is up.
const refusal = "handle_auth_bad_method"

// roundTime is less than the time between two rounds in which ceph-fuse asks the monitors, and more than one of them takes.
const roundTime = time.Second

// refusals tells from a client's log when the cluster has refused its key for good: in a second round. In the first one a monitor may
// refuse that hasn't learned of a new key yet, while another one accepts it.
type refusals struct {
	first time.Time // of the first refusal that was seen
	lines int       // refusals at that time
}

func (r *refusals) final(log []byte) bool {
	lines := bytes.Count(log, []byte(refusal))
	if lines > 0 && r.lines == 0 {
		r.first, r.lines = time.Now(), lines
	}
	return lines > r.lines && time.Since(r.first) > roundTime
}

// ignored is what ceph-fuse prints of an option whose value it doesn't understand, and goes on without.
var ignored = regexp.MustCompile(`parse error setting '([a-z0-9_]+)' to '[^'\n]*'[^\n]*`)

// checkOptions tells from a client's log whether it took all options of the spec.
func checkOptions(log []byte) error {
	if what := ignored.Find(log); what != nil {
		return fmt.Errorf("%w: ceph-fuse goes on without an option: %s", ErrInvalid, what)
	}
	return nil
}

// failure is the text with which ceph-fuse gives up: "ceph mount failed with (13) Permission denied", and of the library below it.
var failure = regexp.MustCompile(`(?:failed with|failed:|error:?|unable to [a-z ]+:?) \((\d+)\)`)

// explain turns the end of a client's log into an error; otherwise is what it is when the log doesn't say.
func explain(otherwise error, s Spec, tail string) error {
	sentinel := otherwise
	switch {
	case strings.Contains(tail, refusal):
		sentinel = ErrDenied
	case strings.Contains(tail, "authenticate timed out"): // and nobody refused
		sentinel = ErrUnreachable
	}
	var hint string
	if m := failure.FindAllStringSubmatch(tail, -1); m != nil {
		number, _ := strconv.Atoi(m[len(m)-1][1])
		switch syscall.Errno(number) {
		case syscall.EACCES, syscall.EPERM:
			sentinel = ErrDenied
		case syscall.ENOENT:
			sentinel = ErrNotFound
		case syscall.ETIMEDOUT, syscall.EHOSTUNREACH, syscall.ECONNREFUSED:
			sentinel = ErrUnreachable
			// Seen with 16.2.15: the metadata server waits for a client that was killed, until it counts as gone.
			hint = " (no metadata server is active, or a client of the volume was killed less than a minute ago and is still waited for)"
		}
	}
	return fmt.Errorf("%w%s: ceph-fuse as client.%s on %s of file system %s: %s", sentinel, hint, s.User, s.Path, s.FS, tail)
}
