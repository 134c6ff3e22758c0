package draft

import (
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
)

func TestThePlanReachesTheLargestObjectWithTheMostParts(t *testing.T) {
	var end int64
	for n := 1; n <= s3.MaxParts; n++ {
		from, to := partRange(n)
		if from != end {
			t.Fatalf("part %d begins at %d, the one before ends at %d", n, from, end)
		}
		if size := to - from; size != partSize(n) || size < s3.MinPartSize || size > s3.MaxPartSize {
			t.Fatalf("part %d has %d bytes", n, size)
		}
		if to%chunkSize != 0 {
			t.Fatalf("part %d ends within a chunk, at %d", n, to)
		}
		for _, off := range []int64{from, from + 1, to - 1} {
			if got := partAt(off); got != n {
				t.Fatalf("byte %d is in part %d, said to be in %d", off, n, got)
			}
		}
		end = to
	}
	if end < s3.MaxObjectSize {
		t.Errorf("%d parts reach %d bytes, an object can have %d", s3.MaxParts, end, int64(s3.MaxObjectSize))
	}
	if n := partAt(s3.MaxObjectSize - 1); n > s3.MaxParts {
		t.Errorf("the last byte of the largest object is in part %d", n)
	}
}

func TestACopyIsNeitherTooSmallNorTooLarge(t *testing.T) {
	for _, c := range []struct{ n, want int64 }{
		{1, minCopy}, {minCopy, minCopy}, {copyWays * minCopy, minCopy}, {copyWays*minCopy + 1, minCopy + 1}, {32 << 30, 2 << 30}, {5 << 40, s3.MaxCopySize},
	} {
		if got := copySize(c.n); got != c.want {
			t.Errorf("of %d bytes a request copies %d, want %d", c.n, got, c.want)
		}
	}
}
