package ceph

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDocumentedCapabilities: what an operator copies from docs/security.md is what the driver was tested with.
func TestDocumentedCapabilities(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "security.md"))
	if err != nil {
		t.Fatal(err)
	}
	for user, caps := range map[string][]string{
		"strata-controller": ControllerCapabilities("dev", "warm", "warm-data"),
		"strata-fencing":    FencingCapabilities("warm"),
	} {
		if want := documented(t, user, caps); !strings.Contains(string(text), want) {
			t.Errorf("docs/security.md lacks:\n%s", want)
		}
	}
}

func documented(t *testing.T, user string, caps []string) string {
	var b strings.Builder
	b.WriteString("```sh\nceph auth get-or-create client." + user + " \\\n")
	for i := 0; i < len(caps); i += 2 {
		if strings.Contains(caps[i+1], "'") {
			t.Errorf("a quote in %s would end the shell's word", caps[i+1])
		}
		b.WriteString("  " + caps[i] + " '" + strings.ReplaceAll(caps[i+1], ", allow", ",\n    allow") + "'")
		if i+2 < len(caps) {
			b.WriteString(" \\\n")
		}
	}
	b.WriteString(" > keyring\n```\n")
	return b.String()
}
