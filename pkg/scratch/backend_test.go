package scratch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/journal"
	"github.com/strata-csi/strata/pkg/keylock"
	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/tier"
	"github.com/strata-csi/strata/pkg/tier/tiertest"
	"github.com/strata-csi/strata/pkg/volume"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// node is a Backend that a test can kill and start again, on two fake disks of 1 GiB in pool "nvme".
type node struct {
	*Backend
	t       *testing.T
	dir     string
	boot    string
	config  config.Config
	disks   []*fakeDisk
	journal *journal.Journal
	locks   *keylock.Locks
}

func newNode(t *testing.T) *node {
	t.Helper()
	mountpointtest.RequireRoot(t)
	n := &node{t: t, dir: t.TempDir(), boot: "boot-1", disks: []*fakeDisk{newFakeDisk("/a", gib), newFakeDisk("/b", gib)}, config: config.Config{
		Classes: []config.Class{
			{Name: "default", Pool: "nvme", DefaultSize: 64 * mib, MaxSize: 512 * mib, Wipe: disk.WipeZero},
			{Name: "other", Pool: "nvme", MaxSize: 800 * mib},
		},
	}}
	n.start()
	t.Cleanup(func() {
		table, err := mountpoint.Read()
		if err != nil {
			t.Error(err)
		}
		for _, m := range table.Below(n.dir) {
			_ = mountpoint.NewUnmounter(mountpoint.NewProber(0)).Unmount(context.Background(), m.Path)
		}
	})
	return n
}

// start makes the Backend anew, as a process that was killed and started again would.
func (n *node) start() {
	n.t.Helper()
	if n.journal != nil {
		n.must(n.journal.Close())
	}
	var err error
	n.journal, err = journal.Open(filepath.Join(n.dir, "state"))
	n.must(err)
	n.locks = new(keylock.Locks)
	p := Pool{Pool: config.Pool{Name: "nvme"}}
	for _, d := range n.disks {
		p.Usable = append(p.Usable, d)
	}
	n.Backend, err = New(Options{Config: n.config, Pools: []Pool{p}, Journal: n.journal, Locks: n.locks, MountDir: filepath.Join(n.dir, "mnt"),
		Unmounter: mountpoint.NewUnmounter(mountpoint.NewProber(0)), BootID: n.boot})
	n.must(err)
}

// reboot is a start after the machine went down: no mount is left.
func (n *node) reboot() {
	n.t.Helper()
	n.unmountAll()
	n.boot += "'"
	n.start()
}

func (n *node) unmountAll() {
	n.t.Helper()
	table, err := mountpoint.Read()
	n.must(err)
	for _, m := range table.Below(n.dir) {
		n.must(mountpoint.NewUnmounter(mountpoint.NewProber(0)).Unmount(n.t.Context(), m.Path))
	}
}

func (n *node) must(err error) {
	n.t.Helper()
	if err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) want(err, target error) {
	n.t.Helper()
	if !errors.Is(err, target) {
		n.t.Fatalf("got error %v, want %v", err, target)
	}
}

func (n *node) path(name string) string {
	n.t.Helper()
	p := filepath.Join(n.dir, "pods", name)
	n.must(os.MkdirAll(p, 0o750))
	return p
}

func (n *node) spec(name string, size int64) tier.StageSpec {
	return tier.StageSpec{ID: volume.ID("scratch:default:" + name), Path: n.path(name),
		Context: map[string]string{"tier": "scratch", "class": "default", "size": strconv.FormatInt(size, 10)}}
}

// inlineSpec is what kubelet would ask for; the target is made.
func (n *node) inlineSpec(pod, name string, attributes ...string) tier.InlineSpec {
	n.t.Helper()
	sum := sha256.Sum256([]byte(pod + name))
	target := filepath.Join(n.dir, "pods", pod, "volumes", "kubernetes.io~csi", name, "mount")
	n.must(os.MkdirAll(target, 0o750))
	s := tier.InlineSpec{ID: "csi-" + hex.EncodeToString(sum[:]), Path: target, Attributes: map[string]string{},
		Pod: tier.Pod{Name: "p", Namespace: "ns", UID: pod}}
	for i := 0; i < len(attributes); i += 2 {
		s.Attributes[attributes[i]] = attributes[i+1]
	}
	return s
}

