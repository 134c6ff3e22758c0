package main

// The order of things: what is done, with what, and where its files are.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	tags = "pacific"
	// marker is in the environment of everything the tests start, so that what they leave running can be told from all else.
	marker = "STRATA_TEST_RUN"
)

// Run is one run of all tests, with a cluster and temporary files of its own.
type Run struct {
	root     string
	portBase int
	say      *Progress
	results  *Results
	ceph     bool // the cluster was started
	beside   bool // other tests run at the same time: what is left behind can't be told from what they use

	mu      sync.Mutex
	steps   []string // names and times of what was done
	pending []*call  // those in which tests have failed
}

func newRun(root string, portBase int, say *Progress) *Run {
	return &Run{root: root, portBase: portBase, say: say, results: newResults()}
}

func (r *Run) path(elem ...string) string { return filepath.Join(append([]string{r.root}, elem...)...) }
func (r *Run) stateDir() string           { return r.path(".strata", "test") }
func (r *Run) logDir() string             { return r.path(".strata", "test", "log") }
func (r *Run) cephDir() string            { return r.path(".strata", "test-ceph") }
func (r *Run) binDir() string             { return r.path("bin") }
func (r *Run) cephTool() string           { return r.path("bin", "hack-ceph") }

// tmpDir holds the tests' files and mounts. It is outside of the checkout because the path of a Unix socket can't be long,
// and named after the checkout, so that the next run finds what a killed one left.
func (r *Run) tmpDir() string {
	sum := sha256.Sum256([]byte(r.root))
	return filepath.Join(os.TempDir(), "strata-test-"+hex.EncodeToString(sum[:4]))
}

