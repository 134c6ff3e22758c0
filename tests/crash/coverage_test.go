package crash

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/strata-csi/strata/tests/harness"
)

// TestEveryFailpointHasARow makes a new failpoint without a row here a failure.
func TestEveryFailpointHasARow(t *testing.T) {
	var rows []string
	for _, op := range operations {
		for _, p := range op.points {
			rows = append(rows, "warm/"+p)
		}
	}
	points := failpoints(t)
	if len(points) < 20 {
		t.Fatalf("found %d failpoints only", len(points))
	}
	for _, p := range points {
		if !slices.Contains(rows, p) {
			t.Errorf("no row kills the controller at %s", p)
		}
	}
	for _, p := range rows {
		if !slices.Contains(points, p) {
			t.Errorf("a row names %s, which isn't in pkg/warm", p)
		}
	}
}

// failpoints are the arguments of failpoint.Hit in the source of pkg/warm.
func failpoints(t *testing.T) []string {
	root, err := harness.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, "pkg", "warm")
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(dir, f.Name()), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			selector, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || selector.Sel.Name != "Hit" {
				return true
			}
			if pkg, ok := selector.X.(*ast.Ident); !ok || pkg.Name != "failpoint" {
				return true
			}
			literal, ok := call.Args[0].(*ast.BasicLit)
			if !ok {
				t.Errorf("%s: a failpoint whose name isn't a literal", f.Name())
				return true
			}
			name, err := strconv.Unquote(literal.Value)
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, name)
			return true
		})
	}
	return names
}