// volumes is how many volumes the disks hold.
func (n *node) volumes() int {
	total := 0
	for _, d := range n.disks {
		names, _ := d.List(n.t.Context())
		total += len(names)
	}
	return total
}

// clean checks that nothing is left: no volume, no record, no mount.
func (n *node) clean() {
	n.t.Helper()
	keys, err := n.journal.Keys()
	n.must(err)
	table, err := mountpoint.Read()
	n.must(err)
	own, _ := os.ReadDir(filepath.Join(n.dir, "mnt"))
	if v, m := n.volumes(), table.Below(n.dir).Paths(); v != 0 || len(keys) != 0 || len(m) != 0 || len(own) != 0 {
		n.t.Errorf("left over: %d volumes, records %v, mounts %v, directories %v", v, keys, m, own)
	}
}

func TestStagerConforms(t *testing.T) {
	n := newNode(t)
	a, b := n.spec("a", 64*mib), n.spec("b", 64*mib)
	tiertest.Conform(t, tiertest.Subject{Stager: n.Backend, Volume: a.ID, Other: b.ID, Context: a.Context, OtherContext: b.Context,
		BadContext: map[string]string{"tier": "scratch", "class": "none", "size": "1"}})
	n.clean()
}

func TestAVolumeIsEmptyWheneverItIsStaged(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	for range 2 {
		n.must(n.Stage(t.Context(), s))
		if entries, err := os.ReadDir(s.Path); err != nil || len(entries) != 0 {
			t.Fatalf("%v, %v", entries, err)
		}
		if fi, err := os.Stat(s.Path); err != nil || fi.Mode().Perm() != 0o777 {
			t.Fatalf("root directory: %v, %v", fi, err)
		}
		n.must(os.WriteFile(filepath.Join(s.Path, "x"), nil, 0o600))
		n.start()
		n.must(n.Stage(t.Context(), s)) // of a process that was killed: the volume is in use
		if _, err := os.Stat(filepath.Join(s.Path, "x")); err != nil {
			t.Fatal(err)
		}
		n.must(n.Unstage(t.Context(), s.ID, s.Path))
		n.clean()
	}
	if w := append(n.disks[0].wiped, n.disks[1].wiped...); len(w) != 2 || w[0] != disk.WipeZero {
		t.Errorf("wiped %v", w)
	}
}

func TestTheGroupOfAVolumeIsThatOfItsFirstPod(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	first, second := uint32(2000), uint32(3000)
	for _, group := range []*uint32{&first, &second, nil} {
		s.Group = group
		n.must(n.Stage(t.Context(), s))
		n.start()
		s.Group = &second
		n.must(n.Stage(t.Context(), s)) // for another pod
		n.must(unix.Unmount(s.Path, 0))
		n.must(n.Stage(t.Context(), s)) // mounted once more, it is the same volume
		var st unix.Stat_t
		n.must(unix.Stat(s.Path, &st))
		wantGroup, wantMode := uint32(0), uint32(0o777)
		if group != nil {
			wantGroup, wantMode = *group, 0o2777
		}
		if st.Uid != 0 || st.Gid != wantGroup || st.Mode&0o7777 != wantMode {
			t.Errorf("%d:%d with mode %o, want 0:%d with %o", st.Uid, st.Gid, st.Mode&0o7777, wantGroup, wantMode)
		}
		n.must(n.Unstage(t.Context(), s.ID, s.Path))
	}
	n.clean()
}

func TestInline(t *testing.T) {
	n := newNode(t)
	s := n.inlineSpec("uid-1", "tmp", "size", "100Mi")
	n.must(n.PublishInline(t.Context(), s))
	n.must(n.PublishInline(t.Context(), s))
	n.must(n.PublishedInline(t.Context(), s.ID, s.Path))
	if u, err := n.InlineUsage(t.Context(), s.ID, s.Path); err != nil || u.TotalBytes != 100*mib {
		t.Errorf("usage %+v, %v", u, err)
	}
	if c, err := n.InlineHealth(t.Context(), s.ID, s.Path); err != nil || len(c) != 0 {
		t.Errorf("health %v, %v", c, err)
	}
	other := s
	other.Attributes = map[string]string{"size": "200Mi"}
	n.want(n.PublishInline(t.Context(), other), volume.ErrExists)
	n.unmountAll()
	if c, err := n.InlineHealth(t.Context(), s.ID, s.Path); err != nil || len(c) != 1 || c[0].Reason != "NotMounted" {
		t.Errorf("health %v, %v", c, err)
	}
	n.must(n.UnpublishInline(t.Context(), s.ID, s.Path))
	n.must(n.UnpublishInline(t.Context(), s.ID, s.Path))
	n.clean()
}

