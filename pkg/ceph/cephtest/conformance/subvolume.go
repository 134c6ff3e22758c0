package conformance

// Groups and subvolumes.

import (
	"encoding/json"
	"slices"
	"strings"
	"syscall"
)

var groupCases = []testcase{
	{"create twice is harmless", func(e *env) {
		e.ok("fs subvolumegroup create", nil)
		e.equal("group's pool", e.xattr(e.dir(), "ceph.dir.layout.pool"), e.Data)
	}},
	{"create with a pool", func(e *env) {
		e.ok("fs subvolumegroup create", m{"pool_layout": e.Erasure})
		e.equal("group's pool", e.xattr(e.dir(), "ceph.dir.layout.pool"), e.Erasure)
		e.ok("fs subvolumegroup create", nil)
		e.equal("group's pool after a create without one", e.xattr(e.dir(), "ceph.dir.layout.pool"), e.Erasure)
	}},
	{"create with a pool that isn't a data pool", func(e *env) {
		e.refused(syscall.EINVAL, "fs subvolumegroup create", m{"group_name": e.group + "-x", "pool_layout": e.Meta})
		e.refused(syscall.ENOENT, "fs subvolumegroup info", m{"group_name": e.group + "-x"})
	}},
	{"info", func(e *env) {
		info := e.object("fs subvolumegroup info", nil)
		e.equal("data_pool", info["data_pool"], e.Data)
		e.equal("bytes_quota", info["bytes_quota"], "infinite")
		e.equal("mode", info["mode"], 0o40755)
		e.refused(syscall.ENOENT, "fs subvolumegroup info", m{"group_name": "conf-none"})
	}},
	{"list", func(e *env) {
		e.create("v", nil) // makes the module's own directories
		list := e.names("fs subvolumegroup ls", nil)
		if !slices.Contains(list, e.group) {
			e.Errorf("group %s isn't in %q", e.group, list)
		}
		if slices.ContainsFunc(list, func(s string) bool { return strings.HasPrefix(s, "_") }) {
			e.Errorf("internal directories are listed: %q", list)
		}
	}},
	{"remove", func(e *env) {
		e.create("v", nil)
		e.refused(syscall.ENOTEMPTY, "fs subvolumegroup rm", nil)
		e.refused(syscall.ENOENT, "fs subvolumegroup rm", m{"group_name": "conf-none"})
		e.ok("fs subvolumegroup rm", m{"group_name": "conf-none", "force": true})
	}},
}

// onExisting are the commands about one subvolume, with what they need.
var onExisting = []struct {
	prefix string
	args   m
}{
	{"fs subvolume info", nil},
	{"fs subvolume getpath", nil},
	{"fs subvolume rm", nil},
	{"fs subvolume rm", m{"retain_snapshots": true}},
	{"fs subvolume resize", m{"new_size": "1073741824"}},
	{"fs subvolume snapshot create", m{"snap_name": "s"}},
	{"fs subvolume snapshot info", m{"snap_name": "s"}},
	{"fs subvolume snapshot ls", nil},
	{"fs subvolume snapshot rm", m{"snap_name": "s"}},
	{"fs subvolume snapshot clone", m{"snap_name": "s", "target_sub_name": "t"}},
	{"fs clone status", nil},
	{"fs clone cancel", nil},
}

