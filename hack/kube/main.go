// Command kube (go run ./hack/kube) runs a real Kubernetes of two nodes for development on this machine. See --help.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const usage = `A real Kubernetes for development: two nodes, in namespaces of their own, in one directory.

  hack-kube [--dir DIR] VERB          (make bin/hack-kube, or: go run ./hack/kube; as root)

  build                   build Kubernetes, its storage tests and kubectl out of their modules into .strata/kube/bin;
                          minutes the first time, nothing when the sources haven't changed
  up [--ceph]             install missing Debian packages, build, make the cluster if there is none, start what isn't running,
                          wait until the nodes are ready; with a Ceph inside if asked. Harmless to repeat
  down                    end everything and remove the directory: no process, mount, loop device or control group stays
  status                  what runs and which nodes are ready; exit code 1 unless all is well

  kubectl ARGS...         kubectl as administrator
  run -- CMD ARGS...      run a program in the cluster's network, with KUBECONFIG, kubectl in PATH, STRATA_KUBE (this program),
                          STRATA_KUBE_DIR, and STRATA_CEPH_DIR with a Ceph. All verbs but up and down work in there, too
  node NODE -- CMD ...    run a program as on that node: its mounts, processes, host name
  images import TAR...    load images (docker or OCI archives) into every node
  images tag OLD NEW      give an image another name on every node
  images list             what every node has

  start DAEMON            start one daemon that was killed, and wait until it is at work
  kill DAEMON [SIGNAL]    send one daemon a signal: KILL (default, waits for its end), TERM, STOP, CONT, ...
  logs [DAEMON]           the path of the logs, or one log

Daemons: %s
Nodes: node-a (%s), node-b (%s); pods with hostNetwork have the node's address as status.hostIP and share one network: each
should listen on its own. Every node has its own /run, /var/lib, /var/log, containerd (%s) and processes; all else is this
machine's. / is shared, as where systemd runs: pods may mount with Bidirectional propagation.
ClusterIPs work. There is no DNS in the cluster, no way out of it, and no registry: pods use the images that were imported.

Flag:
  --dir DIR               .strata/kube/cluster of the checkout; STRATA_KUBE_DIR
Several clusters run side by side in different directories.

Logs are in DIR/log. Everything may be interrupted at any time: the next up or down puts it in order.
`

func main() {
	if err := inner(); err != nil {
		fmt.Fprintln(os.Stderr, "kube:", err)
		os.Exit(1)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer cancel()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "kube: interrupted; the next up or down puts it in order")
		os.Exit(130)
	case errors.Is(err, errTold):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "kube:", err)
		os.Exit(1)
	}
}

// errTold is a failure that has been printed.
var errTold = errors.New("not well")

// inner does what this program is for under other names, and doesn't return then.
func inner() error {
	name, args := os.Args[0], os.Args[1:]
	if len(args) < 2 {
		return nil
	}
	l := Layout{Root: args[0], Dir: args[1]}
	switch {
	case name == machineName:
		holdMain(func() error { return setUpMachine(l) })
	case name == nodeName && len(args) == 3:
		holdMain(func() error {
			n, err := findNode(args[2])
			if err != nil {
				return err
			}
			return setUpNode(l, n)
		})
	case name == spawnName && len(args) == 3:
		if err := spawnMain(l, args[2]); err != nil {
			return err
		}
		os.Exit(0)
	case name == insideName && len(args) >= 4:
		if err := insideMain(l, args[2:]); err != nil {
			return err
		}
		os.Exit(0)
	}
	return nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	l, withCeph, words, err := parseArgs(args)
	if errors.Is(err, flag.ErrHelp) || err == nil && len(words) == 1 && words[0] == "help" {
		fmt.Fprintf(stdout, usage, daemonNames(Layout{}), nodes[0].Address, nodes[1].Address, containerdSocket)
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
	if withCeph && verb != "up" {
		return errors.New("--ceph belongs to up")
	}
	switch {
	case verb == "build" && len(words) == 0:
		return build(ctx, l, say)
	case verb == "up" && len(words) == 0:
		return up(ctx, l, withCeph, say)
	case verb == "down" && len(words) == 0:
		return down(ctx, l, say)
	case verb == "status" && len(words) == 0:
		return l.inside(args, func() error { return status(ctx, l, stdout) })
	case verb == "kubectl":
		return l.run("", append([]string{filepath.Join(l.Bin(), "kubectl")}, words...))
	case verb == "run" && len(words) > 0:
		return l.run("", words)
	case verb == "node" && len(words) > 1:
		return l.run(words[0], words[1:])
	case verb == "images" && len(words) > 1 && words[0] == "import":
		return importImages(ctx, l, words[1:], say)
	case verb == "images" && len(words) == 3 && words[0] == "tag":
		return tagImage(ctx, l, words[1], words[2], say)
	case verb == "images" && len(words) == 1 && words[0] == "list":
		return listImages(ctx, l, stdout)
	case verb == "start" && len(words) == 1:
		return l.inside(args, func() error { return startOne(ctx, l, words[0], say) })
	case verb == "kill" && (len(words) == 1 || len(words) == 2):
		return killOne(ctx, l, words, say)
	case verb == "logs" && len(words) == 0:
		_, err := fmt.Fprintln(stdout, l.path("log"))
		return err
	case verb == "logs" && len(words) == 1:
		return printLog(l, words[0], stdout)
	}
	return fmt.Errorf("can't understand %q; see --help", strings.Join(append([]string{verb}, words...), " "))
}

// parseArgs takes our flags before the verb and after those verbs that have no command line of others behind them. A "--"
// after the verb is left out.
func parseArgs(args []string) (l Layout, withCeph bool, words []string, err error) {
	flags := flag.NewFlagSet("kube", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	dir := flags.String("dir", os.Getenv("STRATA_KUBE_DIR"), "")
	ceph := flags.Bool("ceph", false, "")
	for {
		if err := flags.Parse(args); err != nil {
			return Layout{}, false, nil, err
		}
		if flags.NArg() == 0 {
			break
		}
		words, args = append(words, flags.Arg(0)), flags.Args()[1:]
		if words[0] == "kubectl" || words[0] == "run" || words[0] == "node" && len(words) == 2 {
			if len(args) > 0 && args[0] == "--" && words[0] != "kubectl" {
				args = args[1:]
			}
			words = append(words, args...)
			break
		}
	}
	root, err := checkout()
	if err != nil {
		return Layout{}, false, nil, err
	}
	if *dir == "" {
		*dir = filepath.Join(root, ".strata", "kube", "cluster")
	}
	l, err = newLayout(root, *dir)
	return l, *ceph, words, err
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
			return "", fmt.Errorf("%s isn't in a checkout of Strata, which has what is built and run here", dir)
		}
	}
}