func TestRoom(t *testing.T) {
	t.Run("concurrent requests don't overcommit, and use every disk", func(t *testing.T) {
		n := newNode(t)
		n.disks[0].capacity, n.disks[1].capacity = 1000*mib, 500*mib
		var made atomic.Int32
		var all sync.WaitGroup
		for i := range 40 {
			all.Go(func() {
				err := n.Stage(t.Context(), n.spec(fmt.Sprint("v", i), 100*mib))
				switch {
				case err == nil:
					made.Add(1)
				case !errors.Is(err, volume.ErrExhausted):
					t.Error(err)
				case !strings.Contains(err.Error(), "104857600 bytes (100Mi)"):
					t.Errorf("the error doesn't say what was asked for: %v", err)
				}
			})
		}
		all.Wait()
		if made.Load() != 15 || n.volumes() != 15 {
			t.Errorf("%d volumes of 100 MiB on 1500 MiB", made.Load())
		}
		for i, want := range []int{10, 5} {
			if names, _ := n.disks[i].List(t.Context()); len(names) != want {
				t.Errorf("disk %d has %d volumes", i, len(names))
			}
		}
		for i := range 40 {
			s := n.spec(fmt.Sprint("v", i), 100*mib)
			n.must(n.Unstage(t.Context(), s.ID, s.Path))
		}
		n.clean()
	})
	t.Run("the reserve is never given out", func(t *testing.T) {
		n := newNode(t)
		p := n.pools["nvme"]
		p.ReservePercent = 50
		n.pools["nvme"] = p
		n.must(n.Stage(t.Context(), n.spec("a", 510*mib)))
		n.must(n.Stage(t.Context(), n.spec("b", 510*mib)))
		n.want(n.Stage(t.Context(), n.spec("c", 16*mib)), volume.ErrExhausted)
		c, err := n.Capacities(t.Context())
		n.must(err)
		if got := c["default"]; got.Largest >= disk.MinSize {
			t.Errorf("%+v", got)
		}
	})
	t.Run("of the node and of a pod", func(t *testing.T) {
		n := newNode(t)
		n.config.MaxPerNode, n.config.MaxPerPod = 300*mib, 150*mib
		n.start()
		n.must(n.PublishInline(t.Context(), n.inlineSpec("pod-1", "a", "size", "100Mi")))
		err := n.PublishInline(t.Context(), n.inlineSpec("pod-1", "b", "size", "100Mi"))
		n.want(err, volume.ErrInvalid)
		if !strings.Contains(err.Error(), "150Mi together") {
			t.Error(err)
		}
		n.must(n.PublishInline(t.Context(), n.inlineSpec("pod-2", "a", "size", "100Mi")))
		err = n.Stage(t.Context(), n.spec("c", 200*mib))
		n.want(err, volume.ErrExhausted)
		if !strings.Contains(err.Error(), "(100Mi) are left of the 300Mi") {
			t.Error(err)
		}
		c, err := n.Capacities(t.Context())
		n.must(err)
		if want := (volume.Capacity{Available: 100 * mib, Largest: 100 * mib}); c["default"] != want {
			t.Errorf("got %+v", c["default"])
		}
		n.must(n.Stage(t.Context(), n.spec("d", 100*mib)))
	})
	t.Run("is given back by what could not be made", func(t *testing.T) {
		n := newNode(t)
		for _, d := range n.disks {
			d.failing("Create", fmt.Errorf("%w: full after all", volume.ErrExhausted))
		}
		n.want(n.Stage(t.Context(), n.spec("a", 512*mib)), volume.ErrExhausted)
		n.clean()
	})
}

