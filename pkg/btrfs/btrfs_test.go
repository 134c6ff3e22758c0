package btrfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/btrfs"
	"github.com/strata-csi/strata/pkg/btrfs/btrfstest"
)

// newFS is a file system of 512 MiB with simple quotas.
func newFS(t *testing.T) (*btrfs.FS, string) {
	t.Helper()
	path := btrfstest.New(t, 512<<20, "--metadata", "single")
	fs, err := btrfs.Open(path)
	check(t, err)
	t.Cleanup(func() { check(t, fs.Close()) })
	check(t, fs.EnableSimpleQuota())
	return fs, path
}

// limited is a subvolume of a tenant in a group with the limit.
func limited(t *testing.T, fs *btrfs.FS, name string) (*btrfs.Subvolume, btrfs.Group) {
	t.Helper()
	check(t, fs.Create(fs.Dir(), name))
	s, err := fs.Lookup(fs.Dir(), name)
	check(t, err)
	t.Cleanup(func() { _ = s.Close() })
	g := btrfs.NewGroup(1, s.ID)
	check(t, fs.CreateGroup(g))
	check(t, fs.CreateGroup(g))
	check(t, fs.Limit(g, limit))
	for range 2 {
		check(t, fs.Assign(btrfs.NewGroup(0, s.ID), g))
	}
	check(t, s.Chown(65534, 65534))
	return s, g
}

func TestNestedSubvolumesAreChargedToTheGroupOfTheirParent(t *testing.T) {
	fs, path := newFS(t)
	s, g := limited(t, fs, "volume")
	if a := tenant(t, filepath.Join(path, "volume"), "nested"); a.Errors["create"] != 0 || a.Errors["write"] != unix.EDQUOT || a.Written > limit {
		t.Errorf("in a nested subvolume: %+v", a)
	}
	members, err := fs.Members(g)
	if err != nil || len(members) != 2 || !slices.Contains(members, btrfs.NewGroup(0, s.ID)) {
		t.Errorf("members of %s: %v, %v", g, members, err)
	}
	c, err := fs.Charge(g)
	if err != nil || c.Limit != limit || c.Used+c.Reserved < limit/2 || c.Used > limit {
		t.Errorf("%+v, %v", c, err)
	}
}

