package volume

import (
	"fmt"
	"strings"
)

// Tier is the kind of storage a StorageClass asks for with its parameter `tier`.
type Tier string

// The tiers of the driver.
const (
	Warm    Tier = "warm"    // CephFS subvolume, shared by many nodes
	Cold    Tier = "cold"    // S3 prefix behind a FUSE engine
	Scratch Tier = "scratch" // node-local, gone with the pod
)

var tiers = []Tier{Warm, Cold, Scratch}

// ParseTier returns the tier named s. The error wraps ErrInvalid and lists what is allowed.
func ParseTier(s string) (Tier, error) {
	for _, t := range tiers {
		if string(t) == s {
			return t, nil
		}
	}
	names := make([]string, len(tiers))
	for i, t := range tiers {
		names[i] = string(t)
	}
	return "", fmt.Errorf("%w: tier %q is not one of %s", ErrInvalid, s, strings.Join(names, ", "))
}
