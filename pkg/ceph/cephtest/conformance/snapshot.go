package conformance

// Snapshots, and subvolumes that only keep them.

import (
	"slices"
	"strings"
	"syscall"
	"time"
)

// husk makes a subvolume "v" with snapshot "s1" and removes it, so that only the snapshot stays. It returns the path that the
// data directory had.
func husk(e *env) string {
	path := e.create("v", m{"uid": 1000, "gid": 1001, "mode": "770"})
	e.Write(e.T, path+"/file", 4096)
	e.until("use seen", func() bool { return e.xattr(path, "ceph.dir.rbytes") == "4096" })
	e.snap("v", "s1")
	e.ok("fs subvolume rm", m{"sub_name": "v", "retain_snapshots": true})
	return path
}

// within is the path of a data directory in a snapshot of its subvolume.
func within(path, snapshot string) string {
	i := strings.LastIndexByte(path, '/')
	return path[:i] + "/.snap/" + snapshot + path[i:]
}

var snapshotCases = []testcase{
	{"create, info, list, remove", func(e *env) {
		e.create("v", nil)
		before := time.Now()
		e.snap("v", "s1")
		info := e.object("fs subvolume snapshot info", m{"sub_name": "v", "snap_name": "s1"})
		e.equal("data_pool", info["data_pool"], e.Erasure)
		e.equal("has_pending_clones", info["has_pending_clones"], "no")
		e.equal("pending_clones", info["pending_clones"], nil)
		text, _ := info["created_at"].(string)
		created, err := time.Parse("2006-01-02 15:04:05.999999", text)
		if err != nil || created.Sub(before).Abs() > 14*time.Hour { // it is the manager's local time
			e.Errorf("created_at %q: %v, %v", text, created, err)
		}
		e.snap("v", "s1") // again: the one there is stays
		e.snap("v", "s2")
		e.equal("created_at", e.object("fs subvolume snapshot info", m{"sub_name": "v", "snap_name": "s1"})["created_at"], text)
		e.equal("list", e.names("fs subvolume snapshot ls", m{"sub_name": "v"}), []string{"s1", "s2"})
		e.ok("fs subvolume snapshot rm", m{"sub_name": "v", "snap_name": "s1"})
		e.refused(syscall.ENOENT, "fs subvolume snapshot rm", m{"sub_name": "v", "snap_name": "s1"})
		e.refused(syscall.ENOENT, "fs subvolume snapshot info", m{"sub_name": "v", "snap_name": "s1"})
		e.ok("fs subvolume snapshot rm", m{"sub_name": "v", "snap_name": "s1", "force": true})
		e.equal("list", e.names("fs subvolume snapshot ls", m{"sub_name": "v"}), []string{"s2"})
	}},
	{"a name with a leading underscore", func(e *env) {
		e.create("v", nil)
		e.refused(syscall.EINVAL, "fs subvolume snapshot create", m{"sub_name": "v", "snap_name": "_s"})
		e.refused(syscall.EINVAL, "fs subvolume snapshot info", m{"sub_name": "v", "snap_name": "_s"})
	}},
	{"it shows the directory as it was", func(e *env) {
		path := e.create("v", nil)
		e.Write(e.T, path+"/one", 4096)
		e.until("use seen", func() bool { return e.xattr(path, "ceph.dir.rbytes") == "4096" })
		e.snap("v", "s1")
		e.Write(e.T, path+"/two", 4096)
		e.ok("fs subvolume resize", m{"sub_name": "v", "new_size": "2147483648"})
		e.until("use seen", func() bool { return e.xattr(path, "ceph.dir.rbytes") == "8192" })
		snap := within(path, "s1")
		names, err := e.tree().ReadDir(e.ctx, snap)
		e.errno(err, 0, "ReadDir", snap)
		e.equal("files", names, []string{"one"})
		for name, want := range map[string]string{
			"ceph.quota.max_bytes": "1073741824",
			"ceph.dir.layout.pool": e.Erasure, "ceph.dir.layout.pool_namespace": "fsvolumens_v",
		} {
			e.equal(name, e.xattr(snap, name), want)
		}
		if v := e.xattr(snap, "ceph.snap.btime"); !strings.Contains(v, ".") {
			e.Errorf("ceph.snap.btime is %q", v)
		}
		names, err = e.tree().ReadDir(e.ctx, e.dir("v", ".snap"))
		e.errno(err, 0, "ReadDir", ".snap")
		e.equal(".snap", names, []string{"s1"})
	}},
	{"its recursive statistics are the live directory's", func(e *env) {
		path := e.create("v", nil)
		e.Write(e.T, path+"/one", 4096)
		e.until("use seen", func() bool { return e.xattr(path, "ceph.dir.rbytes") == "4096" })
		e.snap("v", "s1")
		snap := within(path, "s1")
		e.equal("bytes at once", e.xattr(snap, "ceph.dir.rbytes"), "4096")
		e.Write(e.T, path+"/two", 4096)
		e.until("later use seen in the snapshot", func() bool { return e.xattr(snap, "ceph.dir.rbytes") == "8192" })
		e.ok("fs subvolume rm", m{"sub_name": "v", "retain_snapshots": true})
		e.until("nothing seen in the snapshot", func() bool { return e.xattr(snap, "ceph.dir.rbytes") == "0" })
	}},
	{"it is read-only", func(e *env) {
		path := e.create("v", nil)
		e.snap("v", "s1")
		e.errno(e.tree().SetXattr(e.ctx, within(path, "s1"), "user.conf", "x"), syscall.EROFS, "SetXattr", nil)
		e.errno(e.tree().MakeDir(e.ctx, within(path, "s1")+"/d"), syscall.EROFS, "MakeDir", nil)
	}},
	{"a missing one is ENOENT in the tree", func(e *env) {
		path := e.create("v", nil)
		_, err := e.tree().Xattr(e.ctx, within(path, "none"), "ceph.dir.rbytes")
		e.errno(err, syscall.ENOENT, "Xattr", nil)
	}},
	{"a subvolume with snapshots isn't removed", func(e *env) {
		path := e.create("v", nil)
		e.snap("v", "s1")
		e.refused(syscall.ENOTEMPTY, "fs subvolume rm", m{"sub_name": "v"})
		e.refused(syscall.ENOTEMPTY, "fs subvolume rm", m{"sub_name": "v", "force": true})
		e.equal("path", e.path("v"), path)
	}},
	{"a husk keeps its snapshots", func(e *env) {
		path := husk(e)
		info := e.info("v")
		e.equal("state", info["state"], "snapshot-retained")
		e.equal("type", info["type"], "subvolume")
		for _, field := range []string{"path", "bytes_quota", "data_pool", "pool_namespace", "uid"} {
			e.equal(field, info[field], nil)
		}
		for _, c := range []struct {
			prefix string
			args   m
		}{
			{"fs subvolume getpath", nil},
			{"fs subvolume resize", m{"new_size": "1073741824"}},
			{"fs subvolume snapshot create", m{"snap_name": "s2"}},
		} {
			args := m{"sub_name": "v"}
			for k, v := range c.args {
				args[k] = v
			}
			e.refused(syscall.ENOENT, c.prefix, args)
		}
		e.equal("subvolumes", e.names("fs subvolume ls", nil), []string{"v"})
		e.equal("snapshots", e.names("fs subvolume snapshot ls", m{"sub_name": "v"}), []string{"s1"})
		e.equal("has_pending_clones", e.object("fs subvolume snapshot info", m{"sub_name": "v", "snap_name": "s1"})["has_pending_clones"], "no")
		names, err := e.tree().ReadDir(e.ctx, within(path, "s1"))
		e.errno(err, 0, "ReadDir", nil)
		e.equal("files", names, []string{"file"})
		names, err = e.tree().ReadDir(e.ctx, e.dir("v"))
		if err != nil || slices.ContainsFunc(names, func(n string) bool { return len(n) == 36 }) {
			e.Errorf("base directory of a husk: %q, %v", names, err)
		}
		e.refused(syscall.ENOTEMPTY, "fs subvolume rm", m{"sub_name": "v"})
		e.ok("fs subvolume rm", m{"sub_name": "v", "retain_snapshots": true})
	}},
	{"a husk goes with its last snapshot", func(e *env) {
		e.create("v", nil)
		e.snap("v", "s1")
		e.snap("v", "s2")
		e.ok("fs subvolume rm", m{"sub_name": "v", "retain_snapshots": true})
		// The husk is emptied first: until then it stays, and the purge takes it.
		e.ok("fs subvolume snapshot rm", m{"sub_name": "v", "snap_name": "s1"})
		e.equal("state", e.info("v")["state"], "snapshot-retained")
		e.ok("fs subvolume snapshot rm", m{"sub_name": "v", "snap_name": "s2"})
		e.until("husk gone", func() bool { return len(e.names("fs subvolume ls", nil)) == 0 })
		e.refused(syscall.ENOENT, "fs subvolume info", m{"sub_name": "v"})
	}},
	{"create revives a husk", func(e *env) {
		old := husk(e)
		// While the old directory is being emptied it answers EAGAIN.
		e.until("revived", func() bool {
			_, err := e.mgr("fs subvolume create", m{"sub_name": "v", "size": 1 << 20, "pool_layout": e.Erasure, "namespace_isolated": true})
			if err != nil {
				e.errno(err, syscall.EAGAIN, "create", nil)
			}
			return err == nil
		})
		info := e.info("v")
		e.equal("state", info["state"], "complete")
		e.equal("bytes_quota", info["bytes_quota"], 1<<20)
		if e.path("v") == old {
			e.Errorf("the revived subvolume has the old directory %s", old)
		}
		e.equal("snapshots", e.names("fs subvolume snapshot ls", m{"sub_name": "v"}), []string{"s1"})
		names, err := e.tree().ReadDir(e.ctx, within(old, "s1"))
		e.errno(err, 0, "ReadDir", nil)
		e.equal("files in the snapshot", names, []string{"file"})
	}},
}
