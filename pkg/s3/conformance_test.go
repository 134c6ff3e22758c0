package s3_test

import (
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
	"github.com/strata-csi/strata/pkg/s3/s3test/conformance"
)

// The store of the unit tests keeps objects as files of a directory: names that no file can have are refused there.
func TestVersitygw(t *testing.T) {
	server := s3test.Start(t)
	conformance.Run(t, conformance.Store{
		Open: func(t testing.TB, bucket string) *s3.Bucket {
			return server.Open(t, server.Endpoint, bucket, s3.Options{})
		},
		Differences: map[conformance.Difference]conformance.Outcome{
			conformance.CopyIfAbsent:      conformance.Ignored,
			conformance.CopyIfMatch:       conformance.Ignored,
			conformance.ControlCharacters: conformance.Ignored,
			conformance.InvalidUnicode:    conformance.Ignored,
			conformance.EmptySegments:     conformance.Ignored,
			conformance.DotSegments:       conformance.Ignored,
			conformance.FileBesideDir:     conformance.Refused,
			conformance.DirectoryMarker:   conformance.Refused,
			conformance.LongSegments:      conformance.Refused,
		},
	})
}
