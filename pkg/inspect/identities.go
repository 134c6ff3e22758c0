package inspect

// Identities of volumes. The index says which there may be; the users of the cluster themselves aren't listed, since whoever may do that
// sees every key.

import (
	"context"
	"errors"
	"path"
	"strconv"
	"strings"

	"github.com/strata-csi/strata/pkg/volume"
)

// identityRecord is what the index says of one, in the fields that matter here.
type identityRecord struct {
	Secret     string `json:"secret"`
	Generation int    `json:"generation"`
	Oldest     int    `json:"oldest"`
}

// identities lists those of a file system's volumes.
func (s site) identities(ctx context.Context) ([]Identity, error) {
	all := []Identity{}
	for _, kind := range []string{"volume", "snapshot"} {
		root := path.Join(indexRoot, s.place.NamePrefix, "identities", kind)
		groups, err := s.list(ctx, root)
		if err != nil {
			return nil, err
		}
		for _, group := range groups {
			names, err := s.list(ctx, path.Join(root, group))
			if err != nil {
				return nil, err
			}
			for _, name := range names {
				i, err := s.identity(ctx, path.Join(root, group, name), kind, group, name)
				if err != nil {
					return nil, err
				}
				all = append(all, i)
			}
		}
	}
	return all, nil
}

func (s site) identity(ctx context.Context, dir, kind, group, name string) (Identity, error) {
	prefix, team, _ := strings.Cut(group, groupSeparator)
	fs := strings.NewReplacer("_", "__", ".", "_d").Replace(s.place.FileSystem)
	i := Identity{Cluster: s.place.Cluster, FileSystem: s.place.FileSystem, Directory: dir}
	parts := []string{s.place.Cluster, s.place.FileSystem, group, name}
	if kind == "snapshot" {
		parts = append(parts, readOnlyMark)
	}
	if id, err := volume.NewID(volume.Warm, parts...); err == nil {
		i.Volume = string(id)
	}
	var err error
	if i.Changed, err = s.changed(ctx, dir); err != nil {
		return i, err
	}
	var rec identityRecord
	if _, _, err := s.record(ctx, dir, &rec); err != nil && !errors.Is(err, errUnreadable) {
		return i, err
	}
	i.Secret = rec.Secret
	for n := rec.Oldest; n <= rec.Generation; n++ {
		generation := kind
		if n > 0 {
			generation += "-" + strconv.Itoa(n)
		}
		if i.User != "" {
			i.Former = append(i.Former, i.User)
		}
		i.User = strings.Join([]string{"client.strata", prefix, generation, team, fs, name}, ".")
	}
	return i, nil
}
