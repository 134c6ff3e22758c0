// Command e2e (make e2e) runs the tests of tests/e2e: it builds Kubernetes and the images, starts a cluster with a Ceph inside,
// runs the tests in it, and clears all away, however it ends.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const usage = `Run the tests in a Kubernetes of their own. From the checkout: make e2e, or go run ./hack/e2e [FLAGS]

  -only REGEXP   only the tests whose names match, as for go test -run
  -keep          leave the cluster as it is after the tests; it is ended by: go run ./hack/kube --dir %s down
  -limit TIME    after which the run is ended (%s)

The logs of the cluster's daemons are in %s afterwards.
`

const limit = 50 * time.Minute

func main() {
	root, err := checkout()
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	r := newRun(root)
	flag.StringVar(&r.only, "only", "", "")
	flag.BoolVar(&r.keep, "keep", false, "")
	limit := flag.Duration("limit", limit, "")
	flag.Usage = func() { fmt.Fprintf(os.Stderr, usage, r.clusterDir(), *limit, r.logDir()) }
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	signals, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer cancel()
	ctx, cancel := context.WithTimeout(signals, *limit)
	defer cancel()
	err = r.all(ctx)
	r.printSteps()
	switch {
	case err == nil:
		fmt.Println("PASS")
	case signals.Err() != nil:
		fmt.Println("INTERRUPTED")
		os.Exit(130)
	default:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			err = fmt.Errorf("not done after %s: %w", *limit, err)
		}
		fmt.Println("FAIL:", err)
		os.Exit(1)
	}
}

func checkout() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	if _, err := os.Stat(filepath.Join(root, "hack", "e2e")); err != nil {
		return "", fmt.Errorf("must be run inside the checkout: %w", err)
	}
	return root, nil
}