var subvolumeCases = []testcase{
	{"what is missing is ENOENT", func(e *env) {
		for _, c := range onExisting {
			for _, where := range []m{{}, {"group_name": "conf-none"}, {"vol_name": "conf-none"}} {
				args := m{"sub_name": "none", "clone_name": "none", "target_group_name": e.group}
				for _, more := range []m{c.args, where} {
					for k, v := range more {
						args[k] = v
					}
				}
				e.refused(syscall.ENOENT, c.prefix, args)
			}
		}
		e.refused(syscall.ENOENT, "fs subvolume ls", m{"group_name": "conf-none"})
		e.refused(syscall.ENOENT, "fs subvolume create", m{"sub_name": "v", "group_name": "conf-none"})
		e.refused(syscall.ENOENT, "fs subvolume create", m{"sub_name": "v", "vol_name": "conf-none"})
		e.ok("fs subvolume rm", m{"sub_name": "none", "force": true})
		e.ok("fs subvolume rm", m{"sub_name": "none", "group_name": "conf-none", "force": true})
	}},
	{"create and info", func(e *env) {
		path := e.create("v", m{"mode": "0770", "uid": 1000, "gid": 1001})
		info := e.info("v")
		e.fields(info, m{
			"path": path, "type": "subvolume", "state": "complete", "data_pool": e.Erasure, "pool_namespace": "fsvolumens_v",
			"bytes_quota": 1 << 30, "bytes_used": 0, "bytes_pcent": "0.00", "uid": 1000, "gid": 1001, "mode": 0o40770,
			"features": []string{"snapshot-clone", "snapshot-autoprotect", "snapshot-retention"},
		})
		for _, field := range []string{"atime", "mtime", "ctime", "created_at", "mon_addrs"} {
			if info[field] == nil {
				e.Errorf("info has no %s", field)
			}
		}
		uuid, ok := strings.CutPrefix(path, e.dir("v")+"/")
		if !ok || len(uuid) != 36 {
			e.Errorf("path %s isn't %s/<uuid>", path, e.dir("v"))
		}
		names, err := e.tree().ReadDir(e.ctx, e.dir("v"))
		e.errno(err, 0, "ReadDir", nil)
		e.equal("base directory", names, []string{".meta", uuid})
		e.equal("list", e.names("fs subvolume ls", nil), []string{"v"})
	}},
	{"create without options", func(e *env) {
		e.ok("fs subvolume create", m{"sub_name": "v"})
		info := e.info("v")
		e.fields(info, m{
			"data_pool": e.Data, "pool_namespace": "", "bytes_quota": "infinite", "bytes_pcent": "undefined", "mode": 0o40755, "uid": 0, "gid": 0,
		})
		_, err := e.tree().Xattr(e.ctx, e.path("v"), "ceph.quota.max_bytes")
		e.errno(err, syscall.ENODATA, "quota", nil)
	}},
	{"create again sets the attributes anew", func(e *env) {
		path := e.create("v", m{"mode": "770", "uid": 1000, "gid": 1001})
		e.ok("fs subvolume create", m{"sub_name": "v", "size": 2 << 30})
		info := e.info("v")
		e.fields(info, m{
			"path": path, "bytes_quota": 2 << 30, "mode": 0o40755, "uid": 1000, "gid": 1001, "data_pool": e.Erasure, "pool_namespace": "fsvolumens_v",
		})
		e.ok("fs subvolume create", m{"sub_name": "v", "size": 1 << 20, "uid": 7, "pool_layout": e.Data})
		info = e.info("v")
		e.fields(info, m{
			"bytes_quota": 1 << 20, "uid": 7, "gid": 1001, "data_pool": e.Data, "pool_namespace": "fsvolumens_v",
		})
	}},
	{"create refuses and leaves nothing", func(e *env) {
		for _, args := range []m{
			{"pool_layout": "conf-none"}, {"pool_layout": e.Meta}, {"mode": "9x"}, {"uid": -1}, {"gid": -1}, {"size": -1},
		} {
			args["sub_name"] = "v"
			e.refused(syscall.EINVAL, "fs subvolume create", args)
		}
		e.refused(syscall.EINVAL, "fs subvolume create", nil)
		e.equal("list", e.names("fs subvolume ls", nil), nil)
		e.refused(syscall.ENOENT, "fs subvolume info", m{"sub_name": "v"})
	}},
	{"resize", func(e *env) {
		path := e.create("v", nil)
		quota := func(args m) any {
			e.Helper()
			var list []m
			args["sub_name"] = "v"
			if err := json.Unmarshal(e.ok("fs subvolume resize", args), &list); err != nil || len(list) != 3 {
				e.Fatalf("resize answers %v, %v", list, err)
			}
			return list[1]["bytes_quota"]
		}
		e.equal("grown", quota(m{"new_size": "2147483648", "no_shrink": true}), 2<<30)
		e.equal("quota", e.xattr(path, "ceph.quota.max_bytes"), "2147483648")
		e.equal("smaller, above what is used", quota(m{"new_size": "1048576", "no_shrink": true}), 1<<20)
		e.equal("a number", quota(m{"new_size": 2097152}), 2<<20)
		for _, size := range []string{"0", "-1", "abc", ""} {
			e.refused(syscall.EINVAL, "fs subvolume resize", m{"sub_name": "v", "new_size": size})
		}
		e.Write(e.T, path+"/file", 1<<20)
		e.until("use seen", func() bool { return e.xattr(path, "ceph.dir.rbytes") == "1048576" })
		e.refused(syscall.EINVAL, "fs subvolume resize", m{"sub_name": "v", "new_size": "4096", "no_shrink": true})
		e.equal("quota after a refusal", e.xattr(path, "ceph.quota.max_bytes"), "2097152")
		e.equal("below what is used", quota(m{"new_size": "4096"}), 4096)
		e.equal("none", quota(m{"new_size": "inf", "no_shrink": true}), 0)
		_, err := e.tree().Xattr(e.ctx, path, "ceph.quota.max_bytes")
		e.errno(err, syscall.ENODATA, "quota", nil)
		info := e.info("v")
		e.equal("bytes_quota", info["bytes_quota"], "infinite")
		e.equal("bytes_used", info["bytes_used"], 1<<20)
	}},
	{"remove", func(e *env) {
		e.create("v", nil)
		e.create("w", nil)
		e.ok("fs subvolume rm", m{"sub_name": "v"})
		e.ok("fs subvolume rm", m{"sub_name": "w", "retain_snapshots": true}) // nothing to retain: gone
		e.equal("list", e.names("fs subvolume ls", nil), nil)
		for _, name := range []string{"v", "w"} {
			e.refused(syscall.ENOENT, "fs subvolume rm", m{"sub_name": name})
			e.refused(syscall.ENOENT, "fs subvolume info", m{"sub_name": name})
		}
		first := e.create("v", nil)
		e.ok("fs subvolume rm", m{"sub_name": "v", "force": true})
		if again := e.create("v", nil); again == first {
			e.Errorf("a new subvolume got the old one's directory %s", again)
		}
	}},
	{"commands that don't exist", func(e *env) {
		e.refused(syscall.EINVAL, "fs subvolume conjure", m{"sub_name": "v"})
	}},
}
