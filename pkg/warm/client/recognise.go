package client

// How a volume's mount is told from any other, by its row in the mount table alone.
//
// A ceph-fuse mount shows what it was told to show as its source, which is the volume's id; a bind of it shows
// the same. A mount of the kernel's client shows its monitors and the path in the file system, and the
// file system's name among its options; the path begins with the group and name that are in the id.
// A snapshot-backed volume is a bind of the entry below .snap of such a mount, which the row's root shows.

import (
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/clientmount"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
	"github.com/strata-csi/strata/pkg/warm/volumecontext"
)

// sourcePrefix begins the source of every ceph-fuse mount of this driver.
const sourcePrefix = "strata:"

const kernelType = "ceph"

// sourceOf is the source of the volume's ceph-fuse mount.
func sourceOf(id volume.ID) string { return sourcePrefix + string(id) }

// target is a parsed id, as far as a mount shows it.
type target struct {
	fuseTypes  []string
	source, fs string
	// prefix of the path: of the subvolume, or, where the id doesn't name it, of the group.
	prefix   string
	readOnly bool
}

// targetOf takes apart an id; false when it is no warm volume's.
func (s *Stager) targetOf(id volume.ID) (target, bool) {
	p := id.Parts()
	if id.Tier() != volume.Warm || len(p) < 4 {
		return target{}, false
	}
	t := target{fuseTypes: s.fuseTypes, source: sourceOf(id), fs: p[1], prefix: "/volumes/" + p[2] + "/" + p[3] + "/"}
	if len(p) == 5 && p[4] == volumecontext.ReadOnlyPart {
		t.readOnly = true
		t.prefix = "/volumes/" + p[2] + "/"
	}
	return t, true
}

// client tells whether m shows the volume's client mount, or a part of it.
func (t target) client(m mountpoint.Mount) bool {
	switch {
	case slices.Contains(t.fuseTypes, m.FSType):
		return m.Source == t.source
	case m.FSType == kernelType:
		_, path, ok := strings.Cut(m.Source, ":/")
		return ok && strings.HasPrefix("/"+path, t.prefix) &&
			(slices.Contains(m.SuperOptions, "mds_namespace="+t.fs) || slices.Contains(m.SuperOptions, "fs="+t.fs))
	}
	return false
}

// complete tells whether m shows the volume as a pod is to see it: all of the subvolume, or of the snapshot. An interrupted
// Stage of a snapshot-backed volume leaves the client's mount without the bind above it.
func (t target) complete(m mountpoint.Mount) bool {
	if !t.client(m) {
		return false
	}
	if t.readOnly {
		return snapshotRoot(m.Root)
	}
	return m.Root == "/"
}

// known is what pkg/clientmount asks of this tier.
type known struct{ s *Stager }

// Name implements clientmount.Tier.
func (known) Name() volume.Tier { return volume.Warm }

// Target implements clientmount.Tier.
func (k known) Target(id volume.ID) (clientmount.Target, bool) { return k.s.targetOf(id) }

// Own implements clientmount.Tier.
func (k known) Own(m mountpoint.Mount) bool { return k.s.own(m) }

// Client and Complete implement clientmount.Target.
func (t target) Client(m mountpoint.Mount) bool   { return t.client(m) }
func (t target) Complete(m mountpoint.Mount) bool { return t.complete(m) }

// snapshotRoot tells whether a row's root is the data of a snapshot: /.snap/NAME/UUID.
func snapshotRoot(root string) bool {
	parts, ok := strings.CutPrefix(root, "/.snap/")
	name, data, _ := strings.Cut(parts, "/")
	return ok && name != "" && data != "" && !strings.Contains(data, "/")
}
