package conformance

// Locks, the monitors' answers, and what happens at a deadline.

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
)

const lockSpace = "strata-conformance"

// objectName is an object of this case alone.
func objectName(e *env) string { return "lock-" + e.group }

var lockCases = []testcase{
	{"one holder at a time", func(e *env) {
		o, other := e.Conn.Objects(e.Data, lockSpace), e.Second.Objects(e.Data, lockSpace)
		name := objectName(e)
		e.errno(o.Lock(e.ctx, name, "l", "one", time.Minute), 0, "Lock", nil)
		e.errno(o.Lock(e.ctx, name, "l", "two", time.Minute), syscall.EBUSY, "Lock", "another cookie")
		e.errno(other.Lock(e.ctx, name, "l", "one", time.Minute), syscall.EBUSY, "Lock", "the cookie from another client")
		e.errno(other.Unlock(e.ctx, name, "l", "one"), syscall.ENOENT, "Unlock", "from another client")
		e.errno(o.Unlock(e.ctx, name, "l", "two"), syscall.ENOENT, "Unlock", "another cookie")
		e.errno(o.Lock(e.ctx, name, "m", "two", time.Minute), 0, "Lock", "another name")
		e.errno(e.Conn.Objects(e.Data, lockSpace+"2").Lock(e.ctx, name, "l", "two", time.Second), 0, "Lock", "another namespace")
		e.errno(o.Unlock(e.ctx, name, "l", "one"), 0, "Unlock", nil)
		e.errno(o.Unlock(e.ctx, name, "l", "one"), syscall.ENOENT, "Unlock", "again")
		e.errno(other.Lock(e.ctx, name, "l", "three", time.Second), 0, "Lock", "when free")
	}},
	{"a lease ends", func(e *env) {
		o, other := e.Conn.Objects(e.Data, lockSpace), e.Second.Objects(e.Data, lockSpace)
		name := objectName(e)
		e.errno(o.Lock(e.ctx, name, "l", "one", time.Second), 0, "Lock", nil)
		e.errno(other.Lock(e.ctx, name, "l", "two", time.Second), syscall.EBUSY, "Lock", "in the lease")
		e.Later(1200 * time.Millisecond)
		e.errno(other.Lock(e.ctx, name, "l", "two", time.Minute), 0, "Lock", "after the lease")
		e.errno(o.Lock(e.ctx, name, "l", "one", time.Second), syscall.EBUSY, "Lock", "renewal that is late")
		e.errno(o.Unlock(e.ctx, name, "l", "one"), syscall.ENOENT, "Unlock", "after the lease")
	}},
	{"the holder renews", func(e *env) {
		o, other := e.Conn.Objects(e.Data, lockSpace), e.Second.Objects(e.Data, lockSpace)
		name := objectName(e)
		e.errno(o.Lock(e.ctx, name, "l", "one", time.Second), 0, "Lock", nil)
		e.errno(o.Lock(e.ctx, name, "l", "one", time.Minute), 0, "Lock", "renewal")
		e.Later(1200 * time.Millisecond)
		e.errno(other.Lock(e.ctx, name, "l", "two", time.Second), syscall.EBUSY, "Lock", "in the renewed lease")
	}},
	{"refusals", func(e *env) {
		o := e.Conn.Objects(e.Data, lockSpace)
		e.errno(o.Lock(e.ctx, objectName(e), "l", "one", 0), syscall.EINVAL, "Lock", "without a lease")
		e.errno(o.Lock(e.ctx, "", "l", "one", time.Second), syscall.EINVAL, "Lock", "without an object")
		e.errno(o.Unlock(e.ctx, "none-"+objectName(e), "l", "one"), syscall.ENOENT, "Unlock", "missing object")
		e.errno(e.Conn.Objects("conf-none", "x").Lock(e.ctx, "o", "l", "one", time.Second), syscall.ENOENT, "Lock", "missing pool")
	}},
}

// ask sends a command to the monitors and decodes the answer.
func ask[T any](e *env, command m) (v T) {
	e.Helper()
	out, err := e.Conn.Mon(e.ctx, command)
	if err != nil {
		e.Fatalf("%v: %v", command, err)
	}
	if err := json.Unmarshal(out, &v); err != nil {
		e.Fatalf("%v: %v", command, err)
	}
	return v
}

// fsMap is what Strata reads of a file system's map.
type fsMap struct {
	Map struct {
		Name      string `json:"fs_name"`
		DataPools []int  `json:"data_pools"`
		MetaPool  int    `json:"metadata_pool"`
		Info      map[string]struct {
			State string `json:"state"`
		} `json:"info"`
	} `json:"mdsmap"`
}

// check compares a map with the pools of the configuration.
func (f fsMap) check(e *env, ids map[string]int) {
	e.Helper()
	e.equal("fs_name", f.Map.Name, e.FS)
	e.equal("data_pools", f.Map.DataPools, []int{ids[e.Data], ids[e.Erasure]})
	e.equal("metadata_pool", f.Map.MetaPool, ids[e.Meta])
	active := 0
	for _, d := range f.Map.Info {
		if d.State == "up:active" {
			active++
		}
	}
	e.equal("active metadata servers", active, 1)
}

type poolRow struct {
	ID    int    `json:"pool_id"`
	IDToo int    `json:"pool"`
	Name  string `json:"pool_name"`
	Type  int    `json:"type"`
	Flags string `json:"flags_names"`
}

