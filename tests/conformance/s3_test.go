package conformance

// The S3 gateway of the cluster, held to what pkg/s3 promises.

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test/conformance"
)

// TestRadosgwConforms: the table is of the release that Debian 12 has, 16. A later one keeps more of the conditions; a row that changes fails the test.
func TestRadosgwConforms(t *testing.T) {
	file := filepath.Join(directory(t), "s3.env")
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	env := map[string]string{}
	for line := range strings.Lines(string(raw)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		env[name] = value
	}
	who := s3.Credentials{AccessKeyID: env["AWS_ACCESS_KEY_ID"], SecretAccessKey: env["AWS_SECRET_ACCESS_KEY"]}
	conformance.Run(t, conformance.Store{
		Open: func(t testing.TB, bucket string) *s3.Bucket {
			b, err := s3.Open(s3.Location{Endpoint: env["AWS_ENDPOINT_URL"], PathStyle: true, Bucket: bucket}, func() s3.Credentials { return who }, s3.Options{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(b.Close)
			return b
		},
		Differences: map[conformance.Difference]conformance.Outcome{
			conformance.CompleteIfAbsent: conformance.Ignored,
			conformance.CompleteIfMatch:  conformance.Ignored,
			conformance.CopyIfAbsent:     conformance.Ignored,
			conformance.CopyIfMatch:      conformance.Ignored,
			conformance.CopyPartIfMatch:  conformance.Ignored,
			conformance.InvalidUnicode:   conformance.Refused,
		},
	})
}
