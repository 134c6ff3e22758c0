package conformance

// Identities of cephx.

import (
	"context"
	"errors"
	"sync"

	"github.com/strata-csi/strata/pkg/ceph"
)

// identity is one of this case alone, which goes with it.
func identity(e *env) ceph.Identity {
	i := ceph.Identity{Name: "strata." + e.group + ".volume.default.warm.v", FS: e.FS, Path: "/volumes/" + e.group + "/v", Pool: e.Erasure, Namespace: "fsvolumens__" + e.group + "_v"}
	e.Cleanup(func() {
		if err := ceph.Unmint(context.WithoutCancel(e.ctx), e.Conn, i.Name); err != nil {
			e.Errorf("the identity stays: %v", err)
		}
	})
	return i
}

func (e *env) mint(conn ceph.Conn, i ceph.Identity) string {
	e.Helper()
	key, err := ceph.Mint(e.ctx, conn, i)
	if err != nil {
		e.Fatalf("mint %s: %v", i.Name, err)
	}
	return key.Reveal()
}

var identityCases = []testcase{
	{"the same for everybody who asks", func(e *env) {
		i := identity(e)
		keys := make([]string, 8)
		var group sync.WaitGroup
		for n := range keys {
			conn := e.Conn
			if n%2 == 1 {
				conn = e.Second
			}
			group.Go(func() {
				key, err := ceph.Mint(e.ctx, conn, i)
				if err != nil {
					e.Errorf("mint: %v", err)
				}
				keys[n] = key.Reveal()
			})
		}
		group.Wait()
		for _, k := range keys {
			if k != keys[0] || k == "" {
				e.Fatal("the keys differ")
			}
		}
	}},
	{"never with other capabilities", func(e *env) {
		i := identity(e)
		key := e.mint(e.Conn, i)
		for _, other := range []func(*ceph.Identity){
			func(i *ceph.Identity) { i.ReadOnly = true }, func(i *ceph.Identity) { i.Path += "2" },
			func(i *ceph.Identity) { i.Pool = e.Data }, func(i *ceph.Identity) { i.Namespace += "2" },
		} {
			changed := i
			other(&changed)
			if _, err := ceph.Mint(e.ctx, e.Conn, changed); !errors.Is(err, ceph.ErrOtherCapabilities) {
				e.Errorf("mint %+v: %v", changed, err)
			}
		}
		if e.mint(e.Conn, i) != key {
			e.Error("a refused request changed the key")
		}
	}},
	{"another key after the removal", func(e *env) {
		i := identity(e)
		key := e.mint(e.Conn, i)
		for range 2 { // it may be repeated
			if err := ceph.Unmint(e.ctx, e.Conn, i.Name); err != nil {
				e.Fatal(err)
			}
		}
		if e.mint(e.Conn, i) == key {
			e.Error("the key came back")
		}
	}},
}
