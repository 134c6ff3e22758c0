// Command ceph (go run ./hack/ceph) runs a real Ceph for development on this machine. See --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const usage = `A real Ceph for development, on 127.0.0.1 only, in one directory.

  go run ./hack/ceph [--dir DIR] [--port-base PORT] VERB

  install [PACKAGE...]    install the missing Debian packages (start does it too), and those named, which only a benchmark wants
  start                   make the cluster if there is none, start what isn't running, wait until
                          everything answers; harmless to repeat
  stop                    end all processes and remove the directory: no data survives
  status                  what runs and what answers; exit code 1 unless all is well
  env                     shell assignments: eval "$(go run ./hack/ceph env)", then: ceph -s
  start DAEMON            start one daemon that was stopped, killed or paused, and wait until it is at work
  stop DAEMON             end one daemon properly (SIGTERM)
  kill DAEMON [SIGNAL]    send one daemon a signal: KILL (default), STOP, CONT, TERM, ABRT, ...

Daemons: %s

What there is once it is ready:
  file system warm        metadata pool warm-meta (3 copies), first data pool warm-data (3 copies),
                          data pool warm-ec (erasure-coded 4+2 with overwrites)
  8 OSDs                  BlueStore on sparse files of 8 GiB; two more than 4+2 needs, so that two may be lost
  2 MDS                   one active, one standby that takes over a dead one in about ten seconds
  S3 gateway              user strata, keys in DIR/s3.env, with the role strata-volumes that it may assume (STS)
  identities              client.admin, client.strata-controller (all powers), client.strata-node (mounts volumes);
                          keyrings in DIR/ceph.NAME.keyring

Flags (before or after the verb) and what they default to:
  --dir DIR               .strata/ceph of the checkout; STRATA_CEPH_DIR
  --port-base PORT        that of the cluster in DIR, else 20000; STRATA_CEPH_PORT_BASE
The cluster listens only on PORT (mon, protocol v2), PORT+1 (mon, v1), PORT+10 (S3) and PORT+100 to PORT+199 (all others).
Several clusters run side by side when both differ. A port base below net.ipv4.ip_local_port_range (32768) is safer where
many connections come and go: the kernel gives ports of that range to outgoing ones, and start then has to wait up to a
minute. The directory's path must be short, at most 87 bytes: Unix sockets are in it.

Logs are in DIR/log. Everything may be interrupted at any time: the next start or stop puts it in order.
`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer cancel()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case errors.Is(err, errUnwell):
		os.Exit(1)
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "ceph: interrupted; the next start or stop puts it in order")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "ceph:", err)
		os.Exit(1)
	}
}

// errUnwell is a status that isn't good. It has been printed.
var errUnwell = errors.New("the cluster isn't well")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	l, words, err := parseArgs(args)
	if errors.Is(err, flag.ErrHelp) || err == nil && len(words) == 1 && words[0] == "help" {
		fmt.Fprintf(stdout, usage, joinDaemons(allDaemons()))
		return nil
	}
	if err != nil {
		return err
	}
	if len(words) == 0 {
		return errors.New("no verb; see --help")
	}
	say := newProgress(stderr)
	verb, words := words[0], words[1:]
	switch {
	case verb == "install":
		return installPackages(ctx, say, words...)
	case verb == "env" && len(words) == 0:
		return printEnv(l, stdout)
	case verb == "status" && len(words) == 0:
		if _, err := l.readMarker(); errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintf(stdout, "no cluster in %s\n", l.Dir)
			return errUnwell
		} else if err != nil {
			return err
		}
		ok, err := printStatus(ctx, l, stdout)
		if err == nil && !ok {
			err = errUnwell
		}
		return err
	case verb == "start" && len(words) == 0:
		if err := installPackages(ctx, say); err != nil {
			return err
		}
		release, err := lockCluster(ctx, l, say)
		if err != nil {
			return err
		}
		defer release()
		return startCluster(ctx, l, say)
	case verb == "stop" && len(words) == 0:
		release, err := lockCluster(ctx, l, say)
		if err != nil {
			return err
		}
		err = destroy(ctx, l, say)
		release()
		removeParent(l)
		return err
	case (verb == "start" || verb == "stop") && len(words) == 1, verb == "kill" && (len(words) == 1 || len(words) == 2):
		return runDaemonVerb(ctx, l, say, verb, words)
	}
	return fmt.Errorf("can't understand %q; see --help", strings.Join(append([]string{verb}, words...), " "))
}

func printEnv(l Layout, out io.Writer) error {
	for _, kv := range [][2]string{
		{"CEPH_CONF", l.Conf()},
		{"STRATA_ADMIN_KEYRING", l.Keyring("client.admin")},
		{"STRATA_CEPH_DIR", l.Dir},
		{"STRATA_CEPH_PORT_BASE", strconv.Itoa(l.PortBase)},
		{"STRATA_CEPH_FS", fsName},
		{"STRATA_CEPH_POOL", poolEC},
		{"STRATA_CONTROLLER_KEYRING", l.Keyring("client.strata-controller")},
		{"STRATA_NODE_KEYRING", l.Keyring("client.strata-node")},
		{"STRATA_S3_ENDPOINT", l.S3Endpoint()},
		{"STRATA_S3_ENV", l.S3Env()},
	} {
		if _, err := fmt.Fprintf(out, "export %s=%s\n", kv[0], kv[1]); err != nil {
			return err
		}
	}
	return nil
}

// parseArgs separates flags from words; flags may follow the verb.
func parseArgs(args []string) (Layout, []string, error) {
	flags := flag.NewFlagSet("ceph", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("dir", os.Getenv("STRATA_CEPH_DIR"), "")
	port := flags.String("port-base", os.Getenv("STRATA_CEPH_PORT_BASE"), "")
	var words []string
	for {
		if err := flags.Parse(args); err != nil {
			return Layout{}, nil, err
		}
		if flags.NArg() == 0 {
			break
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
	}
	if *dir == "" {
		root, err := checkout()
		if err != nil {
			return Layout{}, nil, err
		}
		*dir = filepath.Join(root, ".strata", "ceph")
	}
	base := 20000
	if *port != "" {
		var err error
		if base, err = strconv.Atoi(*port); err != nil {
			return Layout{}, nil, fmt.Errorf("port base %q: not a number", *port)
		}
	}
	l, err := newLayout(*dir, base)
	if err != nil {
		return Layout{}, nil, err
	}
	// A cluster keeps the ports it was made with; only "start" looks whether others are asked for.
	if m, err := l.readMarker(); err == nil && m.PortBase != 0 && (*port == "" || !slices.Equal(words, []string{"start"})) {
		l.PortBase = m.PortBase
	}
	return l, words, nil
}

// checkout finds the directory with our go.mod, upwards from the working directory.
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for d := dir; ; d = filepath.Dir(d) {
		b, err := os.ReadFile(filepath.Join(d, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module github.com/strata-csi/strata\n") {
			return d, nil
		}
		if d == filepath.Dir(d) {
			return "", fmt.Errorf("%s isn't in a checkout of Strata: use --dir", dir)
		}
	}
}
