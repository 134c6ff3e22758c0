package conformance

// Attributes and directories.

import (
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

var attributeCases = []testcase{
	{"write, read, remove", func(e *env) {
		for name, value := range map[string]string{
			"short": "x", "empty": "", "beyond 1 KiB": strings.Repeat("ä", 3000), "binary": "a\x00b\xff",
		} {
			e.set(e.dir(), "user.conf", value)
			e.equal(name, e.xattr(e.dir(), "user.conf"), value)
		}
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), "user.conf"), 0, "RemoveXattr", nil)
		_, err := e.tree().Xattr(e.ctx, e.dir(), "user.conf")
		e.errno(err, syscall.ENODATA, "Xattr", nil)
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), "user.conf"), syscall.ENODATA, "RemoveXattr", nil)
	}},
	{"a missing path", func(e *env) {
		_, err := e.tree().Xattr(e.ctx, e.dir("none"), "user.conf")
		e.errno(err, syscall.ENOENT, "Xattr", nil)
		e.errno(e.tree().SetXattr(e.ctx, e.dir("none"), "user.conf", "x"), syscall.ENOENT, "SetXattr", nil)
		e.errno(e.tree().CreateXattr(e.ctx, e.dir("none"), "user.conf", "x"), syscall.ENOENT, "CreateXattr", nil)
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir("none"), "user.conf"), syscall.ENOENT, "RemoveXattr", nil)
	}},
	{"a path that isn't absolute", func(e *env) {
		_, err := e.tree().Xattr(e.ctx, "volumes", "user.conf")
		e.errno(err, syscall.EINVAL, "Xattr", nil)
	}},
	{"a missing file system", func(e *env) {
		_, err := e.Conn.Tree("conf-none").Xattr(e.ctx, "/", "user.conf")
		e.errno(err, syscall.ENOENT, "Xattr", nil)
	}},
	{"create only once", func(e *env) {
		e.errno(e.tree().CreateXattr(e.ctx, e.dir(), "user.conf", "first"), 0, "CreateXattr", nil)
		e.errno(e.tree().CreateXattr(e.ctx, e.dir(), "user.conf", "second"), syscall.EEXIST, "CreateXattr", nil)
		e.errno(e.Second.Tree(e.FS).CreateXattr(e.ctx, e.dir(), "user.conf", "third"), syscall.EEXIST, "CreateXattr of another client", nil)
		e.equal("value", e.xattr(e.dir(), "user.conf"), "first")
	}},
	{"one of many creators wins", func(e *env) {
		var won atomic.Int32
		var all sync.WaitGroup
		for i := range 8 {
			conn := e.Conn
			if i%2 == 1 {
				conn = e.Second
			}
			all.Go(func() {
				if conn.Tree(e.FS).CreateXattr(e.ctx, e.dir(), "user.conf", string(rune('a'+i))) == nil {
					won.Add(1)
				}
			})
		}
		all.Wait()
		e.equal("winners", won.Load(), 1)
	}},
	{"another client sees a change at once", func(e *env) {
		second := e.Second.Tree(e.FS)
		for _, value := range []string{"one", "two"} {
			e.set(e.dir(), "user.conf", value)
			got, err := second.Xattr(e.ctx, e.dir(), "user.conf")
			e.errno(err, 0, "Xattr", nil)
			e.equal("value", got, value)
		}
	}},
	{"too much", func(e *env) {
		e.set(e.dir(), "user.other", "x") // the first one isn't measured
		e.errno(e.tree().SetXattr(e.ctx, e.dir(), "user.conf", strings.Repeat("x", 70000)), syscall.ENOSPC, "SetXattr", nil)
	}},
	{"names without or with an unknown meaning", func(e *env) {
		e.errno(e.tree().SetXattr(e.ctx, e.dir(), "conf", "x"), syscall.EOPNOTSUPP, "SetXattr", "conf")
		e.errno(e.tree().SetXattr(e.ctx, e.dir(), "ceph.conf", "x"), syscall.EINVAL, "SetXattr", "ceph.conf")
		e.errno(e.tree().SetXattr(e.ctx, e.dir(), "ceph.dir.rbytes", "1"), syscall.EOPNOTSUPP, "SetXattr", "ceph.dir.rbytes")
		_, err := e.tree().Xattr(e.ctx, e.dir(), "conf")
		e.errno(err, syscall.ENODATA, "Xattr", "conf")
	}},
	{"quotas", func(e *env) {
		const bytes, files = "ceph.quota.max_bytes", "ceph.quota.max_files"
		unset := func() {
			e.Helper()
			for _, name := range []string{bytes, files} {
				_, err := e.tree().Xattr(e.ctx, e.dir(), name)
				e.errno(err, syscall.ENODATA, name, nil)
			}
		}
		unset()
		e.set(e.dir(), files, "12")
		e.equal(files, e.xattr(e.dir(), files), "12")
		e.equal(bytes, e.xattr(e.dir(), bytes), "0") // there while the other is
		e.set(e.dir(), bytes, "4096")
		e.set(e.dir(), files, "0")
		e.equal(bytes, e.xattr(e.dir(), bytes), "4096")
		e.equal(files, e.xattr(e.dir(), files), "0")
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), bytes), syscall.ENODATA, "RemoveXattr", bytes)
		for _, value := range []string{"abc", "-5"} {
			e.errno(e.tree().SetXattr(e.ctx, e.dir(), bytes, value), syscall.EINVAL, "SetXattr", value)
		}
		e.set(e.dir(), bytes, "0")
		unset()
	}},
	{"use", func(e *env) {
		path := e.create("v", nil)
		e.equal("rbytes", e.xattr(path, "ceph.dir.rbytes"), "0")
		e.equal("rfiles", e.xattr(path, "ceph.dir.rfiles"), "0")
		e.Write(e.T, path+"/file", 12345)
		e.until("use seen", func() bool { return e.xattr(path, "ceph.dir.rbytes") == "12345" })
		e.equal("rfiles", e.xattr(path, "ceph.dir.rfiles"), "1")
	}},
	{"a subvolume's attributes go with it and not to its clone", func(e *env) {
		path := original(e)
		e.set(e.dir("v"), "user.conf", "base")
		e.set(path, "user.conf", "data")
		e.snap("v", "s2")
		e.clone("v", "s2", "c", m{"pool_layout": e.Erasure})
		e.finish("c")
		for _, p := range []string{e.dir("c"), e.path("c")} {
			_, err := e.tree().Xattr(e.ctx, p, "user.conf")
			e.errno(err, syscall.ENODATA, "Xattr", p)
		}
		e.equal("in the snapshot", e.xattr(within(path, "s2"), "user.conf"), "data")
		e.ok("fs subvolume rm", m{"sub_name": "v", "retain_snapshots": true})
		e.equal("of the husk", e.xattr(e.dir("v"), "user.conf"), "base")
	}},
}

