package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestMain is also what this program is inside of a machine that a test makes.
func TestMain(m *testing.M) {
	if err := inner(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

func TestParseArgs(t *testing.T) {
	t.Setenv("STRATA_KUBE_DIR", "")
	for _, c := range []struct {
		name, args string
		dir        string
		ceph       bool
		words      []string
	}{
		{name: "flags before the verb", args: "--dir /tmp/x up --ceph", dir: "/tmp/x", ceph: true, words: []string{"up"}},
		{name: "flags after the verb", args: "up --ceph --dir /tmp/x", dir: "/tmp/x", ceph: true, words: []string{"up"}},
		{name: "kubectl's flags are its own", args: "--dir /tmp/x kubectl get pods --dir y -- -A", dir: "/tmp/x",
			words: []string{"kubectl", "get", "pods", "--dir", "y", "--", "-A"}},
		{name: "a program's flags are its own", args: "--dir /tmp/x run -- go test -v -- -x", dir: "/tmp/x",
			words: []string{"run", "go", "test", "-v", "--", "-x"}},
		{name: "without the dashes", args: "--dir /tmp/x run ls -l", dir: "/tmp/x", words: []string{"run", "ls", "-l"}},
		{name: "a program on a node", args: "--dir /tmp/x node node-a -- sh -c id", dir: "/tmp/x", words: []string{"node", "node-a", "sh", "-c", "id"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, ceph, words, err := parseArgs(strings.Fields(c.args))
			if err != nil {
				t.Fatal(err)
			}
			if l.Dir != c.dir || ceph != c.ceph || !slices.Equal(words, c.words) {
				t.Errorf("%s, %t, %q; want %s, %t, %q", l.Dir, ceph, words, c.dir, c.ceph, c.words)
			}
		})
	}
}

func TestDirDefaultsToTheCheckouts(t *testing.T) {
	t.Setenv("STRATA_KUBE_DIR", "")
	l, _, _, err := parseArgs([]string{"status"})
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(l.Root, ".strata/kube/cluster"); l.Dir != want {
		t.Errorf("%s, want %s", l.Dir, want)
	}
	t.Setenv("STRATA_KUBE_DIR", "/tmp/other")
	if l, _, _, err = parseArgs([]string{"status"}); err != nil || l.Dir != "/tmp/other" {
		t.Errorf("%s, %v, want /tmp/other", l.Dir, err)
	}
}

func TestCallsThatMakeNoSense(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ args, says string }{
		{"", "no verb"},
		{"fly", `can't understand "fly"`},
		{"up now", "can't understand"},
		{"images import", "can't understand"},
		{"--ceph down", "--ceph belongs to up"},
		{"--wings up", "wings"},
		{"kill kubelet", "no daemon \"kubelet\"; there is etcd, "},
		{"kill etcd GONE", `no signal "GONE"`},
		{"logs kubelet-node-c", "no daemon"},
		{"node node-c -- id", `no node "node-c"; there is node-a, node-b`},
		{"kubectl get pods", "isn't running; begin with: up"},
		{"status", "isn't running; begin with: up"},
		{"start etcd", "isn't running; begin with: up"},
	} {
		t.Run(c.args, func(t *testing.T) {
			err := run(t.Context(), append([]string{"--dir", filepath.Join(dir, "cluster")}, strings.Fields(c.args)...), io.Discard, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %q", err, c.says)
			}
		})
	}
}

func TestHelpNamesEveryDaemonAndNode(t *testing.T) {
	var out bytes.Buffer
	if err := run(context.Background(), []string{"--help"}, &out, io.Discard); err != nil {
		t.Fatal(err)
	}
	for _, d := range daemons(Layout{}) {
		if !strings.Contains(out.String(), d.Name) {
			t.Errorf("no %s", d.Name)
		}
	}
	for _, n := range nodes {
		if !strings.Contains(out.String(), n.Name+" ("+n.Address+")") {
			t.Errorf("no %s with its address", n.Name)
		}
	}
}

func TestForeignDirectoriesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "precious")
	if err := os.WriteFile(file, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	l := Layout{Root: t.TempDir(), Dir: dir}
	err := down(t.Context(), l, newProgress(io.Discard))
	if !errors.Is(err, errNotOurs) {
		t.Errorf("%v, want %v", err, errNotOurs)
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestDownWithoutAClusterIsHarmless(t *testing.T) {
	parent := t.TempDir()
	l := Layout{Root: t.TempDir(), Dir: filepath.Join(parent, "cluster")}
	for range 2 {
		if err := down(t.Context(), l, newProgress(io.Discard)); err != nil {
			t.Fatal(err)
		}
	}
	if left, err := os.ReadDir(parent); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestParseSignal(t *testing.T) {
	for _, s := range []string{"TERM", "term", "SIGTERM"} {
		if sig, err := parseSignal(s); err != nil || sig.String() != "terminated" {
			t.Errorf("%s: %v, %v", s, sig, err)
		}
	}
}
