package cold

import (
	"errors"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/volume"
)

func TestStoresInIDs(t *testing.T) {
	for endpoint, want := range map[string]struct{ store, endpoint string }{
		"https://s3.example.com":      {"s3.example.com", "https://s3.example.com"},
		"https://s3.example.com:443":  {"s3.example.com", "https://s3.example.com"},
		"https://s3.example.com:8443": {"s3.example.com_8443", "https://s3.example.com:8443"},
		"https://s3.example.com:80":   {"s3.example.com_80", "https://s3.example.com:80"},
		"http://s3.example.com":       {"s3.example.com_http", "http://s3.example.com"},
		"http://s3.example.com:80":    {"s3.example.com_http", "http://s3.example.com"},
		"http://127.0.0.1:9000":       {"127.0.0.1_9000_http", "http://127.0.0.1:9000"},
		"https://S3.Example.com":      {"s3.example.com", "https://s3.example.com"},
	} {
		store, err := storeOf(endpoint)
		if err != nil || store != want.store {
			t.Errorf("%s: %q, %v; want %q", endpoint, store, err, want.store)
		}
		if got, ok := endpointOf(store); !ok || got != want.endpoint {
			t.Errorf("%s: back to %q, %v; want %q", store, got, ok, want.endpoint)
		}
	}
	for _, endpoint := range []string{"https://[::1]", "https://[fe80::1%25eth0]:9000", "https://a_b", "https://-a", "https://a%2Fb", "https://ü.example.com"} {
		if store, err := storeOf(endpoint); !errors.Is(err, volume.ErrInvalid) {
			t.Errorf("%s: %q, %v", endpoint, store, err)
		}
	}
	for _, store := range []string{"", "_http", "_9000", "a_", "a_0", "a_99999", "a_09", "a_+9", "a_9000_9000", "a_http_http"} {
		if endpoint, ok := endpointOf(store); ok {
			t.Errorf("%q is %s", store, endpoint)
		}
	}
}

// FuzzPlaces: an id leads back to the place that it was made of, whose prefix ends with '/' and has no part that leads elsewhere.
func FuzzPlaces(f *testing.F) {
	f.Add("s3.example.com", "data", "k8s/main/pvc-1")
	f.Add("127.0.0.1_9000_http", "data", "")
	f.Add("a", "b", "../..")
	f.Add("a", "b", "x//y")
	f.Fuzz(func(t *testing.T, store, bucket, path string) {
		p := place{store: store, bucket: bucket}
		if path != "" {
			p.parts = strings.Split(path, "/")
		}
		id, err := p.id()
		if err != nil {
			return
		}
		parsed, err := volume.ParseID(string(id))
		if err != nil {
			t.Fatal(err)
		}
		got, endpoint, err := parsePlace(parsed)
		if err != nil {
			return // a store that no endpoint is written as
		}
		if got.prefix() != p.prefix() || got.bucket != bucket || got.store != store {
			t.Errorf("%+v became %+v", p, got)
		}
		if again, err := storeOf(endpoint); err == nil && again != strings.ToLower(store) && endpointOfMust(t, again) != strings.ToLower(endpoint) {
			t.Errorf("store %q, endpoint %s, store %q", store, endpoint, again)
		}
		prefix := got.prefix()
		if prefix == "" {
			return
		}
		if !strings.HasSuffix(prefix, "/") || strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "//") || strings.Contains("/"+prefix, "/../") || strings.Contains("/"+prefix, "/./") ||
			strings.Contains("/"+prefix, "/.strata/") {
			t.Errorf("prefix %q", prefix)
		}
	})
}

func endpointOfMust(t *testing.T, store string) string {
	t.Helper()
	endpoint, ok := endpointOf(store)
	if !ok {
		t.Fatalf("%q isn't a store", store)
	}
	return endpoint
}