// TestAnEmptyListOfGroupsLeavesTheLimit is the reason why no pod may reach the ioctls: when it fails, the kernel has become
// stricter, and pkg/scratch/btrfs can do without its overlay.
func TestAnEmptyListOfGroupsLeavesTheLimit(t *testing.T) {
	fs, path := newFS(t)
	_, g := limited(t, fs, "volume")
	if a := tenant(t, filepath.Join(path, "volume"), "empty list"); a.Errors["create"] != 0 || a.Errors["write"] != 0 || a.Written != tooMuch {
		t.Errorf("%+v", a)
	}
	if c, err := fs.Charge(g); err != nil || c.Used > limit/2 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestQuotasAreRootsOwn(t *testing.T) {
	fs, path := newFS(t)
	s, g := limited(t, fs, "volume")
	for what, errno := range tenant(t, filepath.Join(path, "volume"), "groups").Errors {
		if errno != unix.EPERM {
			t.Errorf("%s: %v", what, errno)
		}
	}
	if c, err := fs.Charge(g); err != nil || c.Limit != limit {
		t.Errorf("%s of subvolume %d afterwards: %+v, %v", g, s.ID, c, err)
	}
}

func TestDestroyTakesAllThatIsNested(t *testing.T) {
	fs, path := newFS(t)
	s, g := limited(t, fs, "volume")
	check(t, fs.Create(fs.Dir(), "other"))
	check(t, os.WriteFile(filepath.Join(path, "other", "file"), []byte("precious"), 0o600))
	within := func(name string, do func(*os.File) error) {
		t.Helper()
		f, err := btrfs.OpenBeneath(s.File, name)
		check(t, err)
		check(t, errors.Join(do(f), f.Close())) // what is open isn't cleaned
	}
	for i := range 300 { // more than are found at a time
		check(t, create(s.File, fmt.Sprintf("many%d", i)))
	}
	check(t, deep(s.File, "far"))
	within("many0", func(f *os.File) error { return errors.Join(create(f, "within"), deep(f, "far")) })
	check(t, os.Symlink("../../other", filepath.Join(path, "volume", "many0", "within", "link")))
	check(t, os.Symlink("../other", filepath.Join(path, "volume", "link")))
	// Its owner may make a subvolume read-only, with others in it.
	if errno := raw(filepath.Join(path, "volume", "many0"), 1<<30|8<<16|0x941a, words(2)); errno != 0 {
		t.Fatal(errno)
	}
	ids, err := fs.Destroy(t.Context(), fs.Dir(), "volume")
	check(t, err)
	if len(ids) != 304 || ids[len(ids)-1] != s.ID {
		t.Errorf("%d were destroyed, the last %d; want 304, the last %d", len(ids), ids[len(ids)-1], s.ID)
	}
	check(t, s.Close())
	check(t, fs.Await(t.Context(), ids...))
	for _, id := range ids {
		check(t, fs.RemoveGroup(btrfs.NewGroup(0, id)))
		if state, err := fs.State(id); err != nil || state != btrfs.Gone {
			t.Errorf("subvolume %d: %v, %v", id, state, err)
		}
	}
	check(t, fs.RemoveGroup(g))
	check(t, fs.RemoveGroup(g))
	if groups, err := fs.Groups(1); err != nil || len(groups) != 0 {
		t.Errorf("groups are left: %v, %v", groups, err)
	}
	if b, err := os.ReadFile(filepath.Join(path, "other", "file")); string(b) != "precious" {
		t.Errorf("a link led out: %q, %v", b, err)
	}
	if ids, err := fs.Destroy(t.Context(), fs.Dir(), "volume"); err != nil || len(ids) != 0 {
		t.Errorf("destroyed again: %v, %v", ids, err)
	}
}

func TestDestroyFollowsNothing(t *testing.T) {
	fs, path := newFS(t)
	check(t, fs.Create(fs.Dir(), "real"))
	check(t, os.Symlink("real", filepath.Join(path, "link")))
	check(t, os.Mkdir(filepath.Join(path, "directory"), 0o755))
	for _, name := range []string{"link", "directory"} {
		if _, err := fs.Destroy(t.Context(), fs.Dir(), name); !errors.Is(err, btrfs.ErrNotSubvolume) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "../real", "real/", "a\x00b"} {
		if _, err := fs.Destroy(t.Context(), fs.Dir(), name); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%q: %v", name, err)
		}
		if err := fs.Create(fs.Dir(), name); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%q: %v", name, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := fs.Destroy(ended, fs.Dir(), "real"); !errors.Is(err, context.Canceled) {
		t.Errorf("for a caller that has gone: %v", err)
	}
	if s, err := fs.Lookup(fs.Dir(), "real"); err != nil || s.Close() != nil {
		t.Errorf("what nobody named is gone: %v", err)
	}
}

