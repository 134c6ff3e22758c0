package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func write(t *testing.T, root string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIgnoreSeesWhatTheBuilderSees(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{
		"go.mod": "", "README.md": "", "pkg/a/a.go": "", "pkg/a/a_test.go": "", "pkg/a/testdata/x.go": "", "tests/t.go": "", "cmd/c/main.go": "",
	})
	i, err := parseIgnore("# comment\n*\n!go.mod\n!cmd\n!pkg\n\n**/*_test.go\n**/testdata\n")
	if err != nil {
		t.Fatal(err)
	}
	files, err := i.files(root)
	if err != nil {
		t.Fatal(err)
	}
	for n := range files {
		files[n] = strings.TrimPrefix(files[n], root+"/")
	}
	if diff := cmp.Diff([]string{"cmd/c/main.go", "go.mod", "pkg/a/a.go"}, files); diff != "" {
		t.Error(diff)
	}
}

func TestIgnoreRefusesWhatItCannotTell(t *testing.T) {
	for _, text := range []string{
		"", ".git\n", "!pkg\n*\n", "*\n!pkg/*\n", "*\n!pkg\npkg/a\n", "*\n!../x/\n", "*\n**/a/b\n", "*\n**/[\n", "*\n**/*_test.go\n!pkg\n",
	} {
		if got, err := parseIgnore(text); err == nil || !strings.HasPrefix(err.Error(), ".dockerignore: ") {
			t.Errorf("%q: got %+v, %v", text, got, err)
		}
	}
}

func TestContextHash(t *testing.T) {
	root := t.TempDir()
	write(t, root, map[string]string{".dockerignore": "*\n!pkg\n**/*_test.go\n", "Dockerfile": "FROM x", "pkg/a.go": "a", "pkg/a_test.go": "t", "README.md": "r"})
	hash := func() string {
		t.Helper()
		h, err := contextHash(root)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	first := hash()
	for _, c := range []struct {
		file    string
		changes bool
	}{{"README.md", false}, {"pkg/a_test.go", false}, {"pkg/a.go", true}, {"Dockerfile", true}, {"pkg/new.go", true}} {
		before := hash()
		write(t, root, map[string]string{c.file: "changed"})
		if changed := hash() != before; changed != c.changes {
			t.Errorf("a change of %s changes the hash: %t", c.file, changed)
		}
	}
	if hash() == first {
		t.Error("the hash is what it was")
	}
	write(t, root, map[string]string{"pkg/a.go": "a", "Dockerfile": "FROM x"})
	if err := os.Remove(filepath.Join(root, "pkg/new.go")); err != nil {
		t.Fatal(err)
	}
	if hash() != first {
		t.Error("the same files have another hash")
	}
	if err := os.Chmod(filepath.Join(root, "pkg/a.go"), 0o755); err != nil {
		t.Fatal(err)
	}
	if hash() == first {
		t.Error("a file that became executable has the same hash")
	}
}

func TestInputHashOfEveryImageIsItsOwn(t *testing.T) {
	root, err := checkout()
	if err != nil {
		t.Fatal(err)
	}
	s := &store{root: root}
	seen := map[string]string{}
	for _, i := range catalogue() {
		if i.program.hint != "" || i.userland == busybox {
			continue // what this machine may lack
		}
		h, err := s.inputHash(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		if seen[h] != "" {
			t.Errorf("%s has the hash of %s", i.name, seen[h])
		}
		seen[h] = i.name
		if again, err := s.inputHash(t.Context(), i); err != nil || again != h {
			t.Errorf("%s: hashes %s and %s, %v", i.name, h, again, err)
		}
	}
}

func TestMissingProgramSaysHowToBuildIt(t *testing.T) {
	i := image{name: "agnhost", program: program{pkg: "none", hint: "go run ./hack/kube build"}}
	if _, err := i.sources(t.TempDir()); err == nil || !strings.Contains(err.Error(), "build it first: go run ./hack/kube build") {
		t.Errorf("got %v", err)
	}
}

func TestUpToDateWantsKeyAndArchive(t *testing.T) {
	s := &store{root: t.TempDir()}
	if s.upToDate("a", "k") {
		t.Error("nothing is there")
	}
	write(t, s.path(), map[string]string{"a.key": "k\n"})
	if s.upToDate("a", "k") {
		t.Error("the archive isn't there")
	}
	write(t, s.path(), map[string]string{"a.tar": ""})
	if !s.upToDate("a", "k") || s.upToDate("a", "other") {
		t.Error("the key decides")
	}
	write(t, s.path(), map[string]string{"a.key": "k"})
	if s.upToDate("a", "k") {
		t.Error("a key that was cut off is no key")
	}
}