var directoryCases = []testcase{
	{"make, list, remove", func(e *env) {
		for _, name := range []string{"b", "B", "a-1", "a"} {
			e.errno(e.tree().MakeDir(e.ctx, e.dir(name)), 0, "MakeDir", name)
		}
		names, err := e.tree().ReadDir(e.ctx, e.dir())
		e.errno(err, 0, "ReadDir", nil)
		e.equal("names", names, []string{"B", "a", "a-1", "b"})
		for _, name := range names {
			e.errno(e.tree().RemoveDir(e.ctx, e.dir(name)), 0, "RemoveDir", name)
		}
		names, err = e.tree().ReadDir(e.ctx, e.dir())
		e.errno(err, 0, "ReadDir", nil)
		e.equal("names", len(names), 0)
	}},
	{"refusals", func(e *env) {
		e.create("v", nil)
		t := e.tree()
		e.errno(t.MakeDir(e.ctx, e.dir("v")), syscall.EEXIST, "MakeDir", "existing")
		e.errno(t.MakeDir(e.ctx, e.dir("none", "d")), syscall.ENOENT, "MakeDir", "without parent")
		e.errno(t.MakeDir(e.ctx, e.dir(strings.Repeat("n", 256))), syscall.ENAMETOOLONG, "MakeDir", "long name")
		e.errno(t.MakeDir(e.ctx, e.dir("v", ".meta", "d")), syscall.ENOTDIR, "MakeDir", "below a file")
		e.errno(t.RemoveDir(e.ctx, e.dir("v")), syscall.ENOTEMPTY, "RemoveDir", "not empty")
		e.errno(t.RemoveDir(e.ctx, e.dir("none")), syscall.ENOENT, "RemoveDir", "missing")
		_, err := t.ReadDir(e.ctx, e.dir("none"))
		e.errno(err, syscall.ENOENT, "ReadDir", "missing")
		_, err = t.ReadDir(e.ctx, e.dir("v", ".meta"))
		e.errno(err, syscall.ENOTDIR, "ReadDir", "file")
		for path, want := range map[string]syscall.Errno{
			e.dir("v"): syscall.EINVAL, e.dir("v", ".meta"): syscall.EINVAL, e.dir("none"): syscall.ENOENT, e.dir("v", ".meta", "l"): syscall.ENOTDIR,
		} {
			_, err = t.ReadLink(e.ctx, path)
			e.errno(err, want, "ReadLink", path)
		}
	}},
	{"one of many makers wins", func(e *env) {
		var won atomic.Int32
		var all sync.WaitGroup
		for i := range 8 {
			conn := e.Conn
			if i%2 == 1 {
				conn = e.Second
			}
			all.Go(func() {
				if conn.Tree(e.FS).MakeDir(e.ctx, e.dir("d")) == nil {
					won.Add(1)
				}
			})
		}
		all.Wait()
		e.equal("winners", won.Load(), 1)
		e.errno(e.tree().RemoveDir(e.ctx, e.dir("d")), 0, "RemoveDir", nil)
	}},
}
