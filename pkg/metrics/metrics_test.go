package metrics

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	r, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func start(t *testing.T, o Options) string {
	t.Helper()
	o.Address = "127.0.0.1:0"
	if o.Gatherer == nil {
		o.Gatherer = NewRegistry()
	}
	s, err := Listen(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return "http://" + s.Addr().String()
}

func TestServerServesMetricsAndHealth(t *testing.T) {
	url := start(t, Options{})
	code, body := get(t, url+"/metrics")
	for _, want := range []string{"go_goroutines", "process_open_fds", "strata_build_info{version="} {
		if code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d, without %s", code, want)
		}
	}
	if code, body := get(t, url+"/healthz"); code != http.StatusOK || body != "ok\n" {
		t.Errorf("healthz: %d %q", code, body)
	}
	if code, _ := get(t, url+"/debug/pprof/heap"); code != http.StatusNotFound {
		t.Errorf("profiles are served without being asked for: %d", code)
	}
}

func TestServerServesProfilesWhenAsked(t *testing.T) {
	if code, _ := get(t, start(t, Options{Profiles: true})+"/debug/pprof/heap"); code != http.StatusOK {
		t.Errorf("got %d", code)
	}
}

func TestHealthzSaysWhatIsWrong(t *testing.T) {
	url := start(t, Options{Healthy: func(context.Context) error { return errors.New("no holder of mounts") }})
	if code, body := get(t, url+"/healthz"); code != http.StatusServiceUnavailable || body != "no holder of mounts\n" {
		t.Errorf("got %d %q", code, body)
	}
}

func TestValidate(t *testing.T) {
	for address, ok := range map[string]bool{
		"127.0.0.1:9080": true, "[::1]:0": true, "0.0.0.0:9080": true, ":9080": false, "127.0.0.1": false, "": false,
	} {
		if err := (Options{Address: address}).Validate(); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
}
