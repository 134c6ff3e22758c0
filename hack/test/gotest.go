package main

// One call of `go test -json`, shown while it goes on.

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const module = "github.com/strata-csi/strata/"

// errTests says that tests have failed. They are in the results.
var errTests = errors.New("tests failed")

// goTest runs `go test` once, adds to results, and keeps its complete output in the log directory. It returns errTests when tests have failed.
func (r *Run) goTest(ctx context.Context, results *Results, test goTest) (*call, error) {
	c := newCall(results, r.say.Printf)
	c.test = test
	log, err := os.Create(filepath.Join(r.logDir(), strings.ReplaceAll(test.log, "/", "-")+".log"))
	if err != nil {
		return c, err
	}
	defer log.Close()
	cmd := r.command(ctx, test.ceph, "go", slices.Concat([]string{"test"}, test.flags, []string{"-json", "-vet=off", "-count=1"}, test.packages)...)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return c, err
	}
	if err := cmd.Start(); err != nil {
		return c, err
	}
	stop := r.heartbeat(c.running)
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				// `go test` itself speaks, without JSON.
				e = event{Action: "build-output", Output: string(line)}
			}
			fmt.Fprint(log, e.Output)
			c.take(e)
		}
		if err != nil {
			break
		}
	}
	stop()
	err = finish(ctx, cmd)
	if ctx.Err() != nil {
		return c, ctx.Err()
	}
	failed := c.end()
	if err != nil && !failed {
		b, _ := os.ReadFile(log.Name())
		return c, fmt.Errorf("go test: %w\n%s", err, tail(strings.SplitAfter(string(b), "\n"), 20))
	}
	if failed {
		return c, errTests
	}
	return c, nil
}

