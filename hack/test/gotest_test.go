package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// checkout makes a module of ours with the given files and a run in it.
func checkout(t *testing.T, files map[string]string) (*Run, func() string) {
	t.Helper()
	root := t.TempDir()
	files["go.mod"] = "module github.com/strata-csi/strata\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	var out buffer
	r := newRun(root, 21000, newProgress(&out))
	if err := errors.Join(os.MkdirAll(r.logDir(), 0o755), r.makeTmp()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(r.tmpDir()); err != nil {
			t.Error(err)
		}
	})
	return r, out.String
}

// buffer is a bytes.Buffer for several writers.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func names(tests []testName) []string {
	var all []string
	for _, n := range tests {
		all = append(all, strings.TrimSpace(n.pkg+" "+n.test))
	}
	slices.Sort(all)
	return all
}

const header = "package p\n\nimport \"testing\"\n\n"

func TestGoTestCountsWhatHappened(t *testing.T) {
	for _, c := range []struct {
		name    string
		code    string
		passed  int
		failed  []string
		skipped []string // with the reason
		shown   []string
		err     error
	}{
		{
			name:   "all pass",
			code:   header + "func TestA(t *testing.T) {}\nfunc TestB(t *testing.T) {}",
			passed: 2, shown: []string{"ok    tests/p (2 passed", "pass  tests/p TestA"},
		},
		{
			name:   "parts count, not their whole",
			code:   header + `func TestA(t *testing.T) { for _, n := range []string{"x", "y y", "z"} { t.Run(n, func(t *testing.T) {}) } }`,
			passed: 3,
		},
		{
			name:   "a part fails",
			code:   header + `func TestA(t *testing.T) { t.Run("x", func(t *testing.T) { t.Error("seven is not eight") }); t.Run("y", func(t *testing.T) {}) }`,
			passed: 1, failed: []string{"tests/p TestA/x"}, shown: []string{"seven is not eight", "FAILED tests/p TestA/x"}, err: errTests,
		},
		{
			name:   "the whole fails after its parts passed",
			code:   header + `func TestA(t *testing.T) { t.Run("x", func(t *testing.T) {}); t.Error("late") }`,
			passed: 1, failed: []string{"tests/p TestA"}, shown: []string{"late"}, err: errTests,
		},
		{
			name:    "a test is skipped",
			code:    header + `func TestA(t *testing.T) { t.Skip("no tape: drive") }` + "\nfunc TestB(t *testing.T) {}",
			passed:  1,
			skipped: []string{"tests/p TestA: no tape: drive"},
		},
		{
			name:   "a panic",
			code:   header + `func TestA(t *testing.T) { panic("out of cheese") }`,
			failed: []string{"tests/p TestA"}, shown: []string{"out of cheese"}, err: errTests,
		},
		{
			name:   "a panic in another goroutine",
			code:   header + `func TestA(t *testing.T) { go panic("out of cheese"); select {} }`,
			failed: []string{"tests/p TestA"}, shown: []string{"out of cheese"}, err: errTests,
		},
		{
			name:   "the process ends itself",
			code:   "package p\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n" + `func TestA(t *testing.T) { os.Exit(3) }`,
			failed: []string{"tests/p TestA"}, err: errTests,
		},
		{
			name:   "it doesn't build",
			code:   header + `func TestA(t *testing.T) { var x int = "y" }`,
			failed: []string{"tests/p"}, shown: []string{"FAILED to build", "cannot use"}, err: errTests,
		},
		{
			name:   "TestMain fails",
			code:   "package p\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n" + `func TestMain(m *testing.M) { println("no cluster"); os.Exit(1) }`,
			failed: []string{"tests/p"}, shown: []string{"no cluster"}, err: errTests,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, said := checkout(t, map[string]string{"tests/p/p_test.go": c.code})
			_, err := r.goTest(t.Context(), r.results, goTest{log: "p", packages: []string{"./tests/p"}})
			if !errors.Is(err, c.err) || (err != nil) != (c.err != nil) {
				t.Errorf("error %v, want %v", err, c.err)
			}
			if r.results.passed != c.passed {
				t.Errorf("%d passed, want %d", r.results.passed, c.passed)
			}
			if got := names(r.results.failed); !slices.Equal(got, c.failed) {
				t.Errorf("failed: %q, want %q", got, c.failed)
			}
			var skipped []string
			for _, s := range r.results.skipped {
				skipped = append(skipped, s.name.pkg+" "+s.name.test+": "+s.reason)
			}
			if !slices.Equal(skipped, c.skipped) {
				t.Errorf("skipped: %q, want %q", skipped, c.skipped)
			}
			for _, w := range c.shown {
				if !strings.Contains(said(), w) {
					t.Errorf("%q was not shown:\n%s", w, said())
				}
			}
		})
	}
}

func TestGoTestThatCantRunIsAnError(t *testing.T) {
	r, _ := checkout(t, map[string]string{})
	if _, err := r.goTest(t.Context(), r.results, goTest{log: "p", packages: []string{"./no/such/package"}}); err == nil {
		t.Error("no error")
	}
}

func TestSkips(t *testing.T) {
	path := filepath.Join(t.TempDir(), "skips.txt")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# comment\n\ntests/a TestX needs a tape drive\ntests/a TestY/part_1 needs another\ntests/b TestZ didn't run\n")
	expected, err := readSkips(path)
	if err != nil || len(expected) != 3 || expected[testName{"tests/a", "TestY/part_1"}] != "needs another" {
		t.Fatalf("%v, %v", expected, err)
	}
	r := newResults()
	r.packages["tests/a"] = true
	r.skipped = []skip{{testName{"tests/a", "TestX"}, "no tape"}, {testName{"tests/a", "TestNew"}, "lazy"}}
	got := strings.Join(compareSkips(expected, r), "\n")
	want := "tests/a TestNew was skipped and is not listed: lazy\ntests/a TestY/part_1 is listed and was not skipped"
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	write("tests/a TestX\n")
	if _, err := readSkips(path); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("a line without a reason: %v", err)
	}
}
