package clusters

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/strata-csi/strata/pkg/volume"
)

func TestGetOfAnUnknownClusterListsTheKnown(t *testing.T) {
	s := Static(Cluster{ID: "main"}, Cluster{ID: "far"})
	_, err := s.Get("mian")
	if !errors.Is(err, volume.ErrInvalid) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{`"mian"`, `did you mean "main"?`, "far, main"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if _, err := s.Monitors("x"); !errors.Is(err, volume.ErrInvalid) {
		t.Errorf("Monitors: got %v", err)
	}
}

func TestDefaultIsTheOnlyCluster(t *testing.T) {
	if c, err := Static(Cluster{ID: "main"}).Default(); err != nil || c.ID != "main" {
		t.Errorf("got %+v, %v", c, err)
	}
	_, err := Static(Cluster{ID: "main"}, Cluster{ID: "far"}).Default()
	if !errors.Is(err, volume.ErrInvalid) || !strings.Contains(err.Error(), "far, main") {
		t.Errorf("of two: %v", err)
	}
}

func TestACallerCantChangeTheStore(t *testing.T) {
	s := Static(Cluster{ID: "main", Monitors: []string{"a:1"}, Defaults: map[string]string{"pool": "p"}, Credential: &Credential{User: "u"}})
	c, _ := s.Get("main")
	c.Monitors[0], c.Defaults["pool"], c.Credential.User = "b:1", "q", "v"
	want := Cluster{ID: "main", Monitors: []string{"a:1"}, Defaults: map[string]string{"pool": "p"}, Credential: &Credential{User: "u"}}
	if got, _ := s.Get("main"); !cmp.Equal(got, want) {
		t.Error(cmp.Diff(want, got))
	}
}

func entry(id, mon string) string {
	return fmt.Sprintf("- {clusterID: %s, monitors: ['%s']}\n", id, mon)
}

// watched opens a store on the file, watches it and reports the changes; wrong is the metric for a mistake.
func watched(t *testing.T, path string) (*Store, <-chan []string) {
	t.Helper()
	s, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	changes := make(chan []string, 10)
	s.Subscribe(func(ids []string) { changes <- ids })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Watch(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	return s, changes
}

func expect(t *testing.T, changes <-chan []string, want ...string) {
	t.Helper()
	select {
	case got := <-changes:
		if !cmp.Equal(got, want) {
			t.Fatalf("changed: %v, want %v", got, want)
		}
	case <-time.After(time.Minute):
		t.Fatalf("the change of %v was not seen", want)
	}
}

// eventually waits until ok holds, or fails after 10 s.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func reloadMetric(t *testing.T, s *Store) float64 {
	t.Helper()
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(s)
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "strata_cluster_config_last_reload_successful" {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatal("no such metric")
	return 0
}

func TestWatchFollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clusters.yaml")
	write(t, path, "clusters:\n"+entry("a", "h:1")+entry("b", "h:1")+entry("c", "h:1"))
	s, changes := watched(t, path)

	write(t, path, "clusters:\n"+entry("a", "h:2")+entry("b", "h:1")+entry("d", "h:1"))
	expect(t, changes, "a", "c", "d")
	if m, err := s.Monitors("a"); err != nil || !cmp.Equal(m, []string{"h:2"}) {
		t.Errorf("monitors %v, %v", m, err)
	}

	write(t, path, "clusters:\n"+entry("a", "no port"))
	eventually(t, "the mistake to be seen", func() bool { return s.Err() != nil })
	if m, err := s.Monitors("a"); err != nil || !cmp.Equal(m, []string{"h:2"}) {
		t.Errorf("with a mistake in the new file: monitors %v, %v", m, err)
	}
	if got := reloadMetric(t, s); got != 0 {
		t.Errorf("metric with a mistake = %v", got)
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the removal to be seen", func() bool { return errors.Is(s.Err(), os.ErrNotExist) })
	if got := s.IDs(); !cmp.Equal(got, []string{"a", "b", "d"}) {
		t.Errorf("without a file: %v", got)
	}

	write(t, path+".new", "clusters:\n"+entry("a", "h:3")+entry("b", "h:1")+entry("d", "h:1"))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	expect(t, changes, "a")
	if s.Err() != nil || reloadMetric(t, s) != 1 {
		t.Errorf("after the repair: %v, metric %v", s.Err(), reloadMetric(t, s))
	}
}

func TestWatchSeesAConfigMapChange(t *testing.T) {
	// The kubelet's layout: clusters.yaml -> ..data/clusters.yaml, ..data -> a directory, replaced by rename.
	dir := t.TempDir()
	version := func(name, text string) {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name, "clusters.yaml"), text)
		if err := errors.Join(os.Symlink(name, filepath.Join(dir, "..tmp")), os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data"))); err != nil {
			t.Fatal(err)
		}
	}
	version("..1", "clusters:\n"+entry("a", "h:1"))
	if err := os.Symlink("..data/clusters.yaml", filepath.Join(dir, "clusters.yaml")); err != nil {
		t.Fatal(err)
	}
	_, changes := watched(t, filepath.Join(dir, "clusters.yaml"))
	version("..2", "clusters:\n"+entry("b", "h:1"))
	expect(t, changes, "a", "b")
}

func TestWatchSeesAChangeFromBeforeItBegan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "clusters.yaml")
	write(t, path, "clusters:\n"+entry("a", "h:1"))
	s, err := Open(Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, "clusters:\n"+entry("a", "h:2"))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s.Subscribe(func([]string) { cancel() })
	if err := s.Watch(ctx); err != nil {
		t.Fatal(err)
	}
	if m, _ := s.Monitors("a"); !cmp.Equal(m, []string{"h:2"}) {
		t.Errorf("monitors %v", m)
	}
}
