package inspect

import (
	"context"
	"errors"
	"path"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/volume"
)

// snapshotRecord is what the tier warm keeps of a snapshot below /strata/PREFIX/snapshots, in the fields that matter here.
type snapshotRecord struct {
	Name    string    `json:"name"`
	Source  volume.ID `json:"source"`
	Created time.Time `json:"created"`
	Size    int64     `json:"size"`
}

// inherited begins the name under which a snapshot of a directory above shows (Ceph: _NAME_INODE).
const inherited = "_"

// snapshots lists the recorded ones first, then what the subvolumes have besides.
func (s site) snapshots(ctx context.Context, volumes []Volume, copies *copies) ([]Snapshot, error) {
	index := path.Join(indexRoot, s.place.NamePrefix, "snapshots")
	names, err := s.list(ctx, index)
	if err != nil {
		return nil, err
	}
	recorded := make([]*Snapshot, len(names))
	group, inner := errgroup.WithContext(ctx)
	group.SetLimit(together)
	for i, name := range names {
		group.Go(func() (err error) {
			recorded[i], err = s.recorded(inner, index, name)
			return err
		})
	}
	found := make([][]string, len(volumes))
	for i, v := range volumes {
		if v.ReadOnly {
			continue
		}
		group.Go(func() (err error) {
			found[i], err = s.list(inner, ceph.Subvolume{Group: v.Group, Name: v.Name}.Base()+"/.snap")
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var out []Snapshot
	known := map[string]bool{}
	for _, r := range recorded {
		if r != nil {
			out = append(out, *r)
			known[r.path()] = true
		}
	}
	unfinished := map[string]bool{} // names of volumes that may still be copied into
	for _, v := range volumes {
		if v.State == Unfinished || v.State == Copying {
			unfinished[v.Name] = true
		}
	}
	for i := range volumes {
		for _, name := range found[i] {
			if strings.HasPrefix(name, inherited) {
				continue
			}
			volumes[i].Snapshots++
			one := Snapshot{Cluster: s.place.Cluster, FileSystem: s.place.FileSystem, Group: volumes[i].Group, Volume: volumes[i].Name, Name: name,
				State: Unrecorded, Readers: []string{}}
			if known[one.path()] {
				continue
			}
			of, temporary := strings.CutPrefix(name, copyPrefix)
			if copies.of[one.path()] || temporary && unfinished[of] {
				one.State = Temporary
			}
			if one.Created, err = s.taken(ctx, one.path()); err != nil {
				return nil, err
			}
			out = append(out, one)
		}
	}
	return out, nil
}

func (s Snapshot) path() string {
	return ceph.Subvolume{Group: s.Group, Name: s.Volume}.Base() + "/.snap/" + s.Name
}

// recorded reads one snapshot of the index; nil when it went since it was listed.
func (s site) recorded(ctx context.Context, index, name string) (*Snapshot, error) {
	out := &Snapshot{Cluster: s.place.Cluster, FileSystem: s.place.FileSystem, Name: name, State: Ready, Readers: []string{}}
	dir := path.Join(index, name)
	var rec snapshotRecord
	absent, missing, err := s.record(ctx, dir, &rec)
	switch {
	case absent:
		return nil, nil
	case errors.Is(err, errUnreadable):
		out.State, out.Problem = Unreadable, err.Error()
		return out, nil
	case err != nil:
		return nil, err
	}
	if names, err := s.list(ctx, dir); err != nil {
		return nil, err
	} else if len(names) > 0 {
		out.Readers = names
	}
	if missing { // the request that made the directory was interrupted, or is under way
		out.State = Unfinished
		out.Created, err = s.changed(ctx, dir)
		return out, err
	}
	of := rec.Source.Parts()
	if rec.Source.Tier() != volume.Warm || len(of) < 4 {
		out.State, out.Problem = Unreadable, "its record names the volume "+string(rec.Source)
		return out, nil
	}
	out.Request, out.Size, out.Group, out.Volume = rec.Name, rec.Size, of[2], of[3]
	if id, err := volume.NewSnapshotID(volume.Warm, s.place.Cluster, s.place.FileSystem, out.Group, out.Volume, name); err == nil {
		out.ID = string(id)
	}
	if rec.Created.IsZero() {
		out.State = Unfinished
		out.Created, err = s.changed(ctx, dir)
		return out, err
	}
	out.Created = &rec.Created
	if _, err := s.xattr(ctx, out.path(), attrBytes); ceph.Absent(err) {
		out.State = Lost
	} else if err != nil {
		return nil, err
	}
	return out, nil
}

// taken is when Ceph took a snapshot; nil when it doesn't say.
func (s site) taken(ctx context.Context, path string) (*time.Time, error) {
	return s.seconds(ctx, path, attrTaken)
}
