package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestMissingPackages(t *testing.T) {
	want := []string{"a", "b", "c"}
	for _, c := range []struct {
		name, dpkg string
		missing    []string
	}{
		{"nothing known", "", want},
		{"all installed", "a installed\nb installed\nc installed\n", nil},
		{"one never heard of", "a installed\nc installed\n", []string{"b"}},
		{"removed, its configuration left", "a installed\nb config-files\nc installed\n", []string{"b"}},
		{"interrupted in the middle", "a half-configured\nb installed\nc unpacked\n", []string{"a", "c"}},
		{"two architectures", "a installed\na not-installed\nb installed\nc installed\n", nil},
		{"a name that only begins like one", "a installed\nb installed\ncc installed\n", []string{"c"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := missingPackages(want, c.dpkg); !slices.Equal(got, c.missing) {
				t.Errorf("got %q, want %q", got, c.missing)
			}
		})
	}
}

func TestForbidServices(t *testing.T) {
	for _, c := range []struct {
		name, before, during string
		left                 bool
	}{
		{"no policy before", "", servicePolicyText, false},
		{"somebody else's policy stays", "#!/bin/sh\nexit 0\n", "#!/bin/sh\nexit 0\n", true},
		{"our own of an interrupted installation goes", servicePolicyText, servicePolicyText, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "policy-rc.d")
			if c.before != "" {
				if err := os.WriteFile(path, []byte(c.before), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			restore, err := forbidServices(path)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(path)
			if err != nil || string(b) != c.during {
				t.Errorf("policy %q, %v", b, err)
			}
			if err := restore(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(path); c.left != (err == nil) || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}
