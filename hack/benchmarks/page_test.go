package benchmarks

import "testing"

func TestCutPods(t *testing.T) {
	for name, tt := range map[string]struct{ page, before, pods string }{
		"with":    {"# A\n\n## Scratch\nx\n" + PodsHeading + "y\n", "# A\n\n## Scratch\nx\n", PodsHeading + "y\n"},
		"without": {"# A\n", "# A\n", ""},
		"nothing": {"", "", ""},
	} {
		if before, pods := CutPods(tt.page); before != tt.before || pods != tt.pods {
			t.Errorf("%s: %q and %q", name, before, pods)
		}
	}
}
