package names

import (
	"errors"
	"strings"
	"testing"
)

func TestNamesOfSegments(t *testing.T) {
	for _, c := range []struct{ segment, name, beside string }{
		{"model.pt", "model.pt", "%%model.pt%"},
		{"", "%%", "%%%"},
		{".", "%%%2E", "%%%2E%"},
		{"..", "%%%2E%2E", "%%%2E%2E%"},
		{"...", "...", "%%...%"},
		{"a%20b", "a%20b", "%%a%2520b%"},
		{"%", "%", "%%%25%"},
		{"%%", "%%%25%25", "%%%25%25%"},
		{"%%a", "%%%25%25a", "%%%25%25a%"},
		{"a\x00b", "%%a%00b", "%%a%00b%"},
		{"é\n", "é\n", "%%é\n%"},
	} {
		if name, ok := Of(c.segment); name != c.name || !ok {
			t.Errorf("Of(%q) = %q, %v, want %q", c.segment, name, ok, c.name)
		}
		if name, ok := OfBeside(c.segment); name != c.beside || !ok {
			t.Errorf("OfBeside(%q) = %q, %v, want %q", c.segment, name, ok, c.beside)
		}
		if n, err := Parse(c.name); err != nil || n != (Name{Segment: c.segment}) {
			t.Errorf("Parse(%q) = %+v, %v", c.name, n, err)
		}
		if n, err := Parse(c.beside); err != nil || n != (Name{Segment: c.segment, Beside: true}) {
			t.Errorf("Parse(%q) = %+v, %v", c.beside, n, err)
		}
	}
}

func TestNamesThatMeanNothing(t *testing.T) {
	for name, want := range map[string]error{
		"":                       ErrInvalid,
		".":                      ErrInvalid,
		"..":                     ErrInvalid,
		"a/b":                    ErrInvalid,
		"a\x00":                  ErrInvalid,
		"\xff":                   ErrInvalid,
		"%%a":                    ErrInvalid, // needs no escape
		"%%%2E%2E%2E":            ErrInvalid,
		"%%%41":                  ErrInvalid,
		"%%%2":                   ErrInvalid,
		"%%%2e":                  ErrInvalid,
		strings.Repeat("a", 256): ErrTooLong,
	} {
		if n, err := Parse(name); !errors.Is(err, want) {
			t.Errorf("Parse(%q) = %+v, %v, want %v", name, n, err, want)
		}
	}
}

func TestSegmentsThatAreTooLong(t *testing.T) {
	for segment, want := range map[string]bool{
		strings.Repeat("a", 255):                    true,
		strings.Repeat("a", 256):                    false,
		strings.Repeat("%", 85):                     false, // three bytes for each
		strings.Repeat("a", 1024):                   false,
		"%%" + strings.Repeat("b", 255-len(`%%`)-6): true,
	} {
		if name, ok := Of(segment); ok != want {
			t.Errorf("Of(%d bytes) = %d bytes, %v", len(segment), len(name), ok)
		}
	}
}

// A name means one segment and a segment has one name, whatever they are made of.
func FuzzNames(f *testing.F) {
	for _, s := range []string{"a", "%%", "%%a%", "..", "%%%2E", "", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := Parse(s); err == nil {
			name, ok := Of(n.Segment)
			if n.Beside {
				name, ok = OfBeside(n.Segment)
			}
			if !ok || name != s {
				t.Errorf("%q means %+v, which is shown as %q", s, n, name)
			}
		}
		if name, ok := Of(s); ok && !strings.Contains(s, "/") {
			if n, err := Parse(name); err == nil && n != (Name{Segment: s}) {
				t.Errorf("%q is shown as %q, which means %+v", s, name, n)
			}
		}
	})
}
