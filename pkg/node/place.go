package node

// Where a volume is published, read from the mount table.

import (
	"path"
	"strings"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// place is where a mount sits: a directory of the file system below it. One mount may have several rows in the table, when a
// directory above it is itself visible at two paths with shared propagation (a kubelet directory bound elsewhere);
// their paths differ and their place is the same.
type place struct {
	major, minor int
	directory    string
}

func placeOf(below map[int]mountpoint.Mount, m mountpoint.Mount) place {
	under, ok := below[m.Parent]
	if !ok {
		return place{directory: m.Path}
	}
	return place{under.Major, under.Minor, path.Join(under.Root, strings.TrimPrefix(m.Path, strings.TrimSuffix(under.Path, "/")))}
}

// publishedElsewhere returns a path, other than staging and target, at which the volume of the staging path is mounted.
func publishedElsewhere(table mountpoint.Table, staging, target string) (string, bool) {
	below := make(map[int]mountpoint.Mount, len(table))
	for _, m := range table {
		below[m.ID] = m
	}
	staged, ok := table.At(staging)
	if !ok {
		return "", false
	}
	// A mount stacked on the staging mount at the same path is part of the staging; its place is on the volume itself.
	known := map[place]bool{placeOf(below, staged): true}
	for _, m := range table.OfDevice(staged) {
		if m.Path == staging || m.Path == target {
			known[placeOf(below, m)] = true
		}
	}
	for _, m := range table.OfDevice(staged) {
		if !known[placeOf(below, m)] {
			return m.Path, true
		}
	}
	return "", false
}