// TestASharedBlockStaysCharged: the group of a destroyed subvolume can't be removed while another refers to its data.
func TestASharedBlockStaysCharged(t *testing.T) {
	fs, path := newFS(t)
	a, g := limited(t, fs, "a")
	b, _ := limited(t, fs, "b")
	check(t, os.WriteFile(filepath.Join(path, "a", "file"), make([]byte, 8<<20), 0o600))
	from, err := os.Open(filepath.Join(path, "a", "file"))
	check(t, err)
	to, err := os.Create(filepath.Join(path, "b", "file"))
	check(t, err)
	check(t, unix.IoctlFileClone(int(to.Fd()), int(from.Fd())))
	check(t, errors.Join(from.Close(), to.Sync(), to.Close(), a.Close(), b.Close()))
	gone := func(name string) {
		ids, err := fs.Destroy(t.Context(), fs.Dir(), name)
		check(t, err)
		check(t, fs.Await(t.Context(), ids...))
	}
	gone("a")
	if err := fs.RemoveGroup(btrfs.NewGroup(0, a.ID)); err != nil && !errors.Is(err, unix.EBUSY) {
		t.Error(err)
	}
	if err := fs.RemoveGroup(g); !errors.Is(err, unix.EBUSY) {
		t.Errorf("the group of shared data: %v", err)
	}
	if c, err := fs.Charge(g); err != nil || c.Used < 8<<20 {
		t.Errorf("%+v, %v", c, err)
	}
	gone("b")
	check(t, fs.RemoveGroup(btrfs.NewGroup(0, a.ID)))
	check(t, fs.RemoveGroup(g))
}

func TestQuotaModes(t *testing.T) {
	path := btrfstest.New(t, 256<<20)
	fs, err := btrfs.Open(path)
	check(t, err)
	defer fs.Close()
	mode := func(want btrfs.QuotaMode) {
		t.Helper()
		if got, err := fs.QuotaMode(); err != nil || got != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	mode(btrfs.QuotaOff)
	if members, err := fs.Members(btrfs.NewGroup(1, 1)); err != nil || members != nil {
		t.Errorf("without quotas: %v, %v", members, err)
	}
	for _, full := range []struct {
		command uint64
		want    btrfs.QuotaMode
	}{{1, btrfs.QuotaFull}, {2, btrfs.QuotaOff}} {
		if errno := raw(path, 3<<30|16<<16|0x9428, words(full.command, 0)); errno != 0 {
			t.Fatal(errno)
		}
		mode(full.want)
	}
	check(t, fs.EnableSimpleQuota())
	mode(btrfs.QuotaSimple)
	if override, err := fs.QuotaOverride(); err != nil || override {
		t.Errorf("override: %v, %v", override, err)
	}
	if _, err := fs.Charge(btrfs.NewGroup(1, 99)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a group that isn't: %v", err)
	}
}

func TestSpaceAndDevices(t *testing.T) {
	for _, c := range []struct {
		mkfs           []string
		data, metadata int64
		mixed          bool
	}{
		{[]string{"--metadata", "single"}, 1, 1, false},
		{[]string{"--metadata", "dup"}, 1, 2, false},
		{[]string{"--metadata", "dup", "--data", "dup"}, 2, 2, false},
		{[]string{"--mixed"}, 1, 1, true},
	} {
		t.Run(fmt.Sprint(c.mkfs), func(t *testing.T) {
			fs, err := btrfs.Open(btrfstest.New(t, 512<<20, c.mkfs...))
			check(t, err)
			defer fs.Close()
			s, err := fs.Space()
			check(t, err)
			if s.DataCopies != c.data || s.MetadataCopies != c.metadata || s.Mixed != c.mixed || s.Available < 100<<20 || s.Available > 512<<20 || s.InChunks > s.Available {
				t.Errorf("%+v", s)
			}
			devices, err := fs.Devices()
			check(t, err)
			if len(devices) != 1 || devices[0].Missing || len(devices[0].Errors) != 0 || filepath.Dir(devices[0].Path) != "/dev" {
				t.Errorf("%+v", devices)
			}
			if ro, err := fs.ReadOnly(); err != nil || ro {
				t.Errorf("read-only: %v, %v", ro, err)
			}
		})
	}
}

func TestOpenRefusesOthers(t *testing.T) {
	if _, err := btrfs.Open("/proc"); !errors.Is(err, btrfs.ErrNotBtrfs) {
		t.Error(err)
	}
	if _, err := btrfs.Open(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	file := filepath.Join(t.TempDir(), "file")
	check(t, os.WriteFile(file, nil, 0o600))
	if _, err := btrfs.Open(file); !errors.Is(err, syscall.ENOTDIR) {
		t.Error(err)
	}
}
