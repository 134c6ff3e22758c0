package warm_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/pkg/ceph/cephtest"
	"github.com/strata-csi/strata/pkg/volume"
)

// wantIdentity says what the one identity of a volume may do, and that its secret has its key.
func (l *lab) wantIdentity(secret, entity string, caps map[string]string) {
	l.t.Helper()
	have, ok := l.ceph.Users()[entity]
	if !ok {
		l.t.Fatalf("no identity %s; there are %v", entity, l.ceph.Users())
	}
	if !maps.Equal(have, caps) {
		l.t.Errorf("%s may do %v, want %v", entity, have, caps)
	}
	s, ok := l.secrets.get(secret)
	if !ok {
		l.t.Fatalf("no secret %s", secret)
	}
	if want := map[string]string{"userID": strings.TrimPrefix(entity, "client."), "userKey": l.ceph.Key(entity)}; !maps.Equal(s.fields, want) {
		l.t.Errorf("secret %s doesn't have the identity's name and key", secret)
	}
}

func TestVolumeWithAnIdentity(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(own(spec("pvc-1", gib, "team", "red")))
	path := v.Context["path"]
	l.wantIdentity("pvc-1", "client.strata.dev.volume.red.warm.pvc-1", map[string]string{
		"mon": "allow r fsname=warm", "mgr": "allow command none", "mds": "allow rw fsname=warm path=" + path, "osd": "allow rw pool=warm-ec namespace=fsvolumens__dev.red_pvc-1"})
	for key, value := range v.Context {
		if strings.Contains(value, l.ceph.Key("client.strata.dev.volume.red.warm.pvc-1")) {
			t.Errorf("the context's %s holds the key", key)
		}
	}
	if again := l.create(own(spec("pvc-1", gib, "team", "red"))); again.ID != v.ID || len(l.ceph.Users()) != 1 {
		t.Errorf("repeated: %v, %v", again, l.ceph.Users())
	}
	for range 2 {
		if err := l.Delete(t.Context(), v.ID); err != nil {
			t.Fatal(err)
		}
		l.wantEmpty()
	}
}

