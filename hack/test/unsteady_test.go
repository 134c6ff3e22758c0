package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// counted is the source of a test package with a function that tells how often it was called, in this process and those before.
const counted = `package p

import (
	"os"
	"testing"
)

func times(t *testing.T, name string) int {
	path := "COUNTS/" + name
	b, _ := os.ReadFile(path)
	if err := os.WriteFile(path, append(b, 'x'), 0o600); err != nil {
		t.Fatal(err)
	}
	return len(b) + 1
}

`

func TestWhatFailsIsRepeated(t *testing.T) {
	const first = `if times(t, t.Name()) == 1 { t.Error("seven is not eight") }`
	for _, c := range []struct {
		name     string
		code     string
		once     string // tests/once.txt
		failed   []string
		unsteady []string
		said     []string
		notSaid  []string
	}{
		{
			name: "it passes twice", code: `func TestA(t *testing.T) { ` + first + ` }` + "\nfunc TestB(t *testing.T) {}",
			unsteady: []string{"tests/p TestA"}, said: []string{"again, 2 of 2: tests/p TestA"}, notSaid: []string{"not repeated"},
		},
		{
			name: "it fails again", code: `func TestA(t *testing.T) { if times(t, "a") <= 2 { t.Error("seven is not eight") } }`,
			failed: []string{"tests/p TestA"}, notSaid: []string{"2 of 2"},
		},
		{
			name: "it fails the third time", code: `func TestA(t *testing.T) { if times(t, "a") != 2 { t.Error("seven is not eight") } }`,
			failed: []string{"tests/p TestA"}, said: []string{"2 of 2"},
		},
		{
			name: "a part, and its whole with it",
			code: `func TestA(t *testing.T) { t.Run("x y", func(t *testing.T) { t.Run("a+b (c)", func(t *testing.T) { if times(t, "x") == 1 { t.Error("no") } }) }) }` +
				"\nfunc TestAB(t *testing.T) {}",
			unsteady: []string{"tests/p TestA/x_y/a+b_(c)"}, said: []string{"2 of 2: tests/p TestA/x_y/a+b_(c)"},
		},
		{
			name:   "a whole that fails by itself too is repeated as a whole",
			code:   `func TestA(t *testing.T) { n := times(t, "a"); t.Run("x", func(t *testing.T) { if n == 1 { t.Error("no") } }); if n == 3 { t.Error("late") }; if n == 1 { t.Error("early") } }`,
			failed: []string{"tests/p TestA/x"}, said: []string{"2 of 2: tests/p TestA\n", "late"},
		},
		{
			name: "a test that is skipped then hasn't passed", code: `func TestA(t *testing.T) { if times(t, "a") == 1 { t.Error("no") }; t.Skip("lazy") }`,
			failed: []string{"tests/p TestA"}, said: []string{"1 of 2: FAILED: it didn't run"},
		},
		{
			name: "two at most", code: `func TestA(t *testing.T) { ` + first + ` }` + "\nfunc TestB(t *testing.T) { " + first + " }",
			unsteady: []string{"tests/p TestA", "tests/p TestB"},
		},
		{
			name: "three are too many", code: `func TestA(t *testing.T) { ` + first + ` }` + "\nfunc TestB(t *testing.T) { " + first + " }\nfunc TestC(t *testing.T) { " + first + " }",
			failed: []string{"tests/p TestA", "tests/p TestB", "tests/p TestC"}, said: []string{"not repeated: these are more"}, notSaid: []string{"again"},
		},
		{
			name: "a listed one isn't", code: `func TestA(t *testing.T) { t.Run("x", func(t *testing.T) { ` + first + ` }) }`, once: "tests/p ^TestA$|/x$ it holds others' data",
			failed: []string{"tests/p TestA/x"}, said: []string{"not repeated: tests/p TestA/x: it holds others' data"}, notSaid: []string{"again"},
		},
		{
			name: "nor one of which something said that data was lost", code: `func TestA(t *testing.T) { if times(t, "a") == 1 { t.Error("DATA MISMATCH: one byte") } }`,
			failed: []string{"tests/p TestA"}, notSaid: []string{"again"},
		},
		{
			name: "nor a panic", code: `func TestA(t *testing.T) { if times(t, "a") == 1 { panic("out of cheese") } }`,
			failed: []string{"tests/p TestA"}, notSaid: []string{"again"},
		},
		{
			name: "nor one beside a panic", code: `func TestA(t *testing.T) { ` + first + ` }` + "\n" + `func TestB(t *testing.T) { if times(t, "b") == 1 { panic("out of cheese") } }`,
			failed: []string{"tests/p TestA", "tests/p TestB"}, notSaid: []string{"again"},
		},
		{
			name: "nor one in a process that ended itself", code: `func TestA(t *testing.T) { ` + first + ` }` + "\n" + `func TestB(t *testing.T) { if times(t, "b") == 1 { os.Exit(1) } }`,
			failed: []string{"tests/p TestA"}, notSaid: []string{"again"},
		},
		{
			name: "nor a race", code: `func TestA(t *testing.T) { if times(t, "a") == 1 { x := 0; done := make(chan bool); go func() { x++; close(done) }(); x++; <-done } }`,
			failed: []string{"tests/p TestA"}, said: []string{"not repeated: tests/p TestA: \"DATA RACE\" was said"}, notSaid: []string{"again"},
		},
		{
			name: "nor what took too long", code: `func TestA(t *testing.T) { if times(t, "a") == 1 { select {} } }`,
			failed: []string{"tests/p TestA"}, said: []string{"test timed out"}, notSaid: []string{"again"},
		},
		{
			name: "nor what doesn't build", code: `func TestA(t *testing.T) { var x int = "y" }`,
			failed: []string{"tests/p"}, notSaid: []string{"again"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			counts := t.TempDir()
			files := map[string]string{"tests/p/p_test.go": strings.ReplaceAll(counted, "COUNTS", counts) + c.code}
			if c.once != "" {
				files["tests/once.txt"] = c.once
			}
			r, said := checkout(t, files)
			flags := []string{"-timeout", "1m"}
			switch {
			case strings.Contains(c.name, "race"):
				flags = append(flags, "-race")
			case strings.Contains(c.name, "too long"):
				flags = []string{"-timeout", "2s"}
			}
			r.tests(t.Context(), "p", goTest{log: "p", flags: flags, packages: []string{"./tests/p"}})
			if err := r.repeat(t.Context()); err != nil {
				t.Error(err)
			}
			if got := names(r.results.failed); !slices.Equal(got, c.failed) {
				t.Errorf("failed: %q, want %q", got, c.failed)
			}
			var found []testName
			for _, u := range r.results.unsteady {
				found = append(found, u.name)
			}
			if got := names(found); !slices.Equal(got, c.unsteady) {
				t.Errorf("unsteady: %q, want %q", got, c.unsteady)
			}
			for _, w := range c.said {
				if !strings.Contains(said(), w) {
					t.Errorf("%q was not said", w)
				}
			}
			for _, w := range c.notSaid {
				if strings.Contains(said(), w) {
					t.Errorf("%q was said", w)
				}
			}
			var report bytes.Buffer
			ok := r.results.print(&report, time.Second)
			if ok != (len(c.failed) == 0) {
				t.Errorf("all is well: %v", ok)
			}
			for _, n := range c.unsteady {
				if !strings.Contains(report.String(), "UNSTEADY: "+n+" failed after") {
					t.Errorf("%s isn't reported:\n%s", n, report.String())
				}
			}
			if len(c.unsteady) == 1 && c.name == "it passes twice" {
				for _, w := range []string{"p_test.go", "seven is not eight", "1 passed, 0 failed, 1 unsteady, 0 skipped"} {
					if !strings.Contains(report.String(), w) {
						t.Errorf("%q isn't reported:\n%s", w, report.String())
					}
				}
			}
			if t.Failed() {
				t.Log(said())
			}
		})
	}
}

