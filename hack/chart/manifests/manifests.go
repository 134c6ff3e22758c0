// Package manifests keeps deploy/manifests, what the chart gives for deploy/example-values.yaml, for operators without helm.
package manifests

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/strata-csi/strata/hack/chart/render"
)

const head = "# Made by `make manifests` from deploy/strata and deploy/example-values.yaml; `make verify` fails when it isn't.\n"

func dir(root string) string { return filepath.Join(root, "deploy", "manifests") }

// render gives the files as they should be. Their names sort in the order in which they apply: the namespace is first.
func rendered(root string) (map[string][]byte, error) {
	files, err := render.Files(render.Options{
		Chart:   filepath.Join(root, "deploy", "strata"),
		Values:  []string{filepath.Join(root, "deploy", "example-values.yaml")},
		Release: "strata", Namespace: "strata",
	})
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for _, f := range files {
		name := f.Name
		if name == "namespace.yaml" {
			name = "00-" + name
		}
		out[name] = append([]byte(head), f.Text...)
	}
	return out, nil
}

// Write makes the directory anew.
func Write(root string) error {
	files, err := rendered(root)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir(root), 0o755); err != nil {
		return err
	}
	present, err := os.ReadDir(dir(root))
	if err != nil {
		return err
	}
	for _, e := range present {
		if _, wanted := files[e.Name()]; !wanted && strings.HasSuffix(e.Name(), ".yaml") {
			if err := os.Remove(filepath.Join(dir(root), e.Name())); err != nil {
				return err
			}
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir(root), name), text, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Verify says which files are not as they should be.
func Verify(root string) error {
	files, err := rendered(root)
	if err != nil {
		return err
	}
	var wrong []string
	for name, text := range files {
		present, err := os.ReadFile(filepath.Join(dir(root), name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			wrong = append(wrong, name+" is missing")
		case err != nil:
			return err
		case !bytes.Equal(present, text):
			wrong = append(wrong, name+" differs")
		}
	}
	present, err := os.ReadDir(dir(root))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range present {
		if _, wanted := files[e.Name()]; !wanted {
			wrong = append(wrong, e.Name()+" isn't made by the chart")
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	slices.Sort(wrong)
	return fmt.Errorf("deploy/manifests: %s: run `make manifests`", strings.Join(wrong, ", "))
}