func TestIdentityThatOnlyReads(t *testing.T) {
	l := newLab(t, options{})
	s := own(spec("pvc-1", gib))
	s.Access = volume.Access{ReadOnly: true}
	v := l.create(s)
	l.wantIdentity("pvc-1", "client.strata.dev.volume.default.warm.pvc-1", map[string]string{
		"mon": "allow r fsname=warm", "mgr": "allow command none", "mds": "allow r fsname=warm path=" + v.Context["path"], "osd": "allow r pool=warm-ec namespace=fsvolumens__dev.default_pvc-1"})

	source := l.create(spec("source", gib))
	snap := l.snapshot("snap", source)
	s = own(spec("pvc-2", 0))
	s.Source, s.Access = volume.Source{Snapshot: snap.ID}, volume.Access{ReadOnly: true, MultiNode: true}
	backed := l.create(s)
	l.wantIdentity("pvc-2", "client.strata.dev.snapshot.default.warm.pvc-2", map[string]string{
		"mon": "allow r fsname=warm", "mgr": "allow command none", "mds": "allow r fsname=warm path=/volumes/dev.default/source", "osd": "allow r pool=warm-ec namespace=fsvolumens__dev.default_source"})
	for _, id := range []volume.ID{backed.ID, v.ID, source.ID} {
		if err := l.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.DeleteSnapshot(t.Context(), snap.ID); err != nil {
		t.Fatal(err)
	}
	l.wantEmpty()
}

func TestIdentityOfACopy(t *testing.T) {
	l := newLab(t, options{})
	source := l.create(own(spec("source", gib)))
	s := own(spec("copy", gib, "team", "red"))
	s.Source = volume.Source{Volume: source.ID}
	v := l.create(s)
	l.wantIdentity("copy", "client.strata.dev.volume.red.warm.copy", map[string]string{"mon": "allow r fsname=warm", "mgr": "allow command none", "mds": "allow rw fsname=warm path=" + v.Context["path"],
		"osd": "allow rw pool=warm-ec namespace=fsvolumens__dev.red_copy"})
	for _, id := range []volume.ID{v.ID, source.ID} {
		if err := l.Delete(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	l.wantEmpty()
}

// TestIdentityIsPartOfTheRequest: a volume that nodes mount with a shared key isn't one that only its own opens.
func TestIdentityIsPartOfTheRequest(t *testing.T) {
	l := newLab(t, options{})
	l.create(spec("shared", gib))
	_, err := l.Create(t.Context(), own(spec("shared", gib)))
	wantError(t, err, volume.ErrExists)
	l.create(own(spec("mine", gib)))
	_, err = l.Create(t.Context(), spec("mine", gib))
	wantError(t, err, volume.ErrExists)
}

func TestIdentityThatCantBe(t *testing.T) {
	l := newLab(t, options{})
	s := own(spec("v", gib))
	s.Owner = volume.Owner{}
	_, err := l.Create(t.Context(), s)
	wantError(t, err, volume.ErrPrecondition)
	if err != nil && !strings.Contains(err.Error(), "--extra-create-metadata") {
		t.Error(err)
	}
	_, err = l.Create(t.Context(), spec("v", gib, "identity", "pod"))
	wantError(t, err, volume.ErrInvalid)

	without := l.another(options{noKeeper: true})
	_, err = without.Create(t.Context(), own(spec("v", gib)))
	wantError(t, err, volume.ErrPrecondition)
	wantError(t, without.CheckParameters(own(spec("v", gib)).Parameters), volume.ErrPrecondition)
	if err != nil && !strings.Contains(err.Error(), "--kubeconfig") {
		t.Error(err)
	}
	l.wantEmpty()

	// What another controller made is not left half by one that can't remove its secret.
	v := l.create(own(spec("v", gib)))
	wantError(t, without.Delete(t.Context(), v.ID), volume.ErrPrecondition)
	if _, err := l.Get(t.Context(), v.ID); err != nil {
		t.Error(err)
	}
}

// TestOneIdentityForAllWhoAsk: requests at the same time, of two controllers, mint one.
func TestOneIdentityForAllWhoAsk(t *testing.T) {
	l := newLab(t, options{})
	other := l.another(options{})
	var group sync.WaitGroup
	for i := range 8 {
		b := l.Backend
		if i%2 == 1 {
			b = other
		}
		group.Go(func() {
			eventually(t, "it is made", func() error {
				_, err := b.Create(t.Context(), own(spec("pvc-1", gib)))
				return err
			})
		})
	}
	group.Wait()
	if users := l.ceph.Users(); len(users) != 1 {
		t.Errorf("identities: %v", users)
	}
	v := l.create(own(spec("pvc-1", gib)))
	l.wantIdentity("pvc-1", "client.strata.dev.volume.default.warm.pvc-1", map[string]string{"mon": "allow r fsname=warm", "mgr": "allow command none", "mds": "allow rw fsname=warm path=" + v.Context["path"],
		"osd": "allow rw pool=warm-ec namespace=fsvolumens__dev.default_pvc-1"})
}

// TestNameOfARemovedVolume: one that was removed by hand leaves its identity, whose key must not open the next of its name.
func TestNameOfARemovedVolume(t *testing.T) {
	l := newLab(t, options{})
	l.create(own(spec("pvc-1", gib)))
	const entity = "client.strata.dev.volume.default.warm.pvc-1"
	old := l.ceph.Key(entity)
	if _, err := l.ceph.Conn().Mgr(t.Context(), map[string]any{"prefix": "fs subvolume rm", "vol_name": "warm", "sub_name": "pvc-1", "group_name": "dev.default"}); err != nil {
		t.Fatal(err)
	}
	v := l.create(own(spec("pvc-1", gib)))
	if l.ceph.Key(entity) == old {
		t.Error("the old key opens the new volume")
	}
	if s, _ := l.secrets.get("pvc-1"); s.fields["userKey"] == old {
		t.Error("the secret has the old key")
	}
	if err := l.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	l.wantEmpty()
}

// TestIdentityFinishedByRepetition: whatever call of the way fails, with or without having taken effect, the repetition finishes what was
// begun, and a deletion in its place leaves nothing.
func TestIdentityFinishedByRepetition(t *testing.T) {
	steps := func() int { // of a request without a failure
		l := newLab(t, options{})
		var n atomic.Int32
		l.ceph.Intercept(func(cephtest.Call) cephtest.Action { n.Add(1); return cephtest.Action{} })
		l.create(own(spec("pvc-1", gib)))
		return int(n.Load())
	}()
	for step := 1; step <= steps; step++ {
		for _, lost := range []bool{false, true} {
			for _, deleted := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d/lost=%t/deleted=%t", step, lost, deleted), func(t *testing.T) {
					l := newLab(t, options{})
					n := 0
					var mu sync.Mutex
					l.ceph.Intercept(func(cephtest.Call) cephtest.Action {
						mu.Lock()
						defer mu.Unlock()
						n++
						switch {
						case n != step:
							return cephtest.Action{}
						case lost:
							return cephtest.Action{Lose: syscall.ETIMEDOUT}
						}
						return cephtest.Action{Fail: syscall.ETIMEDOUT}
					})
					_, err := l.Create(t.Context(), own(spec("pvc-1", gib)))
					l.ceph.Intercept(nil)
					id := volume.ID("warm:lab:warm:dev.default:pvc-1")
					if !deleted {
						again := l.create(own(spec("pvc-1", gib)))
						if again.ID != id {
							t.Fatalf("after %v: %v", err, again)
						}
						l.wantIdentity("pvc-1", "client.strata.dev.volume.default.warm.pvc-1", map[string]string{"mon": "allow r fsname=warm", "mgr": "allow command none",
							"mds": "allow rw fsname=warm path=" + again.Context["path"], "osd": "allow rw pool=warm-ec namespace=fsvolumens__dev.default_pvc-1"})
					}
					if err := l.Delete(t.Context(), id); err != nil {
						t.Fatal(err)
					}
					l.wantEmpty()
				})
			}
		}
	}
}