func TestExpand(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	n.must(n.Stage(t.Context(), s))
	grow := func(required, limit int64) (int64, error) {
		return n.ExpandOnNode(t.Context(), s.ID, s.Path, volume.CapacityRange{Required: required, Limit: limit})
	}
	if size, err := grow(100*mib+1, 0); err != nil || size != 101*mib {
		t.Fatal(size, err)
	}
	if size, err := grow(64*mib, 0); err != nil || size != 101*mib {
		t.Errorf("shrunk to %d, %v", size, err)
	}
	_, err := grow(64*mib, 70*mib)
	n.want(err, volume.ErrOutOfRange)
	_, err = grow(513*mib, 0)
	n.want(err, volume.ErrOutOfRange)
	for _, d := range n.disks {
		d.failing("Grow", errors.New("interrupted"))
	}
	if _, err = grow(200*mib, 0); err == nil {
		t.Fatal("the fault did not show")
	}
	for _, d := range n.disks {
		d.failing("Grow", nil)
	}
	n.start()
	if size, err := grow(200*mib, 0); err != nil || size != 200*mib {
		t.Fatal(size, err)
	}
	has := func(want int64) {
		t.Helper()
		for _, d := range n.disks {
			if size, ok := d.has(t, string(s.ID)); ok && size != want {
				t.Errorf("the disk has %d bytes, want %d", size, want)
			}
		}
	}
	has(200 * mib)
	// The next stage is told the old size.
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.start()
	n.must(n.Stage(t.Context(), s))
	has(200 * mib)
	if u, err := n.Usage(t.Context(), s.ID, s.Path); err != nil || u.TotalBytes != 200*mib {
		t.Errorf("%+v, %v", u, err)
	}
}

func TestABusyVolumeStays(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	n.must(n.Stage(t.Context(), s))
	f, err := os.Create(filepath.Join(s.Path, "open"))
	n.must(err)
	defer f.Close()
	n.want(n.Unstage(t.Context(), s.ID, s.Path), volume.ErrUnavailable)
	n.start()
	n.must(n.Stage(t.Context(), s)) // still ready
	if _, err := os.Stat(filepath.Join(s.Path, "open")); err != nil {
		t.Fatal(err)
	}
	n.must(f.Close())
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.clean()
}

func TestAStrangersMountIsLeftAlone(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	n.must(n.Stage(t.Context(), s))
	n.unmountAll()
	mountpointtest.TmpFS(t, s.Path)
	n.want(n.Stage(t.Context(), s), volume.ErrExists)
	n.want(n.Unstage(t.Context(), s.ID, s.Path), volume.ErrPrecondition)
	if n.volumes() != 1 {
		t.Error("the volume is gone")
	}
	n.unmountAll()
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.clean()
}

func TestAVolumeOfALostDisk(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	n.must(n.Stage(t.Context(), s))
	lost := n.disks
	n.disks = nil
	n.start()
	n.want(n.Stage(t.Context(), s), volume.ErrUnavailable)
	if c, err := n.MountHealth(t.Context(), s.ID, s.Path); err != nil || len(c) != 1 || c[0].Severity != volume.Inaccessible {
		t.Errorf("%v, %v", c, err)
	}
	n.must(n.Unstage(t.Context(), s.ID, s.Path)) // the pod can go
	n.disks = lost
	n.start()
	n.must(n.Stage(t.Context(), s)) // made anew
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.clean()
}

func TestARecordThatCantBeReadStopsTheStart(t *testing.T) {
	n := newNode(t)
	n.must(n.journal.Put(volumeKey+"v1", record{Name: "v2"}))
	if _, err := openLedger(n.journal); err == nil || !strings.Contains(err.Error(), "volume-v1") {
		t.Errorf("got %v", err)
	}
}

func TestABlockVolume(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	s.Block = true
	_, err := n.BlockDevice(t.Context(), s.ID)
	n.want(err, volume.ErrNotFound)
	n.must(n.Stage(t.Context(), s))
	n.must(n.Stage(t.Context(), s))
	if dev, err := n.BlockDevice(t.Context(), s.ID); err != nil || dev == "" {
		t.Error(dev, err)
	}
	files := s
	files.Block = false
	n.want(n.Stage(t.Context(), files), volume.ErrExists)
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.clean()
}
