package warm

import (
	"context"
	"errors"
	"path"
	"syscall"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/volume"
)

// What has no subvolume of its own has a directory in the file system, made exclusively by the metadata server and
// bearing its record:
//
//	/strata/<namePrefix>/snapshots/<snapshot>           a snapshot: CSI wants its name unique in the cluster
//	/strata/<namePrefix>/snapshots/<snapshot>/<volume>  a volume served from it: the snapshot's directory can't be removed
//	/strata/<namePrefix>/volumes/<group>/<volume>       the same volume by its own name
//	/strata/<namePrefix>/identities/<kind>/<group>/<volume>  a volume, or one served from a snapshot, with an identity of its own
const indexRoot = "/strata"

func snapshotsPath(s site) string { return path.Join(indexRoot, s.cluster.NamePrefix, "snapshots") }

func snapshotPath(s site, name string) string { return path.Join(snapshotsPath(s), name) }

func backedRoot(s site) string { return path.Join(indexRoot, s.cluster.NamePrefix, "volumes") }

func backedPath(s site, sub ceph.Subvolume) string {
	return path.Join(backedRoot(s), sub.Group, sub.Name)
}

// makeDirs makes a directory of the index and those above it.
func makeDirs(ctx context.Context, t ceph.Tree, dir string) error {
	err := t.MakeDir(ctx, dir)
	if errors.Is(err, syscall.ENOENT) && dir != "/" {
		if err := makeDirs(ctx, t, path.Dir(dir)); err != nil {
			return err
		}
		err = t.MakeDir(ctx, dir)
	}
	if errors.Is(err, syscall.EEXIST) {
		return nil
	}
	return err
}

// removeDir removes an empty directory of the index, or finds it gone.
func removeDir(ctx context.Context, t ceph.Tree, dir string) error {
	if err := t.RemoveDir(ctx, dir); err != nil && !ceph.Absent(err) {
		return err
	}
	return nil
}

// list returns the names in a directory of the index; one that was never made has none.
func list(ctx context.Context, t ceph.Tree, dir string) ([]string, error) {
	names, err := t.ReadDir(ctx, dir)
	if ceph.Absent(err) {
		return nil, nil
	}
	return names, err
}

// backedRecord is the record of a volume that is served from a snapshot.
type backedRecord struct {
	Name     string            `json:"name"`
	Snapshot volume.SnapshotID `json:"snapshot"`
	Path     string            `json:"path"`
	Size     int64             `json:"size"`
	Identity access            `json:"identity,omitempty"`
	volume.Owner
}
