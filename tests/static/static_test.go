// Package static tests what the programs of a node are made of.
package static

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/strata-csi/strata"

// onNodes are the programs that run on every node. They must run under any C library or none, and must not be able to hold
// librados, with which a node would speak to a cluster as something more than a client of its volumes.
var onNodes = []string{"strata-node", "strata-mountd", "strata-coldfs"}

func run(t *testing.T, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", args...)
	cmd.Env = append(os.Environ(), env...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return string(out)
}

// dynamic lists what makes a program depend on a loader or on libraries.
func dynamic(t *testing.T, path string) []string {
	t.Helper()
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var found []string
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			found = append(found, p.Type.String())
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil {
		t.Fatal(err)
	}
	return append(found, libraries...)
}

func TestTheProgramsOfANodeAreStatic(t *testing.T) {
	for _, name := range onNodes {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), name)
			run(t, []string{"CGO_ENABLED=0"}, "build", "-o", path, module+"/cmd/"+name)
			if found := dynamic(t, path); len(found) > 0 {
				t.Errorf("needs %s", strings.Join(found, ", "))
			}
		})
	}
}

// A program can be static and still bring the code along, so its packages are looked at too, with the tag that would allow it.
func TestTheProgramsOfANodeKnowNoLibrados(t *testing.T) {
	for _, name := range onNodes {
		t.Run(name, func(t *testing.T) {
			for dep := range strings.Lines(run(t, []string{"CGO_ENABLED=1"}, "list", "-deps", "-tags", "pacific", module+"/cmd/"+name)) {
				dep = strings.TrimSpace(dep)
				if strings.HasPrefix(dep, "github.com/ceph/go-ceph") || dep == module+"/pkg/ceph/librados" {
					t.Errorf("has %s", dep)
				}
			}
		})
	}
}

// The check above must be able to fail: a program with cgo has what it looks for.
func TestAProgramWithCgoIsSeen(t *testing.T) {
	dir := t.TempDir()
	source := "package main\n\n// #include <stdlib.h>\nimport \"C\"\n\nfunc main() { C.free(nil) }\n"
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "program")
	run(t, []string{"CGO_ENABLED=1"}, "build", "-o", path, filepath.Join(dir, "main.go"))
	if found := dynamic(t, path); len(found) == 0 {
		t.Error("a program linked with the C library passes for static")
	}
}
