package stack

import "testing"

func TestParseStat(t *testing.T) {
	for name, tt := range map[string]struct {
		text        string
		pid, parent int
		program     string
		bad         bool
	}{
		"plain":            {"123 (strata-coldfs) S 45 123 123 0 -1", 123, 45, "strata-coldfs", false},
		"brackets":         {"7 (a) (b) R 1 7 7", 7, 1, "a) (b", false},
		"a space":          {"7 (tmux: server) S 2 7", 7, 2, "tmux: server", false},
		"no name":          {"7 S 2", 0, 0, "", true},
		"nothing behind":   {"7 (x)", 0, 0, "", true},
		"no number before": {"(x) S 2", 0, 0, "", true},
	} {
		pid, parent, program, err := parseStat(tt.text)
		if (err != nil) != tt.bad || err == nil && (pid != tt.pid || parent != tt.parent || program != tt.program) {
			t.Errorf("%s: %d, %d, %q, %v", name, pid, parent, program, err)
		}
	}
}
