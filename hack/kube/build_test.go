package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSourceHashChangesWithWhatIsBuilt(t *testing.T) {
	dir := t.TempDir()
	seen := map[string]string{}
	for _, c := range []struct{ file, text string }{
		{"go.mod", "module a"}, {"go.sum", "k8s.io/kubernetes v1"}, {"go.sum", "k8s.io/kubernetes v2"}, {"e2e/x_test.go", "package e2e"}, {"e2e/y_test.go", "package e2e"},
	} {
		path := filepath.Join(dir, c.file)
		if err := writeFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		hash, err := sourceHash(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if before, ok := seen[hash]; ok {
			t.Errorf("after %s the same as after %s", c.file, before)
		}
		seen[hash] = c.file
		if again, err := sourceHash(t.Context(), dir); err != nil || again != hash {
			t.Errorf("%s, then %s, %v", hash, again, err)
		}
	}
}

func TestTheVersionIsThatOfGoMod(t *testing.T) {
	root, err := checkout()
	if err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "hack/kube/kubernetes/go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	match := versionLine.FindSubmatch(mod)
	if match == nil {
		t.Fatal("no version found")
	}
	steps := buildSteps(string(match[1]))
	if flags := strings.Join(steps[0].args, " "); !strings.Contains(flags, "gitVersion="+string(match[1])+" ") || !strings.Contains(flags, "gitMajor=1 ") {
		t.Errorf("%s", flags)
	}
}

func TestCompilerWatch(t *testing.T) {
	var w compilerWatch
	w.read(strings.NewReader("k8s.io/api/core/v1\nk8s.io/kubernetes/pkg/kubelet\n# k8s.io/kubernetes/cmd\nmain.go:7:2: undefined: x\n"))
	if got := w.state(); got != "2 packages compiled, last k8s.io/kubernetes/pkg/kubelet" {
		t.Errorf("%s", got)
	}
	if got := w.messages(); got != "# k8s.io/kubernetes/cmd\nmain.go:7:2: undefined: x" {
		t.Errorf("%q", got)
	}
}
