package security

import (
	"testing"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/tests/harness"
)

// TestTheControllersKeyIsLeast: with the key that the controller of every test works with, nobody can read a volume, make an identity that
// may do more than a volume's, or touch what belongs to another Kubernetes cluster.
func TestTheControllersKeyIsLeast(t *testing.T) {
	l := newLab(t)
	v := l.volume("v")
	prefix := string(l.controller.Prefix)
	user := l.controller.User()
	conn, err := l.dialAs(user, l.ceph.Key(t, user))
	if err != nil {
		t.Fatal(err)
	}
	const name = "client.strata."
	id := ceph.Identity{Name: "strata." + prefix + ".volume.default.warm.x", FS: harness.FS, Path: "/volumes/" + prefix + ".default/x", Pool: harness.ECPool, Namespace: "fsvolumens__" + prefix + ".default_x"}
	if _, err := ceph.Mint(l.call(), conn, id); err != nil {
		t.Fatalf("an identity of its own: %v", err)
	}
	if err := ceph.Unmint(l.call(), conn, id.Name); err != nil {
		t.Fatalf("its removal: %v", err)
	}
	caps := func(more ...string) []string {
		m := map[string]string{"mon": "allow r fsname=warm", "mgr": "allow command none", "mds": "allow rw fsname=warm path=" + id.Path, "osd": "allow rw pool=warm-ec namespace=" + id.Namespace}
		for i := 0; i+1 < len(more); i += 2 {
			m[more[i]] = more[i+1]
		}
		var list []string
		for _, daemon := range []string{"mon", "mgr", "mds", "osd"} {
			if m[daemon] != "" {
				list = append(list, daemon, m[daemon])
			}
		}
		return list
	}
	mint := func(entity string, caps []string) command {
		return mon("auth get-or-create", "entity", entity, "caps", caps)
	}
	own, foreign := name+prefix+".x", name+"other.volume.default.warm.x"
	for _, c := range []command{
		mint(own, caps("mon", "allow *")), mint(own, caps("mgr", "allow *")), mint(own, caps("mgr", "")), mint(own, caps("mds", "allow *")),
		mint(own, caps("mds", "allow rw fsname=warm path="+id.Path+", allow *")), mint(own, caps("mds", "allow rw fsname=warm path=/volumes/other.default/x")),
		mint(own, caps("mds", "allow rw fsname=warm path=/")), mint(own, caps("osd", "allow *")), mint(own, caps("osd", "allow rw pool=warm-ec")),
		mint(own, caps("osd", "allow rw pool=warm-ec namespace="+id.Namespace+", allow rw")), mint(own, caps("osd", "allow rw pool=warm-ec namespace=fsvolumens__other.default_x")),
		mint(own, caps("osd", "allow rwx pool=warm-ec namespace="+id.Namespace)), mon("auth get-or-create", "entity", own), mint(foreign, caps()), mint("client.evil", caps()), mint("client.strata", caps()),
		mon("auth ls"), mon("auth export"), mon("auth get", "entity", "client.admin"), mon("auth get-key", "entity", name+prefix+".volume.default.warm.v"),
		mon("auth rm", "entity", "client.admin"), mon("auth rm", "entity", foreign), mon("auth caps", "entity", "client."+user, "caps", []string{"mon", "allow *"}),
		mon("auth import"), mon("config-key ls"), mon("fs authorize", "filesystem", harness.FS, "entity", "client.evil", "caps", []string{"/", "rw"}),
		mgr("fs subvolume authorize", "vol_name", harness.FS, "sub_name", "v", "group_name", prefix+".default", "auth_id", "evil"),
		mgr("fs subvolume create", "vol_name", harness.FS, "sub_name", "v", "group_name", "other.default"), mgr("fs subvolume create", "vol_name", harness.FS, "sub_name", "v"),
		mgr("fs subvolume rm", "vol_name", harness.FS, "sub_name", "v", "group_name", "other.default"), mgr("fs subvolumegroup rm", "vol_name", harness.FS, "group_name", prefix+".default"),
		mgr("fs subvolume snapshot clone", "vol_name", harness.FS, "sub_name", "v", "snap_name", "s", "target_sub_name", "w", "group_name", "other.default", "target_group_name", prefix+".default"),
		mgr("fs subvolume snapshot clone", "vol_name", harness.FS, "sub_name", "v", "snap_name", "s", "target_sub_name", "w", "group_name", prefix+".default", "target_group_name", "other.default"),
		mgr("fs volume rm", "vol_name", harness.FS, "yes-i-really-mean-it", "--yes-i-really-mean-it"), mgr("pg dump"),
	} {
		refused(t, c.String(), l.send(conn, c))
	}
	// Shutting out clients, and seeing them, is for the user for fencing.
	refused(t, "osd blocklist", l.send(conn, mon("osd blocklist", "blocklistop", "add", "addr", "127.0.0.1:0/1")))
	_, err = ceph.Sessions(l.call(), conn, harness.FS, user)
	refused(t, "session ls", err)
	attacker := l.ceph.As(t, map[string]string{"userID": user, "userKey": l.ceph.Key(t, user)})
	for _, object := range l.objects(v) {
		_, err := attacker.Run("rados", "-p", v.pool, "-N", v.namespace, "get", object, "/dev/null")
		refused(t, "read an object of a volume", err)
	}
	l.delete(v)
}
