package conformance

// Layouts: which pool and RADOS namespace the data of a directory goes to, and what a clone gets.

import "syscall"

const (
	wholeLayout = "ceph.dir.layout"
	poolAttr    = "ceph.dir.layout.pool"
	spaceAttr   = "ceph.dir.layout.pool_namespace"
)

// layoutIs says what pool and namespace a directory's own layout has.
func layoutIs(e *env, path, pool, namespace string) {
	e.Helper()
	e.equal("pool of "+path, e.xattr(path, poolAttr), pool)
	e.equal("namespace of "+path, e.xattr(path, spaceAttr), namespace)
}

// noLayout says that a directory has no layout of its own.
func noLayout(e *env, path string) {
	e.Helper()
	for _, name := range []string{wholeLayout, poolAttr, spaceAttr} {
		_, err := e.tree().Xattr(e.ctx, path, name)
		e.errno(err, syscall.ENODATA, name, path)
	}
}

// dataDir is the data directory of a clone that may be unfinished.
func dataDir(e *env, name string) string {
	e.Helper()
	names, err := e.tree().ReadDir(e.ctx, e.dir(name))
	e.errno(err, 0, "ReadDir", e.dir(name))
	for _, n := range names {
		if len(n) == 36 {
			return e.dir(name, n)
		}
	}
	e.Fatalf("no data directory in %q", names)
	return ""
}

var layoutCases = []testcase{
	{"a namespace alone begins with the ancestor's layout", func(e *env) {
		if err := e.tree().RemoveXattr(e.ctx, e.dir(), wholeLayout); err != nil {
			e.Fatal(err)
		}
		noLayout(e, e.dir())
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), wholeLayout), syscall.ENODATA, "remove the layout again", nil)
		e.set(e.dir(), spaceAttr, "ns")
		layoutIs(e, e.dir(), e.Data, "ns")
		e.equal("layout", e.xattr(e.dir(), wholeLayout), "stripe_unit=4194304 stripe_count=1 object_size=4194304 pool="+e.Data+" pool_namespace=ns")
	}},
	{"a pool alone begins with the ancestor's namespace", func(e *env) {
		e.set(e.dir(), spaceAttr, "ns")
		if err := e.tree().MakeDir(e.ctx, e.dir("d")); err != nil {
			e.Fatal(err)
		}
		e.Cleanup(func() { _ = e.tree().RemoveDir(e.ctx, e.dir("d")) })
		noLayout(e, e.dir("d"))
		e.set(e.dir("d"), poolAttr, e.Erasure)
		layoutIs(e, e.dir("d"), e.Erasure, "ns")
		layoutIs(e, e.dir(), e.Data, "ns")
	}},
	{"removing the namespace leaves the pool", func(e *env) {
		e.ok("fs subvolumegroup create", m{"pool_layout": e.Erasure})
		e.set(e.dir(), spaceAttr, "ns")
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), spaceAttr), 0, "RemoveXattr", spaceAttr)
		layoutIs(e, e.dir(), e.Erasure, "")
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), spaceAttr), 0, "RemoveXattr again", spaceAttr)
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), poolAttr), syscall.ENODATA, "RemoveXattr", poolAttr)
		e.ok("fs subvolumegroup info", nil)
	}},
	{"removing the namespace where there is no layout", func(e *env) {
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), wholeLayout), 0, "RemoveXattr", wholeLayout)
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), spaceAttr), 0, "RemoveXattr", spaceAttr)
		layoutIs(e, e.dir(), e.Data, "")
	}},
	{"a group without layout has no info", func(e *env) {
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), wholeLayout), 0, "RemoveXattr", wholeLayout)
		e.refused(syscall.ENODATA, "fs subvolumegroup info", nil)
		e.create("v", nil) // but works
	}},
	{"a pool that isn't a data pool", func(e *env) {
		for _, pool := range []string{"conf-none", e.Meta} {
			e.errno(e.tree().SetXattr(e.ctx, e.dir(), poolAttr, pool), syscall.EINVAL, "SetXattr", pool)
		}
	}},
	{"stripes", func(e *env) {
		path := e.create("v", nil)
		e.set(path, "ceph.dir.layout.object_size", "8388608")
		e.set(path, "ceph.dir.layout.stripe_unit", "1048576")
		e.set(path, "ceph.dir.layout.stripe_count", "2")
		e.equal("layout", e.xattr(path, wholeLayout), "stripe_unit=1048576 stripe_count=2 object_size=8388608 pool="+e.Erasure+" pool_namespace=fsvolumens_v")
		for name, value := range map[string]string{
			"stripe_unit": "3", "object_size": "65536", "stripe_count": "0",
		} {
			e.errno(e.tree().SetXattr(e.ctx, path, "ceph.dir.layout."+name, value), syscall.EINVAL, "SetXattr "+name, value)
		}
		e.errno(e.tree().SetXattr(e.ctx, path, "ceph.dir.layout.nonsense", "1"), syscall.ENODATA, "SetXattr", "nonsense")
	}},
	{"an isolated subvolume has its own namespace whatever the group's", func(e *env) {
		e.set(e.dir(), spaceAttr, "ns")
		layoutIs(e, e.create("v", nil), e.Erasure, "fsvolumens_v")
		e.ok("fs subvolume create", m{"sub_name": "w", "pool_layout": e.Erasure})
		layoutIs(e, e.path("w"), e.Erasure, "ns")
		e.ok("fs subvolume create", m{"sub_name": "x"})
		layoutIs(e, e.path("x"), e.Data, "ns")
	}},
	{"a clone with a pool has no namespace", func(e *env) {
		original(e)
		e.clone("v", "s1", "c", m{"pool_layout": e.Erasure})
		layoutIs(e, dataDir(e, "c"), e.Erasure, "")
		e.finish("c")
		e.fields(e.info("c"), m{"data_pool": e.Erasure, "pool_namespace": ""})
	}},
	{"a clone without a pool has its source's layout", func(e *env) {
		original(e)
		e.set(e.dir(), spaceAttr, "ns") // doesn't matter
		e.clone("v", "s1", "c", nil)
		layoutIs(e, dataDir(e, "c"), e.Erasure, "fsvolumens_v")
		e.finish("c")
	}},
	{"a clone with a pool has the namespace lent to its group", func(e *env) {
		original(e)
		e.set(e.dir(), spaceAttr, "lent")
		e.clone("v", "s1", "c", m{"pool_layout": e.Erasure})
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), spaceAttr), 0, "RemoveXattr", spaceAttr)
		layoutIs(e, dataDir(e, "c"), e.Erasure, "lent")
		e.finish("c")
		layoutIs(e, e.path("c"), e.Erasure, "lent")
		e.fields(e.info("c"), m{"data_pool": e.Erasure, "pool_namespace": "lent"})
		layoutIs(e, e.dir(), e.Data, "")
	}},
	{"a clone has the stripes lent to its group", func(e *env) {
		original(e)
		e.set(e.dir(), "ceph.dir.layout.object_size", "8388608")
		e.set(e.dir(), spaceAttr, "lent")
		e.clone("v", "s1", "c", m{"pool_layout": e.Erasure})
		e.errno(e.tree().RemoveXattr(e.ctx, e.dir(), wholeLayout), 0, "RemoveXattr", wholeLayout)
		e.equal("layout", e.xattr(dataDir(e, "c"), wholeLayout),
			"stripe_unit=4194304 stripe_count=1 object_size=8388608 pool="+e.Erasure+" pool_namespace=lent")
		e.finish("c")
	}},
}
