package tier

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/volume"
)

// KeyPrefix begins every topology key of the driver: the CSI spec wants one prefix for all of them (Topology).
const KeyPrefix = "csi.strata.dev/"

// NodeKey is the topology key whose value is the id of a node: the smallest segment there is.
const NodeKey = KeyPrefix + "node"

// maxSegmentText is the most bytes that a prefix, a name and a value of a segment may each have (CSI spec, Topology).
const maxSegmentText = 63

// CheckSegment refuses a segment that can't be a Topology of the CSI spec, whose limits are those of a label of Kubernetes. The error
// wraps volume.ErrInvalid.
func CheckSegment(s volume.Segment) error {
	if len(s) == 0 {
		return fmt.Errorf("%w: a topology without segments", volume.ErrInvalid)
	}
	seen := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		prefix, name, ok := strings.Cut(key, "/")
		if !ok {
			prefix, name = "", key
		}
		if ok && (!segmentText(prefix) || prefix != strings.ToLower(prefix) || strings.Contains(prefix, "_")) || !segmentText(name) {
			return fmt.Errorf("%w: topology key %q isn't a name of at most %d of [A-Za-z0-9._-] that begins and ends with a letter or digit, "+
				"with or without a domain and '/' before it", volume.ErrInvalid, key, maxSegmentText)
		}
		if twin, ok := seen[strings.ToLower(key)]; ok {
			return fmt.Errorf("%w: topology keys %q and %q differ by their case alone", volume.ErrInvalid, twin, key)
		}
		seen[strings.ToLower(key)] = key
		if !segmentText(s[key]) {
			return fmt.Errorf("%w: topology key %s has the value %q; a value is 1 to %d of [A-Za-z0-9._-] and begins and ends with a letter or digit",
				volume.ErrInvalid, key, s[key], maxSegmentText)
		}
	}
	return nil
}

func segmentText(s string) bool {
	if s == "" || len(s) > maxSegmentText {
		return false
	}
	for i := range len(s) {
		c := s[i]
		alphanumeric := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
		inner := i > 0 && i < len(s)-1 && strings.IndexByte("._-", c) >= 0
		if !alphanumeric && !inner {
			return false
		}
	}
	return true
}