func TestSecretThatCantBeKept(t *testing.T) {
	l := newLab(t, options{})
	broken := fmt.Errorf("%w: the API is down", volume.ErrUnavailable)
	l.secrets.breakWith(broken)
	_, err := l.Create(t.Context(), own(spec("pvc-1", gib)))
	wantError(t, err, volume.ErrUnavailable)
	if _, err := l.Get(t.Context(), "warm:lab:warm:dev.default:pvc-1"); !errors.Is(err, volume.ErrNotFound) {
		t.Errorf("a volume that nobody can mount: %v", err)
	}
	l.secrets.breakWith(nil)
	v := l.create(own(spec("pvc-1", gib)))
	l.secrets.breakWith(broken)
	wantError(t, l.Delete(t.Context(), v.ID), volume.ErrUnavailable)
	l.secrets.breakWith(nil)
	if err := l.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	l.wantEmpty()
}

// TestDeletedWhileItIsMade: a deletion that comes between the steps of a creation takes all that the creation then makes, or leaves it to it.
func TestDeletedWhileItIsMade(t *testing.T) {
	for _, at := range []string{"auth get-or-create", "CreateXattr", "MakeDir"} {
		t.Run(at, func(t *testing.T) {
			l := newLab(t, options{})
			l.create(spec("other", gib)) // the group and the index are there
			deleted := false
			l.ceph.Intercept(func(c cephtest.Call) cephtest.Action {
				path, _ := c.Args["path"].(string)
				if deleted || c.Op != at || at != "auth get-or-create" && !strings.HasSuffix(path, "/pvc-1") {
					return cephtest.Action{}
				}
				deleted = true
				return cephtest.Action{Before: func() {
					if err := l.Delete(t.Context(), "warm:lab:warm:dev.default:pvc-1"); err != nil {
						t.Error(err)
					}
				}}
			})
			_, err := l.Create(t.Context(), own(spec("pvc-1", gib)))
			wantError(t, err, volume.ErrPending)
			l.ceph.Intercept(nil)
			if err := l.Delete(t.Context(), "warm:lab:warm:dev.default:other"); err != nil {
				t.Fatal(err)
			}
			l.wantEmpty()
		})
	}
}

func TestRevokeIsForWhatIsLeftOver(t *testing.T) {
	l := newLab(t, options{})
	v := l.create(own(spec("pvc-1", gib)))
	snap := l.snapshot("snap", v)
	s := own(spec("pvc-2", 0))
	s.Source, s.Access = volume.Source{Snapshot: snap.ID}, volume.Access{ReadOnly: true}
	backed := l.create(s)
	for _, id := range []volume.ID{v.ID, backed.ID} {
		wantError(t, l.Revoke(t.Context(), id), volume.ErrPrecondition)
	}
	if len(l.ceph.Users()) != 2 || l.secrets.names() != 2 {
		t.Fatal("it removed what is in use")
	}
	conn := l.ceph.Conn()
	for _, dir := range []string{"/strata/dev/snapshots/snap/pvc-2", "/strata/dev/volumes/dev.default/pvc-2"} {
		if err := conn.Tree("warm").RemoveDir(t.Context(), dir); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Mgr(t.Context(), map[string]any{"prefix": "fs subvolume rm", "vol_name": "warm", "sub_name": "pvc-1", "group_name": "dev.default", "retain_snapshots": true}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for _, id := range []volume.ID{v.ID, backed.ID} {
			if err := l.Revoke(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.DeleteSnapshot(t.Context(), snap.ID); err != nil {
		t.Fatal(err)
	}
	l.wantEmpty()
}
