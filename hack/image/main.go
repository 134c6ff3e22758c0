// Command image (go run ./hack/image) makes the container images of a development Kubernetes without any registry. See --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/sys/unix"
)

const usage = `Container images for a development Kubernetes, without any registry.

  go run ./hack/image VERB

  build [NAME...]         write .strata/images/NAME.tar of all images, or of those named; one whose inputs haven't changed
                          stays as it is. Installs missing Debian packages (buildah, debootstrap, busybox-static); as root
  check [NAME...]         build, then look into the archives: user, entry point, labels, that nothing has set-user-ID,
                          and that every program runs which the driver calls
  list                    names and references
  clean                   remove the archives, the builder's storage and the base made of Debian's packages; the next build
                          starts with Debian's packages of that day

The archives are those of "docker save", for: ctr --namespace k8s.io images import NAME.tar
Pods use them by reference with imagePullPolicy IfNotPresent or Never. A reference of docker.io/library/ may be shortened:
strata-node:dev.

What they are made of:
  strata-*                the Dockerfile, executed by buildah on bases that debootstrap made; Go modules and what is compiled
                          are those of this machine's go command. strata-node-dev2 differs in a label: for tests of upgrades
  csi-*, snapshot-*       hack/kube/sidecars, with the go command
  agnhost                 .strata/kube/bin/agnhost, which "go run ./hack/kube build" makes, and busybox
  jessie-dnsutils         the base, for GNU dd
  busybox, nginx          Debian's static busybox: of nginx the tests use the shell only
  pause                   hack/image/pause

Logs are .strata/images/NAME.log. Everything may be interrupted at any time: the next build puts it in order.
`

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer cancel()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "image: interrupted; the next build puts it in order")
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) == 0 {
		return errors.New("no verb; see --help")
	}
	verb, names := args[0], args[1:]
	switch {
	case slices.ContainsFunc(args, func(a string) bool { return slices.Contains([]string{"--help", "-help", "-h", "help"}, a) }):
		_, err := io.WriteString(stdout, usage)
		return err
	case verb == "list" && len(names) == 0:
		return list(stdout)
	case verb != "build" && verb != "check" && (verb != "clean" || len(names) > 0):
		return fmt.Errorf("can't understand %q; see --help", strings.Join(args, " "))
	}
	images, err := choose(names)
	if err != nil {
		return err
	}
	root, err := checkout()
	if err != nil {
		return err
	}
	say := newProgress(stderr)
	s, err := open(ctx, root, say)
	if err != nil {
		return err
	}
	defer s.close()
	if verb == "clean" {
		return s.clean()
	}
	if err := s.build(ctx, images); err != nil || verb == "build" {
		return err
	}
	return s.check(ctx, images)
}

func list(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tREFERENCE")
	for _, i := range catalogue() {
		fmt.Fprintf(w, "%s\t%s\n", i.name, i.reference)
	}
	return w.Flush()
}

// choose returns the named images, or all.
func choose(names []string) ([]image, error) {
	all := catalogue()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []image
	for _, n := range names {
		i := slices.IndexFunc(all, func(i image) bool { return i.name == n })
		if i < 0 {
			var known []string
			for _, i := range all {
				known = append(known, i.name)
			}
			return nil, fmt.Errorf("no image %q; there are %s", n, strings.Join(known, ", "))
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
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
			return "", fmt.Errorf("%s isn't in a checkout of Strata", dir)
		}
	}
}
