package conformance

// The S3 gateway of the cluster, held to what pkg/s3 promises.

import (
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test/conformance"
	"github.com/strata-csi/strata/tests/harness"
)

// TestRadosgwConforms: the table is of the release that Debian 12 has, 16. A later one keeps more of the conditions; a row that changes fails the test.
func TestRadosgwConforms(t *testing.T) {
	endpoint, who, err := harness.Gateway(directory(t))
	if err != nil {
		t.Fatal(err)
	}
	conformance.Run(t, conformance.Store{
		Open: func(t testing.TB, bucket string) *s3.Bucket {
			b, err := s3.Open(s3.Location{Endpoint: endpoint, PathStyle: true, Bucket: bucket}, func() s3.Credentials { return who }, s3.Options{})
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
