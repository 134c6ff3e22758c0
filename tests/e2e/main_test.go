//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// k is the cluster under test; TestMain sets it.
var k *cluster

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM)
	defer cancel()
	var err error
	if k, err = connect(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	if err := k.deploy(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: deploy:", err)
		k.dump(os.Stderr, driverNamespace)
		return 1
	}
	say("deployed")
	code := m.Run()
	if err := figures.write(); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: the figures:", err)
		code = 1
	}
	if err := k.checkNothingLeft(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "e2e: left over:", err)
		code = 1
	}
	if os.Getenv("STRATA_E2E_KEEP") == "" {
		if err := k.undeploy(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "e2e: remove the deployment:", err)
			code = 1
		}
	}
	printTimes()
	return code
}

var began = time.Now()

// say prints progress at once: testing shows the log of a test when it has ended.
func say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%7.1fs  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
}

// times are how long every test took.
var times struct {
	sync.Mutex
	lines []string
}

func keepTime(name string, d time.Duration, failed bool) {
	times.Lock()
	defer times.Unlock()
	result := "passed"
	if failed {
		result = "FAILED"
	}
	times.lines = append(times.lines, fmt.Sprintf("%7.1fs  %s  %s", d.Seconds(), result, name))
}

func printTimes() {
	times.Lock()
	defer times.Unlock()
	fmt.Fprintf(os.Stderr, "\n%d scenarios, %.0f s in all:\n", len(times.lines), time.Since(began).Seconds())
	for _, l := range times.lines {
		fmt.Fprintln(os.Stderr, l)
	}
}
