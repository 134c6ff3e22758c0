// Command e2e (make e2e) runs the tests of tests/e2e: it builds Kubernetes and the images, starts a cluster with a Ceph inside,
// runs the tests in it, and clears all away, however it ends.
package main

import (
	"context"
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
  -bench         measure instead how fast pods start, and write the last part of docs/benchmarks.md
  -keep          leave the cluster as it is after the tests; it is ended by: go run ./hack/kube --dir %s down
  -limit TIME    after which the cluster and the tests are ended (%s); building has no limit

The logs of the cluster's daemons are in %s afterwards.
`

// limit is for the cluster and the tests. What is built before depends on what is built already.
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
	flag.BoolVar(&r.bench, "bench", false, "")
	flag.DurationVar(&r.limit, "limit", limit, "")
	flag.Usage = func() { fmt.Fprintf(os.Stderr, usage, r.clusterDir(), r.limit, r.logDir()) }
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer cancel()
	err = r.all(ctx)
	r.printSteps()
	switch {
	case err == nil:
		fmt.Println("PASS")
	case ctx.Err() != nil:
		fmt.Println("INTERRUPTED")
		os.Exit(130)
	default:
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
