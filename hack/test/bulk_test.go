package main

// What the race detector doesn't see must run without it.

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A test that the run with the race detector leaves out or makes smaller is of a package that runs without it too; otherwise nobody would run all of it.
func TestWhatIsNotRacedRunsWithoutTheDetector(t *testing.T) {
	names := slices.Concat(notRaced, lessRaced)
	left := regexp.MustCompile(anyOf(names...))
	declared := regexp.MustCompile(`(?m)^func (Test\w*)\(`)
	var found []string
	for _, top := range []string{"cmd", "pkg", "hack"} {
		err := filepath.WalkDir(filepath.Join("..", "..", top), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			dir, err := filepath.Rel(filepath.Join("..", ".."), filepath.Dir(path))
			if err != nil {
				return err
			}
			for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
				if !left.MatchString(m[1]) {
					continue
				}
				found = append(found, m[1])
				if !slices.Contains(bulk, "./"+dir) {
					t.Errorf("%s of %s runs in no whole form: notRaced or lessRaced has its name, and bulk not its package", m[1], dir)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range names {
		if !slices.ContainsFunc(found, regexp.MustCompile(anyOf(name)).MatchString) {
			t.Errorf("notRaced or lessRaced has %s, which is no test", name)
		}
	}
}
