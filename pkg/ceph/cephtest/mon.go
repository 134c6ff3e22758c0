package cephtest

// Commands to the monitors, with the fields that Strata reads.

import (
	"encoding/json"
	"slices"
	"syscall"
)

var monAddrs = []string{"127.0.0.1:6789"}

func (c *Cluster) monCommand(prefix string, args map[string]any) ([]byte, error) {
	var v any
	switch prefix {
	case "fs ls":
		v = c.fsList()
	case "fs get":
		name, _ := args["fs_name"].(string)
		f := c.filesystem(name)
		if f == nil {
			return nil, fail(syscall.ENOENT, "filesystem '%s' not found", name)
		}
		v = c.fsMap(f)
	case "fs dump":
		v = c.fsDump()
	case "mds stat":
		v = map[string]any{"fsmap": c.fsDump()}
	case "osd dump":
		v = map[string]any{"pools": c.poolList("pool"), "osds": []any{map[string]any{"osd": 3, "public_addrs": addrvec("10.0.1.3:6800"), "cluster_addrs": addrvec("10.0.2.3:6800")}}}
	case "mon dump":
		v = map[string]any{"mons": []any{map[string]any{"name": "a", "public_addrs": addrvec(monAddrs...)}}}
	case "mgr dump":
		v = map[string]any{"active_name": "x", "active_addrs": addrvec("10.0.1.4:6800")}
	case "osd pool ls":
		if detail, _ := args["detail"].(string); detail == "detail" {
			v = c.poolList("pool_id")
			break
		}
		list := []string{}
		for _, p := range c.pools {
			list = append(list, p.Name)
		}
		v = list
	case "df":
		v = c.df()
	case "status":
		v = map[string]any{"health": map[string]any{"status": "HEALTH_OK", "checks": map[string]any{}}, "mgrmap": map[string]any{"available": !c.mgrDown}}
	case "mgr stat":
		v = map[string]any{"epoch": 1, "available": !c.mgrDown, "active_name": "x", "num_standby": 0}
	case "auth get-or-create":
		var err error
		if v, err = c.getOrCreate(args); err != nil {
			return nil, err
		}
	case "auth rm":
		entity, _ := args["entity"].(string)
		delete(c.users, entity)
		return nil, nil
	case "osd blocklist":
		return nil, c.blocklist(args)
	default:
		return nil, fail(syscall.EINVAL, "command not known")
	}
	raw, err := json.Marshal(v)
	return append(raw, '\n'), err
}

func addrvec(list ...string) map[string]any {
	vec := []any{}
	for _, a := range list {
		vec = append(vec, map[string]any{"type": "v1", "addr": a, "nonce": 0})
	}
	return map[string]any{"addrvec": vec}
}

// poolID numbers pools from 1 in the order they were made.
func (c *Cluster) poolID(p *Pool) int { return slices.Index(c.pools, p) + 1 }

func (c *Cluster) poolIDs(pools []*Pool) (ids []int) {
	for _, p := range pools {
		ids = append(ids, c.poolID(p))
	}
	return ids
}

func (c *Cluster) fsList() []any {
	list := []any{}
	for _, f := range c.fs {
		var names []string
		for _, p := range f.data {
			names = append(names, p.Name)
		}
		list = append(list, map[string]any{
			"name": f.name, "metadata_pool": f.meta.Name, "metadata_pool_id": c.poolID(f.meta),
			"data_pool_ids": c.poolIDs(f.data), "data_pools": names,
		})
	}
	return list
}

func (c *Cluster) fsMap(f *filesystem) map[string]any {
	info, up := map[string]any{}, map[string]any{}
	if !f.mdsDown {
		up["mds_0"] = 4000 + f.id
		info["gid_4000"] = map[string]any{"gid": 4000 + f.id, "name": "a", "rank": 0, "state": "up:active"}
	}
	return map[string]any{"id": f.id, "mdsmap": map[string]any{
		"fs_name": f.name, "enabled": true, "max_mds": 1, "in": []int{0}, "up": up, "info": info,
		"data_pools": c.poolIDs(f.data), "metadata_pool": c.poolID(f.meta),
	}}
}

func (c *Cluster) fsDump() map[string]any {
	list := []any{}
	for _, f := range c.fs {
		list = append(list, c.fsMap(f))
	}
	return map[string]any{"epoch": 1, "default_fscid": 1, "standbys": []any{}, "filesystems": list}
}

// poolList describes the pools; the id's field has another name in each command.
func (c *Cluster) poolList(id string) []any {
	list := []any{}
	for _, p := range c.pools {
		kind, size, flags := 1, 3, "hashpspool" // TYPE_REPLICATED
		if p.Erasure {
			kind, size = 3, 6 // TYPE_ERASURE
		}
		if p.Overwrites {
			flags += ",ec_overwrites"
		}
		list = append(list, map[string]any{id: c.poolID(p), "pool_name": p.Name, "type": kind, "size": size, "flags_names": flags})
	}
	return list
}

func (c *Cluster) df() map[string]any {
	var total int64
	list := []any{}
	for _, p := range c.pools {
		total += p.Free
		list = append(list, map[string]any{
			"name": p.Name, "id": c.poolID(p),
			"stats": map[string]any{"stored": 0, "objects": 0, "kb_used": 0, "bytes_used": 0, "percent_used": 0, "max_avail": p.Free},
		})
	}
	stats := map[string]any{"total_bytes": total, "total_avail_bytes": total, "total_used_bytes": 0}
	return map[string]any{"stats": stats, "pools": list}
}
