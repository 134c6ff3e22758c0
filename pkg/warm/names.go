package warm

import (
	"fmt"
	"strings"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	volumeNameLength   = volume.NameLength
	snapshotNameLength = 28
	// readOnlyMark ends the id of a volume that is served from a snapshot: it has no subvolume of its own.
	readOnlyMark = "ro"
	// groupSeparator stands between the name prefix of a Kubernetes cluster and a team; neither holds a '.'.
	groupSeparator = "."
)

// volumeRef is what a volume id of this tier says: warm:<clusterID>:<fsName>:<group>:<name>[:ro].
type volumeRef struct {
	cluster, fs string
	sub         ceph.Subvolume
	backed      bool // served from a snapshot
}

// snapshotRef is what a snapshot id of this tier says: warm:<clusterID>:<fsName>:<group>:<subvolume>:<snapshot>.
type snapshotRef struct {
	cluster, fs string
	sub         ceph.Subvolume
	name        string
}

// groupOf is the subvolume group of a team. The prefix keeps apart two Kubernetes clusters on one file system.
func groupOf(prefix, team string) string { return prefix + groupSeparator + team }

func (r volumeRef) id() (volume.ID, error) {
	parts := []string{r.cluster, r.fs, r.sub.Group, r.sub.Name}
	if r.backed {
		parts = append(parts, readOnlyMark)
	}
	return volume.NewID(volume.Warm, parts...)
}

func (r snapshotRef) id() (volume.SnapshotID, error) {
	return volume.NewSnapshotID(volume.Warm, r.cluster, r.fs, r.sub.Group, r.sub.Name, r.name)
}

// path is the directory of the snapshot in the file system.
func (r snapshotRef) path() string { return r.sub.Base() + "/.snap/" + r.name }

// source is the volume that the snapshot was taken of.
func (r snapshotRef) source() volumeRef { return volumeRef{cluster: r.cluster, fs: r.fs, sub: r.sub} }

// parseVolume reads an id. An id that is well-formed and not one of ours wraps volume.ErrNotFound: it names
// nothing here.
func parseVolume(id volume.ID) (volumeRef, error) {
	p := id.Parts()
	if id.Tier() != volume.Warm || len(p) < 4 || len(p) > 5 || len(p) == 5 && p[4] != readOnlyMark {
		return volumeRef{}, fmt.Errorf("%w: %q isn't a volume of tier warm", volume.ErrNotFound, id)
	}
	return volumeRef{cluster: p[0], fs: p[1], sub: ceph.Subvolume{Group: p[2], Name: p[3]}, backed: len(p) == 5}, nil
}

// parseSnapshot reads a snapshot id; the errors are those of parseVolume.
func parseSnapshot(id volume.SnapshotID) (snapshotRef, error) {
	p := id.Parts()
	if id.Tier() != volume.Warm || len(p) != 5 {
		return snapshotRef{}, fmt.Errorf("%w: %q isn't a snapshot of tier warm", volume.ErrNotFound, id)
	}
	return snapshotRef{cluster: p[0], fs: p[1], sub: ceph.Subvolume{Group: p[2], Name: p[3]}, name: p[4]}, nil
}

// ours refuses an id whose group belongs to another Kubernetes cluster on the same file system.
func ours(prefix string, sub ceph.Subvolume) error {
	if !strings.HasPrefix(sub.Group, prefix+groupSeparator) {
		return fmt.Errorf("%w: group %q isn't one of this cluster's (they begin with %q)", volume.ErrNotFound, sub.Group,
			prefix+groupSeparator)
	}
	return nil
}

// namespaceOf is the RADOS namespace of a volume's objects. The manager's own choice, fsvolumens_<subvolume>, lacks the
// group until Ceph 20: two teams with volumes of one name would share it.
func namespaceOf(sub ceph.Subvolume) string { return "fsvolumens__" + sub.Group + "_" + sub.Name }
