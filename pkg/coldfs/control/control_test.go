package control_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Who finds a reason in the health of a volume finds in docs/operations.md what to do.
func TestEveryReasonIsDocumented(t *testing.T) {
	source, err := os.ReadFile("control.go")
	if err != nil {
		t.Fatal(err)
	}
	docs, err := os.ReadFile("../../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(source), "// The reasons of conditions.\nconst (")
	if !found {
		t.Fatal("control.go has no list of reasons")
	}
	list, _, _ := strings.Cut(rest, "\n)")
	reasons := regexp.MustCompile(`= "(\w+)"`).FindAllStringSubmatch(list, -1)
	if len(reasons) == 0 {
		t.Fatal("control.go has no reasons")
	}
	for _, r := range reasons {
		if !strings.Contains(string(docs), "\n| `"+r[1]+"` |") {
			t.Errorf("docs/operations.md has no row for %s", r[1])
		}
	}
}
