package crash

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/strata-csi/strata/tests/harness"
)

// lookVolume describes a volume by all that the driver gave it.
func (r *run) lookVolume(s *subject) {
	s.t.Helper()
	data := r.root + s.volume.GetVolumeContext()["path"]
	for _, a := range []string{"ceph.quota.max_bytes", "ceph.quota.max_files", "ceph.dir.layout.pool", "ceph.dir.layout.pool_namespace",
		"ceph.dir.layout.stripe_unit", "ceph.dir.layout.stripe_count", "ceph.dir.layout.object_size"} {
		s.note("%s %s", a, harness.Xattr(s.t, data, a))
	}
	s.note("record %s", harness.Xattr(s.t, r.base(s), "user.strata"))
	s.note("data %s", checksum(s.t, data))
	s.note("beside it %v", r.entries(s.t, filepath.Dir(r.base(s))))
	s.note("snapshots %v", r.snapshots(s))
}

// lookSnapshot describes the subject's snapshot.
func (r *run) lookSnapshot(s *subject) {
	s.t.Helper()
	s.note("data %s", checksum(s.t, r.snapshotData(s)))
	s.note("snapshots %v", r.snapshots(s))
}

// lookGone describes what is left of a deleted volume.
func (r *run) lookGone(s *subject) {
	s.t.Helper()
	_, err := r.other.ControllerGetVolume(call(s.t), &csi.ControllerGetVolumeRequest{VolumeId: s.volume.GetVolumeId()})
	s.note("ControllerGetVolume: %v", err)
	s.note("in its group %v", r.entries(s.t, filepath.Dir(r.base(s))))
}

// lookIdentity describes what opens the subject's volume: the identity, that the secret has its key, and the sign of it in the index.
func (r *run) lookIdentity(s *subject) {
	s.t.Helper()
	for entity, u := range r.identities(s) {
		s.note("identity %s %v", entity, u.Caps)
		secret := r.kube.Secrets()[s.name]
		s.note("secret of %s, with its key: %t", secret["userID"], secret["userKey"] == u.Key)
	}
	_, there := r.kube.Secrets()[s.name]
	s.note("a secret: %t", there)
	s.note("index %v", r.index(s))
}

type identity struct {
	Key  string
	Caps map[string]string
}

// identities are the Ceph users of the subject's volume.
func (r *run) identities(s *subject) map[string]identity {
	s.t.Helper()
	var dump struct {
		Auth []struct {
			Entity string `json:"entity"`
			identity
		} `json:"auth_dump"`
	}
	r.ceph.JSON(s.t, &dump, "auth", "ls")
	out := map[string]identity{}
	for _, u := range dump.Auth {
		if strings.HasPrefix(u.Entity, "client.strata."+string(r.prefix)+".") && strings.HasSuffix(u.Entity, "."+s.name) {
			out[u.Entity] = u.identity
		}
	}
	return out
}

// noCopySnapshot says that the source has no snapshot that was taken for a copy into the subject.
func (r *run) noCopySnapshot(s *subject, source *csi.Volume) {
	s.t.Helper()
	for _, name := range r.entries(s.t, path.Join(filepath.Dir(r.root+source.GetVolumeContext()["path"]), ".snap")) {
		if strings.HasPrefix(name, "copy_") && strings.Contains(name, s.name) {
			s.t.Errorf("the source has still the snapshot %s", name)
		}
	}
}

// snapshots are those of the subject's volume, ours for copies included.
func (r *run) snapshots(s *subject) []string {
	s.t.Helper()
	return r.entries(s.t, path.Join(r.base(s), ".snap"))
}

// snapshotData is the content of the subject's snapshot.
func (r *run) snapshotData(s *subject) string {
	s.t.Helper()
	dir := path.Join(r.base(s), ".snap", s.name)
	for _, name := range r.entries(s.t, dir) {
		if uuid.MatchString(name) {
			return path.Join(dir, name)
		}
	}
	s.t.Fatalf("no data directory in %s", dir)
	return ""
}

func (r *run) entries(t testing.TB, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}

// index lists what the driver's index has of the subject.
func (r *run) index(s *subject) []string {
	s.t.Helper()
	var out []string
	for _, p := range harness.Index(s.t, r.root, r.prefix) {
		if strings.HasPrefix(path.Base(p), s.name) {
			out = append(out, p)
		}
	}
	return out
}

// checksum covers names, modes, sizes, link targets and contents of a tree.
func checksum(t testing.TB, dir string) string {
	t.Helper()
	sum := sha256.New()
	files := 0
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		if rel == "." {
			return nil
		}
		fmt.Fprintf(sum, "%s %s\n", rel, info.Mode())
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			fmt.Fprintln(sum, to)
			return err
		case info.Mode().IsRegular():
			body, err := os.ReadFile(p)
			fmt.Fprintf(sum, "%d %s", len(body), body)
			files++
			return err
		}
		return nil
	})
	if err != nil {
		t.Errorf("read back %s: %v", dir, err)
	}
	return fmt.Sprintf("%d files %x", files, sum.Sum(nil)[:8])
}