// event is a line of `go test -json` (go doc cmd/test2json; build events: go help buildjson).
type event struct {
	Action     string
	Package    string
	ImportPath string // of build events
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

type testName struct{ pkg, test string }

// call gathers the events of one `go test`.
type call struct {
	results *Results
	say     func(format string, args ...any)
	test    goTest

	failures []failure         // tests that ended by failing
	alarms   map[string]string // packages whose failures count without a repetition, and why

	output  map[testName][]string // of what hasn't passed
	build   map[string][]string
	open    []testName // begun and not ended, in order
	parents map[testName]bool
	failed  map[string]int // tests by package
	passed  map[string]int
	broken  bool
}

func newCall(r *Results, say func(string, ...any)) *call {
	return &call{results: r, say: say, alarms: map[string]string{}, output: map[testName][]string{}, build: map[string][]string{},
		parents: map[testName]bool{}, failed: map[string]int{}, passed: map[string]int{}}
}

func (c *call) take(e event) {
	c.results.mu.Lock()
	defer c.results.mu.Unlock()
	pkg := strings.TrimPrefix(e.Package, module)
	n := testName{pkg, e.Test}
	switch e.Action {
	case "build-output":
		c.build[e.ImportPath] = append(c.build[e.ImportPath], e.Output)
	case "build-fail":
		c.say("FAILED to build %s\n%s", strings.TrimPrefix(e.ImportPath, module), strings.Join(c.build[e.ImportPath], ""))
	case "output":
		c.output[n] = append(c.output[n], e.Output)
		if why := alarm(e.Output); why != "" && c.alarms[pkg] == "" {
			c.alarms[pkg] = why
		}
	case "run":
		c.open = append(c.open, n)
		if i := strings.LastIndex(n.test, "/"); i > 0 {
			c.parents[testName{pkg, n.test[:i]}] = true
		}
	case "pass", "fail", "skip":
		if n.test == "" {
			c.packageEnds(n, e)
		} else {
			c.testEnds(n, e)
		}
	}
}

func (c *call) testEnds(n testName, e event) {
	c.open = slices.DeleteFunc(c.open, func(o testName) bool { return o == n })
	lines := c.output[n]
	delete(c.output, n)
	c.results.ended[n] = e.Action
	top := !strings.Contains(n.test, "/")
	switch e.Action {
	case "pass":
		// Of a test with parts, the parts count.
		if !c.parents[n] {
			c.results.passed++
			c.passed[n.pkg]++
		}
	case "fail":
		c.broken = true
		c.say("FAILED %s %s (%.1fs)\n%s", n.pkg, n.test, e.Elapsed, tail(lines, 200))
		if !c.failedParts(n, lines) {
			c.results.failed = append(c.results.failed, n)
			c.failures = append(c.failures, failure{n, n, lines, e.Elapsed})
			c.failed[n.pkg]++
		}
		return
	case "skip":
		c.results.skipped = append(c.results.skipped, skip{n, reason(lines)})
	}
	if top && strings.HasPrefix(n.pkg, "tests/") {
		c.say("   %-5s %s %s (%.1fs)", e.Action, n.pkg, n.test, e.Elapsed)
	}
}

// failedParts tells whether parts of a test have failed: then they count and not their whole. But where the whole had something to say itself,
// it is what has to pass later.
func (c *call) failedParts(n testName, lines []string) bool {
	found := false
	for i, f := range c.failures {
		if f.name.pkg == n.pkg && strings.HasPrefix(f.name.test, n.test+"/") {
			found = true
			if slices.ContainsFunc(lines, fault.MatchString) {
				c.failures[i].run = n
				c.failures[i].output = slices.Concat(f.output, lines)
			}
		}
	}
	return found
}

func (c *call) packageEnds(n testName, e event) {
	c.results.packages[n.pkg] = true
	switch {
	case e.Action == "fail":
		c.broken = true
		if len(c.openIn(n.pkg)) > 0 || c.failed[n.pkg] == 0 {
			c.alarms[n.pkg] = "its package didn't end properly"
		}
		if c.failed[n.pkg] == 0 {
			// It panicked, took too long, or ended itself: what was going on then says why. Or it didn't build.
			open := c.openIn(n.pkg)
			for _, o := range append(open, n) {
				c.say("FAILED %s %s\n%s", o.pkg, o.test, tail(c.output[o], 200))
			}
			if len(open) == 0 {
				open = append(open, n)
			}
			c.results.failed = append(c.results.failed, open...)
			c.failed[n.pkg] = len(open)
		}
		c.say("   FAIL  %s (%d passed, %d failed, %.1fs)", n.pkg, c.passed[n.pkg], c.failed[n.pkg], e.Elapsed)
	case c.passed[n.pkg] > 0:
		c.say("   ok    %s (%d passed, %.1fs)", n.pkg, c.passed[n.pkg], e.Elapsed)
	}
	for o := range c.output {
		if o.pkg == n.pkg {
			delete(c.output, o)
		}
	}
	c.open = slices.DeleteFunc(c.open, func(o testName) bool { return o.pkg == n.pkg })
}

// openIn are the tests without parts that go on in a package.
func (c *call) openIn(pkg string) []testName {
	var open []testName
	for _, o := range c.open {
		if o.pkg == pkg && !c.parents[o] {
			open = append(open, o)
		}
	}
	return open
}

// end counts what has begun and never ended, and reports whether anything failed.
func (c *call) end() bool {
	c.results.mu.Lock()
	defer c.results.mu.Unlock()
	for _, o := range c.open {
		c.broken = true
		c.alarms[o.pkg] = "its package didn't end properly"
		c.say("FAILED %s %s: it never ended\n%s", o.pkg, o.test, tail(c.output[o], 200))
		c.results.failed = append(c.results.failed, o)
	}
	return c.broken
}

// running is what goes on, for a reader who waits.
func (c *call) running() string {
	c.results.mu.Lock()
	defer c.results.mu.Unlock()
	if len(c.open) == 0 {
		return "building the tests"
	}
	last := c.open[len(c.open)-1]
	return last.pkg + " " + last.test
}

func tail(lines []string, n int) string {
	if cut := len(lines) - n; cut > 0 {
		return fmt.Sprintf("... (%d lines before are in the log)\n%s", cut, strings.Join(lines[cut:], ""))
	}
	return strings.Join(lines, "")
}

// reason is what a test said when it skipped itself: the text after "file_test.go:12: ".
func reason(lines []string) string {
	for _, l := range slices.Backward(lines) {
		l = strings.TrimSpace(l)
		if _, text, ok := strings.Cut(l, ".go:"); ok {
			if _, text, ok := strings.Cut(text, ": "); ok {
				return text
			}
		}
	}
	return "no reason given"
}
