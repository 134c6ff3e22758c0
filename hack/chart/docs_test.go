package main

import (
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// docs/kubernetes.md has every value: its last name, in a row that begins with what holds it.
func TestValuesAreDocumented(t *testing.T) {
	var values map[string]any
	if err := yaml.UnmarshalStrict(read(t, filepath.Join(root, "deploy", "strata", "values.yaml")), &values); err != nil {
		t.Fatal(err)
	}
	var rows []string
	for line := range strings.SplitSeq(string(read(t, filepath.Join(root, "docs", "kubernetes.md"))), "\n") {
		if strings.HasPrefix(line, "| `") {
			rows = append(rows, line)
		}
	}
	documented := func(holder, name string) bool {
		for _, row := range rows {
			cell := strings.SplitN(row, " | ", 2)[0]
			if strings.Contains(cell, "`"+strings.TrimPrefix(holder+"."+name, ".")+"`") {
				return true
			}
			// One row has several: the first with all that holds it, or what is common to the pods.
			if strings.Contains(cell, "`."+name+"`") && (strings.HasPrefix(cell, "| `"+holder+".") || strings.HasPrefix(cell, "| `controller`, ") && strings.Contains(cell, "`"+holder+"`")) {
				return true
			}
		}
		return false
	}
	seen := 0
	var walk func(path string, v map[string]any)
	walk = func(path string, v map[string]any) {
		for name, value := range v {
			seen++
			if documented(path, name) {
				continue
			}
			if inner, ok := value.(map[string]any); ok && len(inner) > 0 {
				walk(strings.TrimPrefix(path+"."+name, "."), inner)
				continue
			}
			t.Errorf("docs/kubernetes.md has no row of %s.%s", path, name)
		}
	}
	walk("", values)
	if seen < 60 {
		t.Errorf("only %d values were looked at", seen)
	}
}
