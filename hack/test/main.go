// Command test (make test) passes every test of the project: it installs what is missing, builds, lints, runs the unit tests,
// starts a Ceph of its own beside the one for development, runs the suites below tests/ against them, and leaves
// no process, mount or cluster behind, however it ends.
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

const usage = `Pass every test. Run it from the checkout: make test, or go run ./hack/test [FLAGS]

  -only NAMES      only these, comma-separated, and what they need: packages, build, lint, unit, modules,
                   or the name of a suite below tests/
  -port-base PORT  of the Ceph under test (21000); it uses the 200 ports from there
  -limit TIME      after which the run is ended (80m)

The complete output is in .strata/test/log. Skipped tests must be those of tests/skips.txt. A test that fails and then
passes twice alone is reported as unsteady, and not as failed unless it is one of tests/once.txt or there are more than two.
`

var errFailed = errors.New("failed")

func main() {
	only := flag.String("only", "", "")
	portBase := flag.Int("port-base", 21000, "")
	limit := flag.Duration("limit", 80*time.Minute, "")
	flag.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	signals, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer cancel()
	ctx, cancel := context.WithTimeout(signals, *limit)
	defer cancel()
	err := run(ctx, *only, *portBase)
	switch {
	case err == nil:
	case signals.Err() != nil:
		fmt.Println("INTERRUPTED")
		os.Exit(130)
	case errors.Is(err, context.DeadlineExceeded):
		fmt.Printf("FAIL: not done after %s\n", *limit)
		os.Exit(1)
	case errors.Is(err, errFailed):
		fmt.Println("FAIL")
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(1)
	}
	fmt.Println("PASS")
}

func run(ctx context.Context, only string, portBase int) error {
	out, err := exec.CommandContext(ctx, "go", "env", "GOMOD").Output()
	if err != nil {
		return fmt.Errorf("go env: %w", err)
	}
	root := filepath.Dir(strings.TrimSpace(string(out)))
	if _, err := os.Stat(filepath.Join(root, "hack", "test")); err != nil {
		return fmt.Errorf("must be run inside the checkout: %w", err)
	}
	r := newRun(root, portBase, newProgress(os.Stdout))
	unlock, err := r.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := os.RemoveAll(r.logDir()); err != nil {
		return err
	}
	if err := os.MkdirAll(r.logDir(), 0o755); err != nil {
		return err
	}
	if err := os.MkdirAll(r.binDir(), 0o755); err != nil {
		return err
	}
	names := map[string]bool{}
	for n := range strings.SplitSeq(only, ",") {
		if n = strings.TrimSpace(n); n != "" {
			names[n] = true
		}
	}
	err = r.all(ctx, names)
	// Whatever happened, nothing stays; the context may be over.
	if cerr := r.cleanUp(context.WithoutCancel(ctx)); cerr != nil {
		r.broke("clean-up", cerr)
	}
	return errors.Join(err, r.summary(ctx))
}