// lock keeps a second run in the same checkout out: it would take the first one's processes for leftovers.
func (r *Run) lock() (unlock func(), err error) {
	if err := os.MkdirAll(r.stateDir(), 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(r.stateDir(), "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("another run of the tests is going on in this checkout (%s is locked)", f.Name())
	}
	return func() { f.Close() }, nil
}

// suites finds the test packages below tests/, those that stand on others last.
func (r *Run) suites(ctx context.Context) ([]string, error) {
	cmd := exec.CommandContext(ctx, "go", "list", "-tags", tags, "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}", "./tests/...")
	cmd.Dir = r.root
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list ./tests/...: %w", err)
	}
	var found []string
	for _, dir := range strings.Fields(string(out)) {
		rel, err := filepath.Rel(r.path("tests"), dir)
		if err != nil {
			return nil, err
		}
		found = append(found, rel)
	}
	rank := func(s string) int {
		if i := slices.Index(order, s); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(found, func(a, b string) int { return rank(a) - rank(b) })
	return found, nil
}

// order is that of the suites; one that isn't named comes after them. The long ones are first, as several run at a time.
var order = []string{"crash", "kernel", "security", "scratch", "sts", "names", "cold", "sanity/scratch", "sanity/cold", "sanity", "integration", "conformance", "failure"}

// alone are the suites that stop daemons of the cluster or make another file system: each has the cluster for itself. They wait for it most of the time.
var alone = []string{"integration", "conformance", "failure"}

// quick are the suites that need no cluster and take seconds: they run with the unit tests.
var quick = []string{"examples", "static"}

// withoutCeph are long and need no cluster either: they run beside those that do.
var withoutCeph = []string{"scratch", "cold", "sanity/scratch", "sanity/cold"}

// modules are of their own, so that the driver's needs nothing of what they need: the chart's tests, and those of alerts and dashboard.
var modules = []string{"hack/chart", "tests/monitoring"}

const suiteTimeout = "25m"

// all does everything, or only what names says and what that needs. It returns an error when it makes no sense to go on.
func (r *Run) all(ctx context.Context, names map[string]bool) error {
	err := r.step(ctx, "begin", func() error {
		if err := r.makeTmp(); err != nil {
			return err
		}
		if err := r.tool(ctx, "go", "build", "-o", r.cephTool(), "./hack/ceph"); err != nil {
			return err
		}
		if err := r.cleanUp(ctx); err != nil {
			return fmt.Errorf("clean up after an earlier run: %w", err)
		}
		return r.makeTmp()
	})
	if err != nil {
		return err
	}
	if err := r.step(ctx, "packages", func() error { return r.tool(ctx, r.cephTool(), "install") }); err != nil {
		return err
	}
	if err := r.step(ctx, "build", func() error { return r.tool(ctx, "make", "--no-print-directory", "build") }); err != nil {
		return err
	}
	suites, err := r.suites(ctx)
	if err != nil {
		return err
	}
	for name := range names {
		known := append([]string{"packages", "build", "lint", "unit", "modules"}, suites...)
		if !slices.Contains(known, name) {
			return fmt.Errorf("-only %s: there is %s", name, strings.Join(known, ", "))
		}
	}
	wanted := func(name string) bool { return len(names) == 0 || names[name] }
	// What fails from here on is counted, and the rest is still done: one run shows all that is wrong.
	return errors.Join(r.sideBySide(ctx, suites, wanted), r.together(ctx, suites, wanted), r.repeat(ctx), ctx.Err())
}

// sideBySide runs what keeps the processors busy and needs no cluster, and at the same time what has a cluster for itself and waits for it.
func (r *Run) sideBySide(ctx context.Context, suites []string, wanted func(string) bool) error {
	r.beside = true
	var clusters error
	var both sync.WaitGroup
	both.Go(func() { r.unitAndModules(ctx, suites, wanted) })
	both.Go(func() { clusters = r.oneByOne(ctx, suites, wanted) })
	both.Wait()
	r.beside = false
	r.checkLeftovers(ctx, "a test of a package, of a module, or of "+strings.Join(alone, ", "))
	return clusters
}

// unitAndModules runs lint, the unit tests, the suites that take seconds, and the other modules.
func (r *Run) unitAndModules(ctx context.Context, suites []string, wanted func(string) bool) {
	if wanted("lint") {
		_ = r.step(ctx, "lint", func() error { return r.tool(ctx, "go", "run", "./hack/lint") })
	}
	if wanted("unit") {
		r.unit(ctx)
	}
	if soon := slices.DeleteFunc(slices.Clone(suites), func(s string) bool {
		return !slices.Contains(quick, s) || !wanted(s) && !wanted("unit")
	}); len(soon) > 0 {
		r.suite(ctx, soon...)
	}
	if wanted("modules") {
		r.modules(ctx)
	}
}

// oneByOne runs the suites that need a cluster for themselves, one after the other.
func (r *Run) oneByOne(ctx context.Context, suites []string, wanted func(string) bool) error {
	for _, s := range suites {
		if slices.Contains(alone, s) && wanted(s) {
			if err := r.withCeph(ctx, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// together runs the other suites, which keep the processors busy, several at a time.
func (r *Run) together(ctx context.Context, suites []string, wanted func(string) bool) error {
	busy := slices.DeleteFunc(slices.Clone(suites), func(s string) bool {
		return slices.Contains(alone, s) || slices.Contains(quick, s) || !wanted(s)
	})
	switch cluster := slices.ContainsFunc(busy, func(s string) bool { return !slices.Contains(withoutCeph, s) }); {
	case cluster:
		return r.withCeph(ctx, busy...)
	case len(busy) > 0:
		r.suite(ctx, busy...)
	}
	return nil
}

// withCeph runs suites, as many at a time as there are cores, with a cluster that is whole when they begin. An error is that of the cluster.
func (r *Run) withCeph(ctx context.Context, suites ...string) error {
	// Harmless when it runs, and puts right what the suite before has killed.
	err := r.step(ctx, "ceph for "+strings.Join(suites, ", "), func() error {
		r.ceph = true
		return r.tool(ctx, r.cephTool(), r.cephArgs("start")...)
	})
	if err == nil {
		one := suiteTest(suites)
		one.ceph = true
		r.tests(ctx, strings.Join(suites, ", "), one)
	}
	return err
}

// suite runs suites that need no cluster.
func (r *Run) suite(ctx context.Context, suites ...string) {
	r.tests(ctx, strings.Join(suites, ", "), suiteTest(suites))
}

func suiteTest(suites []string) goTest {
	one := goTest{log: strings.Join(suites, "-"), flags: []string{"-timeout", suiteTimeout, "-tags", tags}}
	for _, s := range suites {
		one.packages = append(one.packages, "./tests/"+s)
	}
	return one
}

// bulk are packages of which some tests move so many bytes that the race detector, which looks at each, makes them take five times as long. What it is spared
// there runs without it.
var bulk = []string{"./pkg/coldfs", "./pkg/coldfs/draft", "./pkg/coldfs/move", "./pkg/coldfs/reading"}

var (
	// notRaced are the tests of bulk that take longest with the race detector for what it sees in them: one client at a time, or processes that are killed.
	notRaced = []string{"TestPosix.*", "TestFSXOfLargeFiles", "TestGitClone", "TestTar", "TestADirectoryOfManyFiles", "TestRandomVersionsOfAFileThatIsReadByTheKernel",
		"TestAKilledEngineLosesNothingThatWasStored", "TestAFileLargerThanTheRoomIsWritten", "TestWhatWasCommittedSurvivesAKill",
		"TestADirectoryIsMovedWhateverRequestIsTheLastOfAnEngine"}
	// lessRaced do with it, by -short, a part of what they do without it.
	lessRaced = []string{"TestFSX", "TestFSXOfWhatTheKernelReads", "TestRandomNamesAndDirectories", "TestRandomOperations.*"}
)

// anyOf is -run or -skip for all tests that names match.
func anyOf(names ...string) string { return "^(" + strings.Join(names, "|") + ")$" }

// unit runs the tests of every package outside of tests/, with the race detector.
func (r *Run) unit(ctx context.Context) {
	dirs := []string{}
	for _, d := range []string{"cmd", "pkg", "hack"} {
		if _, err := os.Stat(r.path(d)); err == nil {
			dirs = append(dirs, "./"+d+"/...")
		}
	}
	failpoint := tags + ",failpoint"
	r.tests(ctx, "unit",
		goTest{log: "unit", flags: []string{"-race", "-short", "-skip", anyOf(notRaced...), "-timeout", suiteTimeout, "-tags", tags}, packages: dirs},
		goTest{log: "bulk", flags: []string{"-timeout", suiteTimeout, "-tags", tags, "-run", anyOf(append(notRaced, lessRaced...)...)}, packages: bulk},
		// The tag changes the whole program, so these are tests of another one.
		goTest{log: "failpoint", flags: []string{"-race", "-timeout", "1m", "-tags", failpoint}, packages: []string{"./pkg/failpoint", "./pkg/journal"}},
		goTest{log: "killed", flags: []string{"-timeout", "5m", "-tags", failpoint, "-run", "^TestKilledAnywhere$"}, packages: []string{"./pkg/scratch/loop"}},
		goTest{log: "killed-cache", flags: []string{"-timeout", "5m", "-tags", failpoint, "-run", "^TestDeathBetweenAnyTwoSteps$"}, packages: []string{"./pkg/coldfs/blockcache"}},
	)
}

// modules runs the tests of the other modules.
func (r *Run) modules(ctx context.Context) {
	var all []goTest
	for _, m := range modules {
		all = append(all, goTest{log: strings.ReplaceAll(m, "/", "-"), flags: []string{"-C", m, "-timeout", suiteTimeout, "-tags", tags}, packages: []string{"./..."}})
	}
	r.tests(ctx, "modules", all...)
}

// goTest is a `go test` to come.
type goTest struct {
	log      string   // the name of its log
	flags    []string // a -C has to be the first
	packages []string
	ceph     bool // it hears of the cluster
}

// tests is a step of tests: what they leave behind is a failure of it, and what failed is repeated at the end.
func (r *Run) tests(ctx context.Context, name string, all ...goTest) {
	_ = r.step(ctx, name, func() error {
		var calls []*call
		var errs []error // that are no test's
		failed := false
		for _, one := range all {
			c, err := r.goTest(ctx, r.results, one)
			calls = append(calls, c)
			if errors.Is(err, errTests) {
				failed = true
			} else {
				errs = append(errs, err)
			}
		}
		if !r.beside {
			r.checkLeftovers(ctx, name)
		}
		if err := errors.Join(errs...); err != nil || !failed {
			return err
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.pending = append(r.pending, calls...)
		return errTests
	})
}

// step does one thing and says how it went and how long it took. A failure that isn't a test's is counted as one.
func (r *Run) step(ctx context.Context, name string, do func() error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.say.Printf("== %s", name)
	start := time.Now()
	err := do()
	took := time.Since(start)
	verdict := "ok"
	if errors.Is(err, errUnsteady) {
		verdict, err = "unsteady", nil
	}
	if err != nil {
		verdict = "FAILED"
		if !errors.Is(err, errTests) && ctx.Err() == nil {
			r.broke(name, err)
		}
	}
	r.mu.Lock()
	r.steps = append(r.steps, fmt.Sprintf("%-24s %-8s %s", name, verdict, clock(took)))
	r.mu.Unlock()
	r.say.Printf("== %s: %s (%s)", name, verdict, clock(took))
	if err != nil && !errors.Is(err, errTests) {
		return fmt.Errorf("%s: %w", name, errors.Join(errFailed, err))
	}
	return err
}

// broke counts a failure that is no test's.
func (r *Run) broke(name string, err error) {
	r.say.Printf("FAILED %s: %v", name, err)
	r.results.broke(name, err)
}

func (r *Run) cephArgs(verb string) []string {
	return []string{"--dir", r.cephDir(), "--port-base", strconv.Itoa(r.portBase), verb}
}

// env is that of every program we start. Only the suites hear of the cluster: a unit test must not need it.
func (r *Run) env(ceph bool) []string {
	set := map[string]string{
		marker: r.root, "TMPDIR": r.tmpDir(),
		// As the Makefile builds: what one part of a run has compiled, the others find in the compiler's cache.
		"GOFLAGS": strings.TrimSpace(os.Getenv("GOFLAGS") + " -trimpath"),
	}
	if ceph {
		set["STRATA_CEPH_DIR"], set["STRATA_CEPH_PORT_BASE"] = r.cephDir(), strconv.Itoa(r.portBase)
	}
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		_, replaced := set[name]
		return replaced || strings.HasPrefix(name, "STRATA_CEPH_") || name == "STRATA_FAILPOINT" || strings.HasPrefix(name, "CEPH_")
	})
	for _, k := range slices.Sorted(maps.Keys(set)) {
		env = append(env, k+"="+set[k])
	}
	return env
}

// makeTmp makes the directory of the tests' files, for us alone: its name can be foreseen.
func (r *Run) makeTmp() error {
	// Others may pass: engines of tier cold, which are no root, have their caches below it.
	if err := os.Mkdir(r.tmpDir(), 0o711); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	var st unix.Stat_t
	if err := unix.Lstat(r.tmpDir(), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is not a directory of this user", r.tmpDir())
	}
	return nil
}

func (r *Run) checkSkips() {
	expected, err := readSkips(r.path("tests", "skips.txt"))
	if err != nil {
		r.broke("tests/skips.txt", err)
		return
	}
	for _, problem := range compareSkips(expected, r.results) {
		r.broke("tests/skips.txt", errors.New(problem))
	}
}

func (r *Run) checkOnce() {
	all, err := readOnce(r.path("tests", "once.txt"))
	if err != nil {
		r.broke("tests/once.txt", err)
	}
	for _, problem := range staleOnce(all, r.results) {
		r.broke("tests/once.txt", errors.New(problem))
	}
}

// summary says how it all went.
func (r *Run) summary(ctx context.Context) error {
	fmt.Println()
	for _, s := range r.steps {
		fmt.Println(s)
	}
	if ctx.Err() == nil {
		r.checkSkips()
		r.checkOnce()
	}
	ok := r.results.print(os.Stdout, r.say.elapsed())
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !ok {
		return errFailed
	}
	return nil
}
