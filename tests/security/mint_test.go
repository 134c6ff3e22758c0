package security

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/ceph/librados"
	"github.com/strata-csi/strata/tests/harness"
)

// BenchmarkMint compares the two ways to an identity for a volume, from one and from eight callers at a time, each with the way to its
// key: what is reported is the time that each identity takes the cluster. docs/decisions/0030 has the figures.
//
//	go test -tags pacific -run '^$' -bench Mint -benchtime 40x ./tests/security
func BenchmarkMint(b *testing.B) {
	cluster := harness.NewCeph(b)
	conn, err := librados.Dial(context.Background(), librados.Options{Monitors: []string{cluster.Monitor}, User: "admin", Key: cluster.Key(b, "admin")})
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	fs := ceph.NewFS(conn, harness.FS)
	group := string(harness.NewPrefix(b)) + ".mint"
	if err := fs.CreateGroup(b.Context(), group); err != nil {
		b.Fatal(err)
	}
	const volumes = 8
	paths := make([]string, volumes)
	subs := make([]ceph.Subvolume, volumes)
	for i := range subs {
		subs[i] = ceph.Subvolume{Group: group, Name: fmt.Sprintf("v%d", i)}
		if err := fs.Create(b.Context(), subs[i], ceph.SubvolumeOptions{Size: 64 * mib, Pool: harness.ECPool}); err != nil {
			b.Fatal(err)
		}
		if paths[i], err = fs.DataDirectory(b.Context(), subs[i].Base()); err != nil {
			b.Fatal(err)
		}
	}
	b.Cleanup(func() {
		for _, s := range subs {
			cluster.Run(b, "fs", "subvolume", "rm", harness.FS, s.Name, "--group_name", s.Group)
		}
		cluster.Run(b, "fs", "subvolumegroup", "rm", harness.FS, group)
	})
	var number atomic.Int64
	name := func() string { return fmt.Sprintf("strata.%s.%d", group, number.Add(1)) }
	ways := []struct {
		name string
		mint func(context.Context, int, string) error
	}{
		{"monitor", func(ctx context.Context, v int, name string) error {
			_, err := ceph.Mint(ctx, conn, ceph.Identity{Name: name, FS: harness.FS, Path: paths[v], Pool: harness.ECPool, Namespace: "fsvolumens__" + subs[v].Group + "_" + subs[v].Name})
			return err
		}},
		{"manager", func(ctx context.Context, v int, name string) error {
			// With tenant_id the answer holds the key.
			out, err := conn.Mgr(ctx, map[string]any{"prefix": "fs subvolume authorize", "vol_name": harness.FS, "sub_name": subs[v].Name, "group_name": subs[v].Group,
				"auth_id": name, "access_level": "rw", "tenant_id": "strata"})
			if err == nil && strings.TrimSpace(string(out)) == "" {
				err = fmt.Errorf("no key for %s", name)
			}
			return err
		}},
	}
	for _, callers := range []int{1, volumes} {
		for _, way := range ways {
			b.Run(fmt.Sprintf("%s/callers=%d", way.name, callers), func(b *testing.B) {
				var mu sync.Mutex
				made := map[string]int{} // names, and for which volume
				var left atomic.Int64
				left.Store(int64(b.N))
				var group sync.WaitGroup
				for caller := range callers {
					group.Go(func() {
						for left.Add(-1) >= 0 {
							n := name()
							if err := way.mint(b.Context(), caller, n); err != nil {
								b.Error(err)
								return
							}
							mu.Lock()
							made[n] = caller
							mu.Unlock()
						}
					})
				}
				group.Wait()
				b.StopTimer()
				for n, v := range made {
					var err error
					if way.name == "manager" { // it keeps books of its own
						_, err = conn.Mgr(context.Background(), map[string]any{"prefix": "fs subvolume deauthorize", "vol_name": harness.FS, "sub_name": subs[v].Name,
							"group_name": subs[v].Group, "auth_id": n})
					}
					if err := errors.Join(err, ceph.Unmint(context.Background(), conn, n)); err != nil {
						b.Error(err)
					}
				}
			})
		}
	}
}
