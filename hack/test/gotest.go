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

// goTest runs `go test` with args and keeps its complete output in the log directory.
func (r *Run) goTest(ctx context.Context, name string, args ...string) error {
	log, err := os.Create(filepath.Join(r.logDir(), strings.ReplaceAll(name, "/", "-")+".log"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := r.command(ctx, r.ceph, "go", append([]string{"test", "-json", "-vet=off", "-count=1"}, args...)...)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	c := newCall(r.results, r.say.Printf)
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
		return ctx.Err()
	}
	failed := c.end()
	if err != nil && !failed {
		b, _ := os.ReadFile(log.Name())
		return fmt.Errorf("go test: %w\n%s", err, tail(strings.SplitAfter(string(b), "\n"), 20))
	}
	if failed {
		return errTests
	}
	return nil
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

	output  map[testName][]string // of what hasn't passed
	build   map[string][]string
	open    []testName // begun and not ended, in order
	parents map[testName]bool
	failed  map[string]int // tests by package
	passed  map[string]int
	broken  bool
}

func newCall(r *Results, say func(string, ...any)) *call {
	return &call{results: r, say: say, output: map[testName][]string{}, build: map[string][]string{},
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
		if !c.parents[n] || !c.results.hasFailedPart(n) {
			c.results.failed = append(c.results.failed, n)
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

func (c *call) packageEnds(n testName, e event) {
	c.results.packages[n.pkg] = true
	switch {
	case e.Action == "fail":
		c.broken = true
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