// What an unsteady test leaves behind fails the run, before its repetition or after.
func TestLeftoversAreNeverExcused(t *testing.T) {
	const leave = `
	t.Error("no")
	if err := os.Mkdir(os.Getenv("TMPDIR")+"/a", 0o700); err != nil { t.Fatal(err) }
	if err := syscall.Mount("none", os.Getenv("TMPDIR")+"/a", "tmpfs", 0, ""); err != nil { t.Fatal(err) }
`
	code := strings.Replace(strings.ReplaceAll(counted, "COUNTS", t.TempDir()), `"testing"`, "\"syscall\"\n\t\"testing\"", 1)
	r, said := checkout(t, map[string]string{"tests/p/p_test.go": code + "func TestA(t *testing.T) { if times(t, \"a\") == 1 {" + leave + "} }"})
	r.tests(t.Context(), "p", goTest{log: "p", packages: []string{"./tests/p"}})
	if err := r.repeat(t.Context()); err != nil {
		t.Error(err)
	}
	if got := names(r.results.failed); !slices.Equal(got, []string{"p left something behind", "tests/p TestA"}) {
		t.Errorf("failed: %q\n%s", got, said())
	}
}

func TestOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "once.txt")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# comment\n\ntests/a ^TestX$ holds data\ntests/a ^TestY/ holds more\ntests/b . didn't run\n")
	all, err := readOnce(path)
	if err != nil || len(all) != 3 || all[0].reason != "holds data" {
		t.Fatalf("%v, %v", all, err)
	}
	r := newResults()
	r.packages["tests/a"] = true
	r.ended[testName{"tests/a", "TestX"}] = "pass"
	r.ended[testName{"tests/b", "TestY/a"}] = "pass"
	if got := strings.Join(staleOnce(all, r), "\n"); got != "tests/a ^TestY/ stands for no test" {
		t.Errorf("got %s", got)
	}
	for _, wrong := range []string{"tests/a TestX\n", "tests/a Test( why not\n"} {
		write(wrong)
		if _, err := readOnce(path); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// The file of this project can be read.
func TestOnceOfTheProject(t *testing.T) {
	all, err := readOnce(filepath.Join("..", "..", "tests", "once.txt"))
	if err != nil || len(all) == 0 {
		t.Fatalf("%d lines, %v", len(all), err)
	}
	for _, o := range all {
		if _, err := os.Stat(filepath.Join("..", "..", o.pkg)); err != nil {
			t.Error(err)
		}
	}
}
