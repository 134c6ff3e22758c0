package cephkernel

import (
	"errors"
	"strings"
	"testing"
)

func TestHostNamesAreResolved(t *testing.T) {
	got, err := source(t.Context(), Mount{Monitors: []string{"localhost:7000"}, Path: "/a"}, false)
	if err != nil || !strings.Contains(got, "127.0.0.1:7000") {
		t.Fatalf("got %q, %v", got, err)
	}
}

func TestSource(t *testing.T) {
	for _, tc := range []struct {
		name     string
		monitors []string
		path     string
		msgr2    bool
		want     string // empty: refused
	}{
		{"address and port", []string{"10.0.0.1:6789"}, "/a", false, "10.0.0.1:6789:/a"},
		{"default port", []string{"10.0.0.1", "10.0.0.2"}, "/a", false, "10.0.0.1:6789,10.0.0.2:6789:/a"},
		{"default port of version 2", []string{"10.0.0.1"}, "/a", true, "10.0.0.1:3300:/a"},
		{"IPv6", []string{"[fd00::1]:6789", "fd00::2"}, "/", false, "[fd00::1]:6789,[fd00::2]:6789:/"},
		{"a vector gives the version in use", []string{"[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]"}, "/a", false, "10.0.0.1:6789:/a"},
		{"a vector gives version 2", []string{"[v2:10.0.0.1:3300/0,v1:10.0.0.1:6789/0]"}, "/a", true, "10.0.0.1:3300:/a"},
		{"a vector with IPv6", []string{"[v2:[fd00::1]:3300,v1:[fd00::1]:6789]"}, "/a", false, "[fd00::1]:6789:/a"},
		{"a prefix alone", []string{"v1:10.0.0.1:6789"}, "/a", false, "10.0.0.1:6789:/a"},
		{"only the other version", []string{"v2:10.0.0.1:3300"}, "/a", false, ""},
		{"unclosed vector", []string{"[v2:10.0.0.1:3300"}, "/a", false, ""},
		{"no monitor", nil, "/a", false, ""},
		{"relative path", []string{"10.0.0.1"}, "a", false, ""},
		{"path with dots", []string{"10.0.0.1"}, "/a/../b", false, ""},
		{"smuggled separator", []string{"10.0.0.1:/x"}, "/a", false, ""},
		{"bad port", []string{"host:99999"}, "/a", false, ""},
		{"empty", []string{""}, "/a", false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := source(t.Context(), Mount{Monitors: tc.monitors, Path: tc.path}, tc.msgr2)
			if tc.want == "" {
				if !errors.Is(err, ErrInvalid) {
					t.Fatalf("got %q, %v; want ErrInvalid", got, err)
				}
				return
			}
			if err != nil || got != tc.want {
				t.Fatalf("got %q, %v; want %q", got, err, tc.want)
			}
		})
	}
}
