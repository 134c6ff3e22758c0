package main

// A test that fails is run again, alone: one that then passes twice was unsteady. It is reported and doesn't fail the run (docs/decisions/0020).

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// maxUnsteady is how many unsteady tests a run may have.
const maxUnsteady = 2

// final is what no repetition excuses: a program that crashed, data that isn't what was written, something that is left over.
var final = []string{"panic: ", "fatal error: ", "signal: ", "DATA MISMATCH", "e2e: "}

// once are tests that aren't repeated, because what they prove must hold each time: data is what was written, stays or is gone, running pods notice nothing, keys
// are nowhere and open nothing.
var once = regexp.MustCompile(`^Test(\w+OutlivesItsPods|\w+SharedByTwoNodes|SnapshotRestoreCloneAndServe|ScratchIsWiped|DriverFailsWhilePodsWork|HolderIsReplaced|TokenOfANode|SecretsOfANode|` +
	`RotateAndFence|Reclaim\w+)\b`)

var failed = regexp.MustCompile(`^\s*--- FAIL: (\S+) \(`)

// failures passes on what `go test -v` prints and keeps the tests that have failed.
type failures struct {
	w     io.Writer
	line  []byte
	names []string
	final string // the first line that no repetition excuses
}

func (f *failures) Write(p []byte) (int, error) {
	f.line = append(f.line, p...)
	for {
		end := bytes.IndexByte(f.line, '\n')
		if end < 0 {
			return f.w.Write(p)
		}
		f.take(string(f.line[:end]))
		f.line = f.line[end+1:]
	}
}

func (f *failures) take(line string) {
	if m := failed.FindStringSubmatch(line); m != nil {
		f.names = append(f.names, m[1])
	}
	if f.final == "" && slices.ContainsFunc(final, func(s string) bool { return strings.Contains(line, s) }) {
		f.final = line
	}
}

// tests are those of which no part has failed but themselves.
func (f *failures) tests() []string {
	return slices.DeleteFunc(slices.Clone(f.names), func(name string) bool {
		return slices.ContainsFunc(f.names, func(other string) bool { return strings.HasPrefix(other, name+"/") })
	})
}

// excuse says why the failures count, "" when the tests may be repeated.
func (f *failures) excuse() string {
	tests := f.tests()
	switch i := slices.IndexFunc(tests, once.MatchString); {
	case f.final != "":
		return fmt.Sprintf("%q was said", f.final)
	case len(tests) == 0:
		return "no test has failed, but something else"
	case len(tests) > maxUnsteady:
		return fmt.Sprintf("%d tests have failed, more than the %d unsteady ones that a run may have", len(tests), maxUnsteady)
	case i >= 0:
		return tests[i] + " must hold each time"
	}
	return ""
}

// repeat runs the tests in the cluster, and again what failed of them.
func (r *Run) repeat(ctx context.Context, goTest func(w io.Writer, more ...string) error) error {
	first := &failures{w: os.Stdout}
	err := goTest(first)
	if err == nil || ctx.Err() != nil {
		return err
	}
	if why := first.excuse(); why != "" {
		fmt.Println("not repeated:", why)
		return err
	}
	for _, name := range first.tests() {
		fmt.Println("-- again, alone, twice:", name)
		if again := goTest(os.Stdout, "-count=2", "-run", pattern(name)); again != nil {
			return fmt.Errorf("%w; and again: %w", err, again)
		}
		r.unsteady = append(r.unsteady, name)
	}
	return nil
}

// pattern is -run for one test.
func pattern(test string) string {
	parts := strings.Split(test, "/")
	for i, p := range parts {
		parts[i] = "^" + regexp.QuoteMeta(p) + "$"
	}
	return strings.Join(parts, "/")
}
