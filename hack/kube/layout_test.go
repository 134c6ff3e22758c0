package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDirectoriesThatCannotBe(t *testing.T) {
	for dir, says := range map[string]string{
		"/run/kube":                          "have a /run of their own",
		"/var/lib/kube":                      "have a /var/lib of their own",
		"/var/log":                           "have a /var/log of their own",
		"/tmp/a b":                           "have a meaning",
		"/tmp/a,b":                           "have a meaning",
		"/tmp/" + strings.Repeat("long", 25): "too long for the Unix sockets",
	} {
		if _, err := newLayout("/src", dir); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", dir, err, says)
		}
	}
}

func TestADirectoryHasOneNameAndGroup(t *testing.T) {
	parent := t.TempDir()
	link := filepath.Join(parent, "link")
	if err := os.Symlink(parent, link); err != nil {
		t.Fatal(err)
	}
	a, err := newLayout("/src", filepath.Join(parent, "cluster"))
	if err != nil {
		t.Fatal(err)
	}
	b, err := newLayout("/src", filepath.Join(link, "cluster"))
	if err != nil {
		t.Fatal(err)
	}
	if a != b || a.cgroup() != b.cgroup() {
		t.Errorf("%+v and %+v are the same directory", a, b)
	}
	other, err := newLayout("/src", filepath.Join(parent, "other"))
	if err != nil {
		t.Fatal(err)
	}
	if other.cgroup() == a.cgroup() {
		t.Errorf("two clusters share the group %s", a.cgroup())
	}
}

func TestMarker(t *testing.T) {
	l := Layout{Root: "/src", Dir: filepath.Join(t.TempDir(), "cluster")}
	if _, err := l.readMarker(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no directory: %v", err)
	}
	if err := os.Mkdir(l.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := l.readMarker(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("empty directory: %v", err)
	}
	if err := l.writeMarker(marker{Ceph: true}); err != nil {
		t.Fatal(err)
	}
	if m, err := l.readMarker(); err != nil || !m.Ceph {
		t.Errorf("%+v, %v", m, err)
	}
	if err := os.Remove(l.marker()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(l.path("else"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := l.readMarker(); !errors.Is(err, errNotOurs) {
		t.Errorf("somebody else's directory: %v", err)
	}
}
