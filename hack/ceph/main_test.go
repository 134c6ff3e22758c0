package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// fakeDaemon makes the test program wait for its end instead of running tests, so that it can play a daemon.
const fakeDaemon = "STRATA_TEST_FAKE_DAEMON"

// shortDir is t.TempDir with a short name: the paths of Unix sockets below it may have 107 bytes.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "c")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func TestMain(m *testing.M) {
	if os.Getenv(fakeDaemon) != "" {
		select {}
	}
	os.Exit(m.Run())
}

func testLayout(t *testing.T) Layout {
	t.Helper()
	l, err := newLayout(filepath.Join(shortDir(t), "c"), 23000)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestParseArgs(t *testing.T) {
	tmp, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	dir, other := filepath.Join(tmp, "c"), filepath.Join(tmp, "d")
	for _, c := range []struct {
		name    string
		env     map[string]string
		args    []string
		want    Layout
		words   []string
		wantErr string
	}{
		{"flags before the verb", nil, []string{"--dir", dir, "--port-base", "21000", "start"}, Layout{dir, 21000}, []string{"start"}, ""},
		{"flags after the verb", nil, []string{"kill", "osd.3", "--dir=" + dir, "STOP"}, Layout{dir, 20000}, []string{"kill", "osd.3", "STOP"}, ""},
		{"environment", map[string]string{"STRATA_CEPH_DIR": dir, "STRATA_CEPH_PORT_BASE": "22000"}, []string{"stop"}, Layout{dir, 22000}, []string{"stop"}, ""},
		{"a flag beats the environment", map[string]string{"STRATA_CEPH_DIR": dir}, []string{"stop", "--dir", other}, Layout{other, 20000}, []string{"stop"}, ""},
		{"port base isn't a number", nil, []string{"--dir", dir, "--port-base", "x", "start"}, Layout{}, nil, "not a number"},
		{"port base leaves no room", nil, []string{"--dir", dir, "--port-base", "65400", "start"}, Layout{}, nil, "must be from 1024 to 65336"},
		{"unknown flag", nil, []string{"--port", "1"}, Layout{}, nil, "-port"},
		{"directory with a comment sign", nil, []string{"--dir", dir + "#1", "start"}, Layout{}, nil, "choose another --dir"},
		{"directory too long for sockets", nil, []string{"--dir", "/" + strings.Repeat("x", 90), "start"}, Layout{}, nil, "4 bytes too long"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("STRATA_CEPH_DIR", c.env["STRATA_CEPH_DIR"])
			t.Setenv("STRATA_CEPH_PORT_BASE", c.env["STRATA_CEPH_PORT_BASE"])
			l, words, err := parseArgs(c.args)
			if c.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantErr) {
					t.Fatalf("error %v, want one with %q", err, c.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if l != c.want || !slices.Equal(words, c.words) {
				t.Errorf("got %v %q, want %v %q", l, words, c.want, c.words)
			}
		})
	}
}

func TestAClusterKeepsItsPorts(t *testing.T) {
	t.Setenv("STRATA_CEPH_PORT_BASE", "")
	l := testLayout(t)
	if err := l.writeMarker(marker{PortBase: 21000}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args string
		want int
	}{
		{"env", 21000},
		{"start", 21000},
		{"start --port-base 22000", 22000}, // refused there
		{"env --port-base 22000", 21000},
		{"stop --port-base 22000", 21000},
		{"start osd.1 --port-base 22000", 21000},
	} {
		got, _, err := parseArgs(append([]string{"--dir", l.Dir}, strings.Fields(c.args)...))
		if err != nil || got.PortBase != c.want {
			t.Errorf("%s: port base %d, %v; want %d", c.args, got.PortBase, err, c.want)
		}
	}
}

func TestDefaultDirectoryIsInTheCheckout(t *testing.T) {
	t.Setenv("STRATA_CEPH_DIR", "")
	l, _, err := parseArgs([]string{"status"})
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(root, ".strata", "ceph"); l.Dir != want {
		t.Errorf("directory %s, want %s", l.Dir, want)
	}
}

func TestSymbolicLinksDoNotMakeAnotherCluster(t *testing.T) {
	tmp := shortDir(t)
	if err := os.Mkdir(filepath.Join(tmp, "real"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real", filepath.Join(tmp, "link")); err != nil {
		t.Fatal(err)
	}
	a, err := newLayout(filepath.Join(tmp, "real", "x", "c"), 23000)
	if err != nil {
		t.Fatal(err)
	}
	b, err := newLayout(filepath.Join(tmp, "link", "x", "c"), 23000)
	if err != nil {
		t.Fatal(err)
	}
	if a != b {
		t.Errorf("%v and %v differ", a, b)
	}
}

func TestHelpNamesEveryDaemonAndVerb(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"start", "-h"}} {
		var out bytes.Buffer
		if err := run(t.Context(), args, &out, &out); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{joinDaemons(allDaemons()), "install", "start", "stop", "status", "env", "kill"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q: the help doesn't contain %q", args, want)
			}
		}
	}
}

func TestEnvCanBeEvaluated(t *testing.T) {
	var out bytes.Buffer
	l := testLayout(t)
	if err := printEnv(l, &out); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out.String()) {
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		if !ok || !strings.HasPrefix(name, "export ") || strings.ContainsAny(value, " \t'\"$;&") {
			t.Errorf("line %q isn't a plain assignment", line)
		}
	}
	if !strings.Contains(out.String(), "export CEPH_CONF="+l.Conf()+"\n") {
		t.Errorf("no CEPH_CONF in:\n%s", out.String())
	}
}

func TestVerbsRefuseADirectoryThatIsNotOurs(t *testing.T) {
	l := testLayout(t)
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	precious := filepath.Join(l.Dir, "precious")
	if err := os.WriteFile(precious, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	say := newProgress(t.Output())
	for name, verb := range map[string]func() error{
		"start": func() error { return startCluster(t.Context(), l, say) },
		"stop":  func() error { return destroy(t.Context(), l, say) },
		"kill":  func() error { return runDaemonVerb(t.Context(), l, say, "kill", []string{"osd.1"}) },
	} {
		if err := verb(); err == nil || !strings.Contains(err.Error(), "refusing") {
			t.Errorf("%s: error %v, want a refusal", name, err)
		}
	}
	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}

func TestParseSignal(t *testing.T) {
	for s, want := range map[string]string{"KILL": "killed", "stop": "stopped (signal)", "SIGCONT": "continued", "sigterm": "terminated"} {
		sig, err := parseSignal(s)
		if err != nil || sig.String() != want {
			t.Errorf("%s: %v, %v; want %s", s, sig, err, want)
		}
	}
	if sig, err := parseSignal("FOO"); err == nil {
		t.Errorf("FOO is signal %v", sig)
	}
}
