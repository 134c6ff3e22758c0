package draft

// The part plan: which bytes a part of an upload has, by its number alone, so that a part can be sent before the size of the file is known, and again under the same
// number when it is written again. Parts grow, because an upload has 10,000 of them at most and must reach 5 TiB.

import (
	"math/bits"

	"github.com/strata-csi/strata/pkg/s3"
)

const (
	// chunkSize is what the draft keeps its books by: a chunk never belongs to two parts.
	chunkSize = 8 << 20
	firstPart = 8 << 20 // bytes of the first parts
	tierParts = 1000    // after so many parts the size doubles
)

// partSize is the size of part n, which the last part of a file may fall short of.
func partSize(n int) int64 { return firstPart << ((n - 1) / tierParts) }

// partAt is the number of the part that has the byte at off.
func partAt(off int64) int {
	const first = int64(tierParts * firstPart) // bytes of the first tier; tier k has first<<k, so that the tiers before it have first*(2^k-1)
	tier := bits.Len64(uint64(off/first+1)) - 1
	begin := first<<tier - first
	return tier*tierParts + int((off-begin)/(firstPart<<tier)) + 1
}

// partRange is where part n begins and ends.
func partRange(n int) (begin, end int64) {
	const first = int64(tierParts * firstPart)
	tier := (n - 1) / tierParts
	begin = first<<tier - first + int64((n-1)%tierParts)*partSize(n)
	return begin, begin + partSize(n)
}

// The sizes of copies: one request copies up to 5 GiB, but slowly; several at once are faster, many small ones cost more requests than they save time.
const (
	minCopy  = 64 << 20
	copyWays = 16
)

// copySize is how much one request copies of a range of n bytes.
func copySize(n int64) int64 {
	return min(max((n+copyWays-1)/copyWays, minCopy), s3.MaxCopySize)
}
