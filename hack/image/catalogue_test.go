package main

import (
	"bytes"
	"debug/elf"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestCatalogue(t *testing.T) {
	names := map[string]bool{}
	for _, i := range catalogue() {
		if names[i.name] || names[i.reference] {
			t.Errorf("%s or %s is there twice", i.name, i.reference)
		}
		names[i.name], names[i.reference] = true, true
		registry, rest, _ := strings.Cut(i.reference, "/")
		if !strings.Contains(registry, ".") || strings.Count(rest, ":") != 1 {
			t.Errorf("%s: %q isn't REGISTRY/REPOSITORY:TAG, which kubelet and ctr read alike", i.name, i.reference)
		}
		if (i.target == "") == (i.program.pkg == "" && i.userland == "") {
			t.Errorf("%s is made of the Dockerfile, or of a program and a userland", i.name)
		}
		if i.program.path != "" && (len(i.config.Entrypoint) != 1 || i.config.Entrypoint[0] != i.program.path) {
			t.Errorf("%s: entry point %q, program %s", i.name, i.config.Entrypoint, i.program.path)
		}
	}
}

// The tags name versions of upstream's; the module says what is built.
func TestSidecarsHaveTheVersionsOfTheirTags(t *testing.T) {
	mod, err := os.ReadFile(filepath.Join("..", "kube", "sidecars", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, i := range catalogue() {
		if i.program.dir != sidecarModule {
			continue
		}
		n++
		module, _, _ := strings.Cut(i.program.pkg, "/cmd/")
		if _, tag, _ := strings.Cut(i.reference, ":"); tag != i.program.version {
			t.Errorf("%s says it is %s", i.reference, i.program.version)
		}
		if !regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(module+" "+i.program.version) + `( |$)`).Match(mod) {
			t.Errorf("go.mod doesn't require %s %s", module, i.program.version)
		}
		if !regexp.MustCompile(`(?m)^\s*` + regexp.QuoteMeta(i.program.pkg) + `$`).Match(mod) {
			t.Errorf("go.mod has no tool %s", i.program.pkg)
		}
	}
	if n != 4 {
		t.Errorf("%d sidecars, not 4", n)
	}
}

func TestDockerfileHasTheTargets(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range catalogue() {
		if i.target == "" {
			continue
		}
		if !regexp.MustCompile(`(?m)^FROM \$\{BASE_IMAGE\} AS ` + i.target + `$`).Match(text) {
			t.Errorf("no stage %s on BASE_IMAGE", i.target)
		}
		if _, ok := promises()[i.target]; !ok {
			t.Errorf("nothing is promised of target %s", i.target)
		}
	}
}

// What pkg/mkfs calls is looked for in the image.
func TestFileToolsAreThoseOfMkfs(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), filepath.Join("..", "..", "pkg", "mkfs", "mkfs.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	ast.Inspect(f, func(node ast.Node) bool {
		v, ok := node.(*ast.ValueSpec)
		if !ok || v.Names[0].Name != "packageOf" {
			return true
		}
		for _, e := range v.Values[0].(*ast.CompositeLit).Elts {
			tool, err := strconv.Unquote(e.(*ast.KeyValueExpr).Key.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			n++
			if _, ok := fileTools[tool]; !ok {
				t.Errorf("%s isn't looked for in the image", tool)
			}
		}
		return false
	})
	if n == 0 {
		t.Error("pkg/mkfs has no packageOf: say here what it calls")
	}
}

func TestStatic(t *testing.T) {
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	f, err := elf.NewFile(bytes.NewReader(self))
	if err != nil {
		t.Fatal(err)
	}
	linked := false
	for _, p := range f.Progs {
		linked = linked || p.Type == elf.PT_INTERP
	}
	if err := static(self); (err != nil) != linked {
		t.Errorf("linked against libraries: %t; got %v", linked, err)
	}
	shell, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	if err := static(shell); err == nil {
		t.Error("Debian's /bin/sh isn't static")
	}
	if err := static([]byte("#!/bin/sh")); err == nil {
		t.Error("a script isn't a program of its own")
	}
}

func TestChoose(t *testing.T) {
	all, err := choose(nil)
	if err != nil || len(all) != len(catalogue()) {
		t.Errorf("%d images, %v", len(all), err)
	}
	two, err := choose([]string{"pause", "busybox"})
	if err != nil || len(two) != 2 || two[0].name != "pause" || two[1].name != "busybox" {
		t.Errorf("%+v, %v", two, err)
	}
	if _, err := choose([]string{"nginz"}); err == nil || !strings.Contains(err.Error(), `no image "nginz"; there are strata-controller, `) {
		t.Errorf("got %v", err)
	}
}

func TestArguments(t *testing.T) {
	var out, progress bytes.Buffer
	for _, args := range [][]string{{"--help"}, {"build", "-h"}, {"help"}} {
		out.Reset()
		if err := run(t.Context(), args, &out, &progress); err != nil || out.String() != usage {
			t.Errorf("%q: %v", args, err)
		}
	}
	out.Reset()
	if err := run(t.Context(), []string{"list"}, &out, &progress); err != nil || strings.Count(out.String(), "\n") != len(catalogue())+1 {
		t.Errorf("list: %v\n%s", err, &out)
	}
	for _, args := range [][]string{nil, {"bild"}, {"clean", "pause"}, {"list", "pause"}, {"build", "none"}} {
		if err := run(t.Context(), args, &out, &progress); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestDiffersAndLabels(t *testing.T) {
	a := config{User: "1", Entrypoint: []string{"/a"}}
	if err := differs(a, config{User: "1", Entrypoint: []string{"/a"}, Env: []string{"PATH=/"}}); err != nil {
		t.Error(err)
	}
	for _, b := range []config{{Entrypoint: []string{"/a"}}, {User: "1"}, {User: "1", Entrypoint: []string{"/a"}, Cmd: []string{"x"}}} {
		if differs(a, b) == nil {
			t.Errorf("%+v is like %+v", a, b)
		}
	}
	have := map[string]string{}
	for _, l := range []string{"title", "description", "source", "licenses", "version"} {
		have["org.opencontainers.image."+l] = l
	}
	if err := labels(image{}, have); err != nil {
		t.Error(err)
	}
	if err := labels(image{label: "a=b"}, have); err == nil {
		t.Error("the label a isn't missed")
	}
	delete(have, "org.opencontainers.image.licenses")
	if err := labels(image{}, have); err == nil || !strings.Contains(err.Error(), "org.opencontainers.image.licenses") {
		t.Errorf("got %v", err)
	}
}
