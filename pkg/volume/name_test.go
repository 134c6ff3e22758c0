package volume

import (
	"strings"
	"testing"
)

func TestNameStandsWhenItCan(t *testing.T) {
	for request, want := range map[string]string{"pvc-1": "pvc-1", "a": "a", "0-9": "0-9", strings.Repeat("n", 40): strings.Repeat("n", 40)} {
		if got := Name("", request, NameLength); got != want {
			t.Errorf("%q became %q", request, got)
		}
	}
	if got := Name("ml", "pvc-1", NameLength); got != "ml.pvc-1" {
		t.Errorf("with a prefix: %q", got)
	}
}

// TestNamesNeverMeet: two requests never get one name, and every name can be a part of an id.
func TestNamesNeverMeet(t *testing.T) {
	requests := []string{"", "a", "A", "a ", "ä", ".", "..", "a/b", "a:b", "a.b", "-a", "a-", "💾", "a\nb", "h-", Name("", "A", NameLength), Name("", "..", NameLength),
		strings.Repeat("n", 40), strings.Repeat("n", 41), strings.Repeat("n", 128), strings.Repeat("n", 127) + "m"}
	for _, max := range []int{28, NameLength} {
		seen := map[string]string{}
		for _, prefix := range []string{"", "ml", "a"} {
			for _, r := range requests {
				name := Name(prefix, r, max)
				if other, ok := seen[name]; ok {
					t.Errorf("%q with prefix %q and %q are both %q", r, prefix, other, name)
				}
				seen[name] = r
				if err := CheckPart(name); err != nil {
					t.Errorf("%q: %v", r, err)
				}
				bare := name
				if prefix != "" {
					bare = strings.TrimPrefix(name, prefix+".")
				}
				if len(bare) > max {
					t.Errorf("%q has %d bytes, at most %d were asked for", bare, len(bare), max)
				}
			}
		}
	}
}

func FuzzNameIsAPart(f *testing.F) {
	f.Add("pvc-1", "")
	f.Add("../../etc", "ml")
	f.Fuzz(func(t *testing.T, request, prefix string) {
		if prefix != "" && CheckPart(prefix) != nil {
			return // not a prefix that a class may have
		}
		if name := Name(prefix, request, NameLength); CheckPart(name) != nil {
			t.Errorf("%q, %q: %q", prefix, request, name)
		}
	})
}
