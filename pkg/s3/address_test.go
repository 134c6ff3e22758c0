package s3_test

// Where a request goes, and for which region it is signed.

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
)

const addressChild = "STRATA_S3_ADDRESS_CHILD"

// The store has a name that nothing answers to: a proxy, which is asked in its place, sees the request. It runs in a process of its own, as the proxies of a process are read from its environment once.
func TestTheAddressAndTheRegionOfRequests(t *testing.T) {
	if style := os.Getenv(addressChild); style != "" {
		b, err := s3.Open(s3.Location{Endpoint: "http://store.example", Region: "eu-north-9", Bucket: "data", PathStyle: style == "path"},
			func() s3.Credentials { return s3.Credentials{AccessKeyID: "key", SecretAccessKey: "secret"} }, s3.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.Head(t.Context(), "dir/a file"); err != nil {
			t.Fatal(err)
		}
		return
	}
	for style, want := range map[string]string{"path": "store.example/data/dir/a%20file", "host": "data.store.example/dir/a%20file"} {
		t.Run(style, func(t *testing.T) {
			seen := make(chan *http.Request, 10)
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				seen <- r.Clone(context.Background())
				w.Header().Set("ETag", `"e"`)
				w.Header().Set("Content-Length", "0")
			}))
			defer proxy.Close()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+strings.SplitN(t.Name(), "/", 2)[0]+"$")
			cmd.Env = append(os.Environ(), addressChild+"="+style, "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			close(seen)
			n := 0
			for r := range seen {
				n++
				if got := r.Host + r.URL.EscapedPath(); got != want {
					t.Errorf("%s asks for %s, want %s", r.Method, got, want)
				}
				if a := r.Header.Get("Authorization"); !strings.Contains(a, "/eu-north-9/s3/aws4_request") {
					t.Errorf("signed with %q", a)
				}
			}
			if n == 0 {
				t.Error("no request came")
			}
		})
	}
}
