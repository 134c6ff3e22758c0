package main

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-csi/strata/hack/chart/manifests"
	"github.com/strata-csi/strata/hack/chart/render"
)

var update = flag.Bool("update", false, "write testdata/golden")

// What the chart gives is read before it is changed: go test -update, and look at the difference.
func TestGolden(t *testing.T) {
	for _, name := range cases {
		t.Run(name, func(t *testing.T) {
			got := render.All(files(t, name))
			path := filepath.Join("testdata", "golden", name+".yaml")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want := read(t, path)
			if bytes.Equal(got, want) {
				return
			}
			g, w := strings.Split(string(got), "\n"), strings.Split(string(want), "\n")
			for i := range min(len(g), len(w)) {
				if g[i] != w[i] {
					t.Fatalf("%s, line %d (go test -update writes it anew):\n got %s\nwant %s", path, i+1, g[i], w[i])
				}
			}
			t.Fatalf("%s has %d lines, and the chart gives %d (go test -update writes it anew)", path, len(w), len(g))
		})
	}
}

func TestManifestsAreUpToDate(t *testing.T) {
	if err := manifests.Verify(root); err != nil {
		t.Error(err)
	}
}

// Verify notices what was changed, is missing or is too much.
func TestVerifyNoticesDrift(t *testing.T) {
	dir := t.TempDir()
	for _, part := range []string{"deploy/strata", "deploy/example-values.yaml"} {
		if err := os.MkdirAll(filepath.Join(dir, "deploy"), 0o755); err != nil {
			t.Fatal(err)
		}
		from, err := filepath.Abs(filepath.Join(root, part))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(from, filepath.Join(dir, part)); err != nil {
			t.Fatal(err)
		}
	}
	if err := manifests.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := manifests.Verify(dir); err != nil {
		t.Fatalf("just written: %v", err)
	}
	made := filepath.Join(dir, "deploy", "manifests")
	for _, c := range []struct {
		what string
		do   func() error
		want string
	}{
		{"changed", func() error {
			return os.WriteFile(filepath.Join(made, "node.yaml"), []byte("kind: Pod\n"), 0o600)
		}, "node.yaml differs"},
		{"removed", func() error { return os.Remove(filepath.Join(made, "csidriver.yaml")) }, "csidriver.yaml is missing"},
		{"added", func() error { return os.WriteFile(filepath.Join(made, "old.yaml"), nil, 0o600) }, "old.yaml isn't made by the chart"},
	} {
		if err := manifests.Write(dir); err != nil {
			t.Fatal(err)
		}
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		err := manifests.Verify(dir)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "make manifests") {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
	if err := manifests.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := manifests.Verify(dir); err != nil {
		t.Errorf("written anew: %v", err)
	}
}