// poolIDs are the numbers of the pools by name, from `osd pool ls detail`.
func poolIDs(e *env) map[string]int {
	e.Helper()
	ids := map[string]int{}
	for _, p := range ask[[]poolRow](e, m{"prefix": "osd pool ls", "detail": "detail", "format": "json"}) {
		ids[p.Name] = p.ID
	}
	return ids
}

var monitorCases = []testcase{
	{"pools", func(e *env) {
		dump := ask[struct{ Pools []poolRow }](e, m{"prefix": "osd dump", "format": "json"}).Pools
		for _, rows := range [][]poolRow{dump, ask[[]poolRow](e, m{"prefix": "osd pool ls", "detail": "detail", "format": "json"})} {
			types, overwrites := map[string]int{}, map[string]bool{}
			for _, p := range rows {
				types[p.Name] = p.Type
				overwrites[p.Name] = slices.Contains(strings.Split(p.Flags, ","), "ec_overwrites")
				if p.ID+p.IDToo == 0 {
					e.Errorf("pool %s has no number", p.Name)
				}
			}
			e.equal("type of data pool", types[e.Data], 1)
			e.equal("type of erasure-coded pool", types[e.Erasure], 3)
			e.equal("overwrites of erasure-coded pool", overwrites[e.Erasure], true)
			e.equal("overwrites of data pool", overwrites[e.Data], false)
		}
	}},
	{"file systems", func(e *env) {
		ids := poolIDs(e)
		ask[fsMap](e, m{"prefix": "fs get", "fs_name": e.FS, "format": "json"}).check(e, ids)
		dump := ask[struct{ Filesystems []fsMap }](e, m{"prefix": "fs dump", "format": "json"})
		stat := ask[struct {
			FSMap struct{ Filesystems []fsMap }
		}](e, m{"prefix": "mds stat", "format": "json"})
		for _, list := range [][]fsMap{dump.Filesystems, stat.FSMap.Filesystems} {
			i := slices.IndexFunc(list, func(f fsMap) bool { return f.Map.Name == e.FS })
			if i < 0 {
				e.Fatalf("%s isn't in %v", e.FS, list)
			}
			list[i].check(e, ids)
		}
		ls := ask[[]struct {
			Name  string   `json:"name"`
			Meta  string   `json:"metadata_pool"`
			Pools []string `json:"data_pools"`
		}](e, m{"prefix": "fs ls", "format": "json"})
		i := slices.IndexFunc(ls, func(f struct {
			Name  string   `json:"name"`
			Meta  string   `json:"metadata_pool"`
			Pools []string `json:"data_pools"`
		}) bool {
			return f.Name == e.FS
		})
		if i < 0 {
			e.Fatalf("%s isn't in %v", e.FS, ls)
		}
		e.equal("fs ls", ls[i].Pools, []string{e.Data, e.Erasure})
	}},
	{"free space", func(e *env) {
		df := ask[struct {
			Pools []struct {
				Name  string
				Stats struct {
					Available int64 `json:"max_avail"`
				}
			}
		}](e, m{"prefix": "df", "format": "json"})
		free := map[string]int64{}
		for _, p := range df.Pools {
			free[p.Name] = p.Stats.Available
		}
		if free[e.Data] <= 0 || free[e.Erasure] <= 0 {
			e.Errorf("free space is %v", free)
		}
	}},
	{"the manager", func(e *env) {
		stat := ask[struct{ Available bool }](e, m{"prefix": "mgr stat", "format": "json"})
		e.equal("available", stat.Available, true)
		status := ask[struct{ MgrMap struct{ Available bool } }](e, m{"prefix": "status", "format": "json"})
		e.equal("available in status", status.MgrMap.Available, true)
	}},
	{"refusals", func(e *env) {
		_, err := e.Conn.Mon(e.ctx, m{"prefix": "fs get", "fs_name": "conf-none"})
		e.errno(err, syscall.ENOENT, "fs get", nil)
		_, err = e.Conn.Mon(e.ctx, m{"prefix": "conjure"})
		e.errno(err, syscall.EINVAL, "conjure", nil)
	}},
}

var deadlineCases = []testcase{
	{"a call whose time is up isn't sent", func(e *env) {
		ctx, cancel := context.WithCancel(e.ctx)
		cancel()
		calls := map[string]func() error{
			"Mgr":   func() error { _, err := e.Conn.Mgr(ctx, m{"prefix": "fs subvolume ls", "vol_name": e.FS}); return err },
			"Mon":   func() error { _, err := e.Conn.Mon(ctx, m{"prefix": "df"}); return err },
			"Tree":  func() error { return e.tree().MakeDir(ctx, e.dir("never")) },
			"Lock":  func() error { return e.Conn.Objects(e.Data, lockSpace).Lock(ctx, objectName(e), "l", "c", time.Second) },
			"Xattr": func() error { return e.tree().SetXattr(ctx, e.dir(), "user.never", "x") },
		}
		for name, call := range calls {
			if err := call(); !errors.Is(err, ceph.ErrHung) || !errors.Is(err, context.Canceled) {
				e.Errorf("%s: %v, want ErrHung and context.Canceled", name, err)
			}
		}
		names, err := e.tree().ReadDir(e.ctx, e.dir())
		e.errno(err, 0, "ReadDir", nil)
		e.equal("directories made", len(names), 0)
	}},
}
