package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestWhatMayBeRepeated(t *testing.T) {
	for _, test := range []struct {
		name, said string
		tests      []string
		excuse     string // a part of it; "" is that they are repeated
	}{
		{"a test", "=== RUN   TestA\n--- FAIL: TestA (1.00s)\nFAIL\n", []string{"TestA"}, ""},
		{"a part of a test", "--- FAIL: TestA (0.00s)\n    --- FAIL: TestA/warm (1.00s)\n    --- PASS: TestA/cold (1.00s)\nFAIL\n", []string{"TestA/warm"}, ""},
		{"two", "--- FAIL: TestA (0.00s)\n--- FAIL: TestAB (0.00s)\n", []string{"TestA", "TestAB"}, ""},
		{"three", "--- FAIL: TestA (0.00s)\n--- FAIL: TestB (0.00s)\n--- FAIL: TestC (0.00s)\n", []string{"TestA", "TestB", "TestC"}, "3 tests have failed"},
		{"no test", "FAIL\n", nil, "something else"},
		{"what is left over", "--- FAIL: TestA (0.00s)\ne2e: left over: a loop device\n", []string{"TestA"}, "left over"},
		{"a crash", "--- FAIL: TestA (0.00s)\npanic: nil [recovered]\n", []string{"TestA"}, "panic"},
		{"other data", "    a_test.go:1: DATA MISMATCH in f\n--- FAIL: TestA (0.00s)\n", []string{"TestA"}, "DATA MISMATCH"},
		{"what must hold each time", "--- FAIL: TestDriverFailsWhilePodsWork (9.00s)\n", []string{"TestDriverFailsWhilePodsWork"}, "each time"},
		{"a part of what must hold", "    --- FAIL: TestScratchIsWiped/loop (9.00s)\n", []string{"TestScratchIsWiped/loop"}, "each time"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var shown bytes.Buffer
			f := &failures{w: &shown}
			for part := range slices.Chunk([]byte(test.said), 7) { // lines come in pieces
				if _, err := f.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			if shown.String() != test.said {
				t.Errorf("shown: %q", shown.String())
			}
			if got := f.tests(); !slices.Equal(got, test.tests) {
				t.Errorf("failed: %q", got)
			}
			if got := f.excuse(); (got == "") != (test.excuse == "") || !strings.Contains(got, test.excuse) {
				t.Errorf("not repeated because %q, want %q", got, test.excuse)
			}
		})
	}
}

// Every name in once stands for a test.
func TestWhatIsNeverRepeatedExists(t *testing.T) {
	files, err := filepath.Glob("../../tests/e2e/*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t `)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			all = append(all, m[1])
		}
	}
	names := strings.TrimSuffix(strings.TrimPrefix(once.String(), "^Test("), `)\b`)
	for name := range strings.SplitSeq(names, "|") {
		if !slices.ContainsFunc(all, regexp.MustCompile(`^Test`+name+`$`).MatchString) {
			t.Errorf("%s stands for no test of %q", name, all)
		}
	}
}
