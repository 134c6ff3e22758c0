package inspect

// What the monitors say of a cluster, in the fields that matter here. Names as of Ceph 16.2 to 20: src/mon/MonCommands.h,
// MDSMap::dump, pg_pool_t::dump, PGMapDigest::print_summary.

import (
	"context"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/clusters"
)

type status struct {
	FSID   string `json:"fsid"`
	Health struct {
		Status string `json:"status"`
		Checks map[string]struct {
			Severity string `json:"severity"`
			Summary  struct {
				Message string `json:"message"`
			} `json:"summary"`
			Muted bool `json:"muted"`
		} `json:"checks"`
	} `json:"health"`
	PGs struct {
		Total  int `json:"num_pgs"`
		States []struct {
			Name  string `json:"state_name"`
			Count int    `json:"count"`
		} `json:"pgs_by_state"`
	} `json:"pgmap"`
	Manager struct {
		Available bool `json:"available"`
		Standbys  int  `json:"num_standbys"`
	} `json:"mgrmap"`
}

// erasureType is the type of an erasure-coded pool in the OSD map (TYPE_ERASURE in Ceph's osd_types.h).
const erasureType = 3

// takeView asks for the pools and file systems of a cluster.
func takeView(ctx context.Context, l looker, c clusters.Cluster) (Cluster, error) {
	v := Cluster{ID: c.ID, NamePrefix: c.NamePrefix, Defaults: c.Defaults, FileSystems: []FileSystem{}, Pools: []Pool{}}
	if v.Defaults == nil {
		v.Defaults = map[string]string{}
	}
	var pools []struct {
		ID    int64  `json:"pool_id"`
		Name  string `json:"pool_name"`
		Type  int    `json:"type"`
		Size  int    `json:"size"`
		Flags string `json:"flags_names"`
	}
	if err := l.mon(ctx, monPools, map[string]any{"detail": "detail"}, &pools); err != nil {
		return v, err
	}
	var df struct {
		Pools []struct {
			Name  string `json:"name"`
			Stats struct {
				Available int64 `json:"max_avail"`
			} `json:"stats"`
		} `json:"pools"`
	}
	if err := l.mon(ctx, monDF, nil, &df); err != nil {
		return v, err
	}
	free := map[string]int64{}
	for _, p := range df.Pools {
		free[p.Name] = p.Stats.Available
	}
	names := map[int64]string{}
	for _, p := range pools {
		names[p.ID] = p.Name
		flags := strings.Split(p.Flags, ",")
		v.Pools = append(v.Pools, Pool{
			Name: p.Name, Erasure: p.Type == erasureType, Overwrites: slices.Contains(flags, "ec_overwrites"),
			Full:     slices.Contains(flags, "full") || slices.Contains(flags, "full_quota"),
			NearFull: slices.Contains(flags, "nearfull") || slices.Contains(flags, "backfillfull"),
			Size:     p.Size, Available: free[p.Name],
		})
	}
	var dump struct {
		Standbys    []struct{} `json:"standbys"`
		Filesystems []struct {
			Map struct {
				Name      string  `json:"fs_name"`
				DataPools []int64 `json:"data_pools"`
				Wanted    int     `json:"max_mds"`
				Failed    []int   `json:"failed"`
				Damaged   []int   `json:"damaged"`
				Info      map[string]struct {
					State string `json:"state"`
				} `json:"info"`
			} `json:"mdsmap"`
		} `json:"filesystems"`
	}
	if err := l.mon(ctx, monFS, nil, &dump); err != nil {
		return v, err
	}
	for _, f := range dump.Filesystems {
		fs := FileSystem{Name: f.Map.Name, DataPools: []string{}, Wanted: f.Map.Wanted, Standby: len(dump.Standbys), Broken: len(f.Map.Failed) + len(f.Map.Damaged)}
		for _, id := range f.Map.DataPools {
			fs.DataPools = append(fs.DataPools, names[id])
		}
		for _, daemon := range f.Map.Info {
			switch daemon.State {
			case "up:active":
				fs.Active++
			case "up:standby-replay":
				fs.Standby++
			}
		}
		v.FileSystems = append(v.FileSystems, fs)
	}
	slices.SortFunc(v.FileSystems, func(a, b FileSystem) int { return strings.Compare(a.Name, b.Name) })
	return v, nil
}

func (c Cluster) fileSystem(name string) (FileSystem, bool) {
	for _, f := range c.FileSystems {
		if f.Name == name {
			return f, true
		}
	}
	return FileSystem{}, false
}

func (c Cluster) pool(name string) (Pool, bool) {
	for _, p := range c.Pools {
		if p.Name == name {
			return p, true
		}
	}
	return Pool{}, false
}

func (c Cluster) fileSystemNames() []string {
	var names []string
	for _, f := range c.FileSystems {
		names = append(names, f.Name)
	}
	return names
}
