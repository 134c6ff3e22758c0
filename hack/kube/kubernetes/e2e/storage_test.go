// Package e2e holds the storage tests of Kubernetes for drivers that aren't part of it (External.Storage), and nothing else
// of its tests: `go test -c` makes a program of them, which takes a driver's description by --storage.testdriver.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"k8s.io/kubernetes/test/e2e"
	"k8s.io/kubernetes/test/e2e/framework"
	"k8s.io/kubernetes/test/e2e/framework/config"
	_ "k8s.io/kubernetes/test/e2e/framework/debug/init"   // what is dumped when a test fails
	_ "k8s.io/kubernetes/test/e2e/framework/metrics/init" // what is gathered by --gather-metrics-at-teardown
	_ "k8s.io/kubernetes/test/e2e/framework/node/init"    // waiting for nodes before the first test
	"k8s.io/kubernetes/test/e2e/framework/testfiles"
	_ "k8s.io/kubernetes/test/e2e/storage/external" // the tests, and --storage.testdriver
	manifests "k8s.io/kubernetes/test/e2e/testing-manifests"
	_ "k8s.io/kubernetes/test/utils/format" // readable differences of API objects
)

func TestMain(m *testing.M) {
	config.CopyFlags(config.Flags, flag.CommandLine)
	framework.RegisterCommonFlags(flag.CommandLine)
	framework.RegisterClusterFlags(flag.CommandLine)
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "arguments %q: only flags are understood, see --help\n", flag.Args())
		os.Exit(2)
	}
	testfiles.AddFileSource(manifests.GetE2ETestingManifestsFS())
	framework.AfterReadingAllFlags(&framework.TestContext)
	os.Exit(m.Run())
}

// TestE2E runs the tests that --ginkgo.focus and --ginkgo.skip leave.
func TestE2E(t *testing.T) { e2e.RunE2ETests(t) }
