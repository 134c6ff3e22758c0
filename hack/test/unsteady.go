package main

// A test that fails is run again, alone: one that then passes twice was unsteady. It is reported with all it said and doesn't fail the run, unless
// there are more than maxUnsteady of them (docs/decisions/0020).

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
)

const (
	// maxUnsteady is how many unsteady tests a run may have.
	maxUnsteady = 2
	// repetitions is how often in a row a test must pass to count as unsteady and not as failed.
	repetitions = 2
)

// errUnsteady says that all tests that have failed then passed.
var errUnsteady = errors.New("unsteady")

// failure is a test that has failed.
type failure struct {
	name testName
	// run is what is run again: the test, or the one it is part of when that had something to say too.
	run     testName
	output  []string
	elapsed float64 // seconds
}

// alarms are what no repetition can excuse: a program that crashed, a race, a broken kernel, data that isn't what was written.
var alarms = []string{
	"panic: ", "fatal error: ", "DATA RACE", "race detected during execution of test", "SIGSEGV",
	"Kernel panic", "the kernel is not well", "DATA MISMATCH",
}

func alarm(line string) string {
	for _, a := range alarms {
		if strings.Contains(line, a) {
			return fmt.Sprintf("%q was said", strings.TrimSpace(a))
		}
	}
	return ""
}

// fault is a line that a test printed with t.Error, t.Fatal or t.Log.
var fault = regexp.MustCompile(`^\s*\S+\.go:\d+: `)

// once is a line of tests/once.txt: tests that aren't repeated, because what they prove must hold each time.
type once struct {
	pkg    string
	tests  *regexp.Regexp
	reason string
}

// readOnce reads lines of package, regular expression for names of tests, and the reason; '#' begins a comment.
func readOnce(path string) ([]once, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []once
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		fields := strings.Fields(line)
		if len(fields) < 3 {
			return nil, fmt.Errorf("line %d: must be PACKAGE TESTS REASON", n)
		}
		tests, err := regexp.Compile(fields[1])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		all = append(all, once{fields[0], tests, strings.Join(fields[2:], " ")})
	}
	return all, lines.Err()
}

// staleOnce says which lines stand for no test, of the packages that ran.
func staleOnce(all []once, r *Results) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var problems []string
	for _, o := range all {
		stands := func(n testName) bool { return n.pkg == o.pkg && o.tests.MatchString(n.test) }
		if r.packages[o.pkg] && !slices.ContainsFunc(slices.Collect(maps.Keys(r.ended)), stands) {
			problems = append(problems, fmt.Sprintf("%s %s stands for no test", o.pkg, o.tests))
		}
	}
	return problems
}

// final says why a failure counts without a repetition; "" when it may be repeated.
func (c *call) final(f failure, all []once) string {
	if why := c.alarms[f.name.pkg]; why != "" {
		return why
	}
	for _, o := range all {
		if o.pkg == f.name.pkg && (o.tests.MatchString(f.name.test) || o.tests.MatchString(f.run.test)) {
			return o.reason
		}
	}
	return ""
}

// repeat runs again what has failed, one test after the other and with nothing beside it.
func (r *Run) repeat(ctx context.Context) error {
	all := r.pending
	if len(all) == 0 || ctx.Err() != nil {
		return nil
	}
	err := r.step(ctx, "repetition", func() error { return r.again(ctx, all) })
	if errors.Is(err, errTests) {
		return nil // it is counted
	}
	return err
}

// again returns errTests, or errUnsteady when all that had failed then passed.
func (r *Run) again(ctx context.Context, all []*call) error {
	listed, err := readOnce(r.path("tests", "once.txt"))
	if err != nil {
		r.broke("tests/once.txt", err)
		return errTests
	}
	count := 0
	for _, c := range all {
		for _, f := range c.failures {
			count++
			if why := c.final(f, listed); why != "" {
				r.say.Printf("not repeated: %s %s: %s", f.name.pkg, f.name.test, why)
				return errTests
			}
		}
	}
	switch {
	case len(r.results.failed) > count:
		r.say.Printf("not repeated: the run has failed by something else")
		return errTests
	case count > maxUnsteady:
		r.say.Printf("not repeated: these are more than the %d unsteady tests that a run may have", maxUnsteady)
		return errTests
	}
	if r.ceph {
		if err := r.tool(ctx, r.cephTool(), r.cephArgs("start")...); err != nil {
			r.broke("ceph for the repetition", err)
			return errTests
		}
	}
	for _, c := range all {
		for _, f := range c.failures {
			if !r.passesAgain(ctx, c, f) {
				return errTests
			}
			r.results.steady(f)
		}
	}
	return errUnsteady
}

// passesAgain runs a test alone until it has passed often enough, or failed.
func (r *Run) passesAgain(ctx context.Context, c *call, f failure) bool {
	for n := range repetitions {
		r.say.Printf("-- again, %d of %d: %s %s", n+1, repetitions, f.run.pkg, f.run.test)
		alone := newResults()
		name := strings.ReplaceAll(fmt.Sprintf("again-%d-%s-%s", n+1, f.run.pkg, f.run.test), "/", "-")
		if len(name) > 100 {
			name = name[:100]
		}
		again := goTest{log: name, flags: append(slices.Clone(c.test.flags), "-run", pattern(f.run.test)), packages: []string{module + f.run.pkg}, ceph: c.test.ceph}
		_, err := r.goTest(ctx, alone, again)
		if err == nil && (alone.ended[f.run] != "pass" || alone.ended[f.name] != "pass") {
			err = errors.New("it didn't run")
		}
		before := len(r.results.failed)
		r.checkLeftovers(ctx, f.run.pkg+" "+f.run.test)
		if err != nil || len(r.results.failed) > before {
			r.say.Printf("-- again, %d of %d: FAILED: %v", n+1, repetitions, errors.Join(err, ctx.Err()))
			return false
		}
	}
	return true
}

// pattern is -run for one test.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}

// steady counts a failed test as unsteady.
func (r *Results) steady(f failure) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.failed, f.name); i >= 0 {
		r.failed = slices.Delete(r.failed, i, i+1)
	}
	r.unsteady = append(r.unsteady, f)
}