// leavesNoVolume says that the subject's group is empty. A husk whose data is still being purged when its last snapshot goes is
// removed by the purge.
func (r *run) leavesNoVolume(t *testing.T, s *subject) {
	t.Helper()
	harness.Eventually(t, "the group is empty", harness.Patience, func() error {
		if left := r.entries(t, path.Join(r.root, "volumes", r.group(s))); len(left) > 0 {
			return fmt.Errorf("subvolumes left over: %v", left)
		}
		return nil
	})
}

// leaves says that nothing of the subject is left but its empty group.
func (r *run) leaves(t *testing.T, s *subject) {
	t.Helper()
	r.leavesNoVolume(t, s)
	if left := r.index(s); len(left) > 0 {
		t.Errorf("left over in the index: %v", left)
	}
	if left := r.identities(s); len(left) > 0 {
		t.Errorf("left over are the identities of %d users", len(left))
	}
	if _, there := r.kube.Secrets()[s.name]; there {
		t.Error("left over is the secret")
	}
	r.noCopySnapshot(s, r.source)
	r.noCopySnapshot(s, r.slow)
}

// lendsNothing says that the group has no RADOS namespace for a copy any more. It would still have one after a request that is not
// repeated, until the next copy in the group; no volume takes it, as each names its own.
func (r *run) lendsNothing(t *testing.T, s *subject) {
	t.Helper()
	group := path.Join(r.root, "volumes", r.group(s))
	if _, err := os.Stat(group); errors.Is(err, fs.ErrNotExist) {
		return
	}
	if ns := harness.Xattr(t, group, "ceph.dir.layout.pool_namespace"); ns != "" {
		t.Errorf("the group still lends the RADOS namespace %s", ns)
	}
	if layout := harness.Xattr(t, group, "ceph.dir.layout"); strings.Contains(layout, "object_size=8388608") {
		t.Errorf("the group has the layout of a volume: %s", layout)
	}
}

// finish deletes what the rows shared and lists the cluster.
func (r *run) finish(t *testing.T) {
	t.Helper()
	s := &subject{t: t, team: "src"}
	for _, row := range []struct {
		v *csi.Volume
		s *csi.Snapshot
	}{{r.source, r.snap}, {r.slow, nil}} {
		s.volume, s.taken = row.v, row.s
		r.deleteVolume(s)
		if row.s != nil {
			r.deleteSnapshot(s)
		}
	}
	harness.Eventually(t, "no subvolume is left over", harness.Patience, func() error {
		if left := r.ceph.Subvolumes(t, r.prefix); len(left) > 0 {
			return fmt.Errorf("left over: %v", left)
		}
		return nil
	})
	if left := harness.Index(t, r.root, r.prefix); len(left) > 0 {
		for _, l := range left {
			// A team's own directory stays, as its group does.
			if strings.HasPrefix(l, "volumes/") && strings.Count(l, "/") == 1 || strings.HasPrefix(l, "identities/") && strings.Count(l, "/") <= 2 {
				continue
			}
			t.Errorf("left over in the index: %s", l)
		}
	}
	harness.Eventually(t, "no clone is queued", harness.Patience, func() error {
		for _, link := range r.entries(t, path.Join(r.root, "volumes/_index/clone")) {
			if to, err := os.Readlink(path.Join(r.root, "volumes/_index/clone", link)); err == nil && strings.Contains(to, string(r.prefix)+".") {
				return fmt.Errorf("a clone is still queued: %s", to)
			}
		}
		return nil
	})
	harness.Eventually(t, "the manager purges everything", harness.Patience, func() error {
		for _, name := range r.entries(t, path.Join(r.root, "volumes/_deleting")) {
			base := path.Join(r.root, "volumes/_deleting", name)
			if _, err := os.Stat(base); err != nil {
				continue // purged between the two looks
			}
			if rec := harness.Xattr(t, base, "user.strata"); strings.Contains(rec, string(r.prefix)) {
				return fmt.Errorf("in the trash: %s", rec)
			}
		}
		return r.objects(t)
	})
}

// objects fails when the pool has objects in a RADOS namespace of the prefix.
func (r *run) objects(t testing.TB) error {
	t.Helper()
	n, last := 0, ""
	for line := range strings.Lines(r.ceph.Rados(t, "-p", harness.ECPool, "--all", "ls")) {
		if strings.Contains(line, "__"+string(r.prefix)+".") {
			n, last = n+1, line
		}
	}
	if n > 0 {
		return fmt.Errorf("%d objects, as %s", n, last)
	}
	return nil
}
