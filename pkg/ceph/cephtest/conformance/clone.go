package conformance

// Clones of snapshots: the manager copies them in the background.

import (
	"slices"
	"strings"
	"syscall"
)

// original makes subvolume "v" with one file and snapshot "s1", and returns its data directory.
func original(e *env) string {
	e.Helper()
	path := e.create("v", m{"uid": 1000, "gid": 1001, "mode": "770"})
	e.Write(e.T, path+"/file", 4096)
	e.until("use seen", func() bool { return e.xattr(path, "ceph.dir.rbytes") == "4096" })
	e.set(path, "ceph.quota.max_files", "100")
	e.snap("v", "s1")
	return path
}

// hold keeps clones from running until the returned function is called, which is harmless to repeat.
func hold(e *env) (release func()) {
	e.HoldClones(e.T, true)
	held := true
	release = func() {
		if held {
			e.HoldClones(e.T, false)
			held = false
		}
	}
	e.Cleanup(release)
	return release
}

var cloneCases = []testcase{
	{"a finished clone is a subvolume", func(e *env) {
		original(e)
		e.clone("v", "s1", "c", m{"pool_layout": e.Erasure})
		e.finish("c")
		state, status := e.status("c")
		e.equal("state", state, "complete")
		e.equal("source", status["source"], nil)
		path := e.path("c")
		e.fields(e.info("c"), m{
			"type": "clone", "state": "complete", "path": path, "uid": 1000, "gid": 1001, "mode": 0o40770, "bytes_quota": 1 << 30,
			"bytes_used": 4096, "data_pool": e.Erasure,
		})
		e.equal("max_files", e.xattr(path, "ceph.quota.max_files"), "100")
		names, err := e.tree().ReadDir(e.ctx, path)
		e.errno(err, 0, "ReadDir", path)
		e.equal("files", names, []string{"file"})
		e.refused(syscall.EINVAL, "fs clone cancel", m{"clone_name": "c"})
		e.ok("fs subvolume resize", m{"sub_name": "c", "new_size": "2147483648"})
		e.ok("fs subvolume rm", m{"sub_name": "c"})
	}},
	{"an unfinished clone isn't ready", func(e *env) {
		original(e)
		release := hold(e)
		e.clone("v", "s1", "c", m{"pool_layout": e.Erasure})
		for _, c := range []struct {
			prefix string
			args   m
		}{
			{"fs subvolume info", nil},
			{"fs subvolume rm", nil},
			{"fs subvolume rm", m{"force": true}},
			{"fs subvolume rm", m{"retain_snapshots": true}},
			{"fs subvolume create", nil},
			{"fs subvolume snapshot create", m{"snap_name": "s2"}},
			{"fs subvolume resize", m{"new_size": "2147483648"}},
		} {
			args := m{"sub_name": "c"}
			for k, v := range c.args {
				args[k] = v
			}
			e.refused(syscall.EAGAIN, c.prefix, args)
		}
		e.refused(syscall.EEXIST, "fs subvolume snapshot clone", m{"sub_name": "v", "snap_name": "s1", "target_sub_name": "c", "target_group_name": e.group})
		state, status := e.status("c")
		if state != "pending" && state != "in-progress" {
			e.Errorf("status is %v", status)
		}
		e.equal("source", status["source"], m{"volume": e.FS, "group": e.group, "subvolume": "v", "snapshot": "s1"})
		names, err := e.tree().ReadDir(e.ctx, e.dir("c"))
		if err != nil || !slices.ContainsFunc(names, func(n string) bool { return len(n) == 36 }) {
			e.Errorf("an unfinished clone's base directory has no data directory: %q, %v", names, err)
		}
		e.equal("list", e.names("fs subvolume ls", nil), []string{"c", "v"})
		release()
		e.finish("c")
	}},
	{"its snapshot is held", func(e *env) {
		original(e)
		release := hold(e)
		e.clone("v", "s1", "c", m{"pool_layout": e.Erasure})
		info := e.object("fs subvolume snapshot info", m{"sub_name": "v", "snap_name": "s1"})
		e.equal("has_pending_clones", info["has_pending_clones"], "yes")
		e.equal("pending_clones", info["pending_clones"], []m{{"name": "c", "target_group": e.group}})
		e.refused(syscall.EAGAIN, "fs subvolume snapshot rm", m{"sub_name": "v", "snap_name": "s1"})
		e.refused(syscall.EAGAIN, "fs subvolume snapshot rm", m{"sub_name": "v", "snap_name": "s1", "force": true})
		e.ok("fs subvolume rm", m{"sub_name": "v", "retain_snapshots": true}) // the snapshot stays
		release()
		e.finish("c")
		e.ok("fs subvolume snapshot rm", m{"sub_name": "v", "snap_name": "s1"})
	}},
	{"the queue has it until it has ended", func(e *env) {
		original(e)
		release := hold(e)
		e.clone("v", "s1", "c", m{"pool_layout": e.Erasure})
		link := e.queued()["c"]
		if len(link) != 36 || strings.Count(link, "-") != 4 {
			e.Errorf("the link is named %q, want a UUID", link)
		}
		target, err := e.tree().ReadLink(e.ctx, cloneIndex+"/"+link)
		e.errno(err, 0, "ReadLink", link)
		e.equal("target", target, e.dir("c"))
		target, err = e.Second.Tree(e.FS).ReadLink(e.ctx, cloneIndex+"/"+link)
		e.errno(err, 0, "ReadLink", "from another client")
		e.equal("target", target, e.dir("c"))
		release()
		e.finish("c")
		_, err = e.tree().ReadLink(e.ctx, cloneIndex+"/"+link)
		e.errno(err, syscall.ENOENT, "ReadLink", "struck off")
		// With the link, the source's record has gone.
		e.equal("has_pending_clones", e.object("fs subvolume snapshot info", m{"sub_name": "v", "snap_name": "s1"})["has_pending_clones"], "no")
		e.ok("fs subvolume snapshot rm", m{"sub_name": "v", "snap_name": "s1"})
	}},
	{"cancel, then remove by force", func(e *env) {
		original(e)
		release := hold(e)
		e.clone("v", "s1", "c", m{"pool_layout": e.Erasure})
		e.ok("fs clone cancel", m{"clone_name": "c"})
		var status m
		e.until("canceled", func() (done bool) {
			var state string
			state, status = e.status("c")
			return state == "canceled"
		})
		release()
		e.struckOff("c")
		e.equal("failure", status["failure"], m{"errno": "4", "error_msg": "user interrupted clone operation"})
		e.equal("source", status["source"], m{"volume": e.FS, "group": e.group, "subvolume": "v", "snapshot": "s1"})
		e.refused(syscall.EINVAL, "fs clone cancel", m{"clone_name": "c"})
		e.refused(syscall.EAGAIN, "fs subvolume info", m{"sub_name": "c"})
		e.refused(syscall.EAGAIN, "fs subvolume rm", m{"sub_name": "c"})
		e.refused(syscall.EAGAIN, "fs subvolume rm", m{"sub_name": "c", "retain_snapshots": true})
		e.refused(syscall.EEXIST, "fs subvolume snapshot clone", m{"sub_name": "v", "snap_name": "s1", "target_sub_name": "c", "target_group_name": e.group})
		e.ok("fs subvolume rm", m{"sub_name": "c", "force": true})
		e.refused(syscall.ENOENT, "fs clone status", m{"clone_name": "c"})
		e.ok("fs subvolume snapshot rm", m{"sub_name": "v", "snap_name": "s1"})
	}},
	{"a clone of a husk's snapshot", func(e *env) {
		husk(e)
		e.clone("v", "s1", "c", m{"pool_layout": e.Erasure})
		e.finish("c")
		e.fields(e.info("c"), m{"bytes_used": 4096, "uid": 1000, "mode": 0o40770})
	}},
	{"refusals leave nothing", func(e *env) {
		original(e)
		e.create("w", nil)
		for _, c := range []struct {
			want syscall.Errno
			args m
		}{
			{syscall.ENOENT, m{"snap_name": "none"}},
			{syscall.ENOENT, m{"target_group_name": "conf-none"}},
			{syscall.EEXIST, m{"target_sub_name": "w"}},
			{syscall.EEXIST, m{"target_sub_name": "v"}},
			{syscall.EINVAL, m{"pool_layout": "conf-none"}},
			{syscall.EINVAL, m{"pool_layout": e.Meta}},
		} {
			args := m{"sub_name": "v", "snap_name": "s1", "target_sub_name": "c", "target_group_name": e.group}
			for k, v := range c.args {
				args[k] = v
			}
			e.refused(c.want, "fs subvolume snapshot clone", args)
		}
		e.equal("list", e.names("fs subvolume ls", nil), []string{"v", "w"})
		e.equal("has_pending_clones", e.object("fs subvolume snapshot info", m{"sub_name": "v", "snap_name": "s1"})["has_pending_clones"], "no")
	}},
	{"a subvolume isn't a clone", func(e *env) {
		e.create("v", nil)
		e.refused(syscall.EOPNOTSUPP, "fs clone status", m{"clone_name": "v"})
		e.refused(syscall.EOPNOTSUPP, "fs clone cancel", m{"clone_name": "v"})
	}},
}
