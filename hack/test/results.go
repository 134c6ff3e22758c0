package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// Results are those of all tests so far.
type Results struct {
	mu       sync.Mutex
	passed   int
	failed   []testName
	broken   []string // what failed and is no test, with the reason
	skipped  []skip
	unsteady []failure
	ended    map[testName]string // how each test ended: pass, fail or skip
	packages map[string]bool     // that have run
}

type skip struct {
	name   testName
	reason string
}

func newResults() *Results {
	return &Results{ended: map[testName]string{}, packages: map[string]bool{}}
}

// broke counts a failure that is no test's.
func (r *Results) broke(what string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, testName{what, ""})
	r.broken = append(r.broken, fmt.Sprintf("%s: %v", what, err))
}

// print writes the end of the report and tells whether all is well.
func (r *Results) print(w io.Writer, took time.Duration) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.skipped) > 0 {
		fmt.Fprintln(w, "\nskipped:")
		for _, s := range r.skipped {
			fmt.Fprintf(w, "  %s %s: %s\n", s.name.pkg, s.name.test, s.reason)
		}
	}
	for _, u := range r.unsteady {
		fmt.Fprintf(w, "\nUNSTEADY: %s %s failed after %.1fs, and then passed %d times alone. What it said:\n%s", u.name.pkg, u.name.test, u.elapsed, repetitions,
			strings.Join(u.output, ""))
	}
	// Said again: of a long report, some keep the end alone.
	for _, b := range r.broken {
		fmt.Fprintf(w, "\nFAILED: %s\n", b)
	}
	if len(r.failed) > 0 {
		fmt.Fprintln(w, "\nfailed:")
		for _, f := range r.failed {
			fmt.Fprintln(w, " ", strings.TrimSpace(f.pkg+" "+f.test))
		}
	}
	fmt.Fprintf(w, "\n%d passed, %d failed, %d unsteady, %d skipped in %s\n", r.passed, len(r.failed), len(r.unsteady), len(r.skipped), clock(took))
	return len(r.failed) == 0
}

// readSkips reads the tests that may be skipped: lines of package, test and the reason; '#' begins a comment.
func readSkips(path string) (map[testName]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	expected := map[testName]string{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("line %d: must be PACKAGE TEST REASON", n)
		}
		expected[testName{fields[0], fields[1]}] = strings.Join(fields[2:], " ")
	}
	return expected, lines.Err()
}

// compareSkips says which tests were skipped without being listed, and which listed ones were not, of the packages that ran.
func compareSkips(expected map[testName]string, r *Results) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var problems []string
	skipped := map[testName]bool{}
	for _, s := range r.skipped {
		skipped[s.name] = true
		if _, ok := expected[s.name]; !ok {
			problems = append(problems, fmt.Sprintf("%s %s was skipped and is not listed: %s", s.name.pkg, s.name.test, s.reason))
		}
	}
	for n := range expected {
		if r.packages[n.pkg] && !skipped[n] {
			problems = append(problems, fmt.Sprintf("%s %s is listed and was not skipped", n.pkg, n.test))
		}
	}
	return problems
}
