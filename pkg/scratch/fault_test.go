package scratch

// What is left when a step of a disk, or of the journal, fails.

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// A volume that could be made and not mounted is taken back; when that fails half way, what is left isn't taken for a volume.
func TestAVolumeThatWasHalfTakenBackIsMadeAnew(t *testing.T) {
	n := newNode(t)
	n.disks = n.disks[:1]
	n.start()
	s := n.spec("a", 64*mib)
	n.disks[0].failing("Mount", errors.New("no mount"))
	n.disks[0].failing("Destroy", errors.New("no end"))
	for range 2 {
		if err := n.Stage(t.Context(), s); err == nil {
			t.Fatal("the faults did not show")
		}
	}
	n.disks[0].failing("Mount", nil)
	n.disks[0].failing("Destroy", nil)
	n.start()
	n.must(n.Stage(t.Context(), s))
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.clean()
}

// A device of an earlier boot, or one that is being destroyed, holds what its last user wrote.
func TestABlockVolumeThatIsNotReadyIsNotStaged(t *testing.T) {
	for what, change := range map[string]func(*record){
		"another boot": func(r *record) { r.Boot = "boot-0" },
		"creating":     func(r *record) { r.Phase = creating },
		"destroying":   func(r *record) { r.Phase = destroying },
	} {
		t.Run(what, func(t *testing.T) {
			n := newNode(t)
			s := n.spec("a", 64*mib)
			s.Block = true
			n.must(n.Stage(t.Context(), s))
			n.must(n.Staged(t.Context(), s.ID, s.Path))
			r, _ := n.record(string(s.ID))
			change(&r)
			n.must(n.put(r))
			n.want(n.Staged(t.Context(), s.ID, s.Path), volume.ErrNotFound)
			_, err := n.ExpandOnNode(t.Context(), s.ID, "", volume.CapacityRange{Required: 128 * mib})
			n.want(err, volume.ErrNotFound)
			n.must(n.Unstage(t.Context(), s.ID, s.Path))
			n.clean()
		})
	}
}

// A mount that couldn't be taken away is no volume to give to the next pod.
func TestAMountOfAVolumeThatIsBeingDestroyedIsUnusable(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	n.must(n.Stage(t.Context(), s))
	r, _ := n.record(string(s.ID))
	r.Phase = destroying
	n.must(n.put(r))
	n.want(n.Staged(t.Context(), s.ID, s.Path), volume.ErrUnavailable)
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.clean()
}

// A pool that was given another name has the same disks: what lies on them still counts, and can go.
func TestAPoolWithAnotherName(t *testing.T) {
	n := newNode(t)
	n.disks = n.disks[:1]
	n.start()
	s := n.spec("a", 512*mib)
	n.must(n.Stage(t.Context(), s))
	n.pools = map[string]Pool{"fast": {Pool: config.Pool{Name: "fast"}, Usable: []disk.Disk{n.disks[0]}}}
	for i := range n.Backend.config.Classes {
		n.Backend.config.Classes[i].Pool = "fast"
	}
	other := n.spec("b", 512*mib)
	n.must(n.Stage(t.Context(), other))
	n.want(n.Stage(t.Context(), n.spec("c", 16*mib)), volume.ErrExhausted)
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.must(n.Unstage(t.Context(), other.ID, other.Path))
	n.clean()
}

// A request that comes while the reaper takes away what a lost journal left of the same volume waits for its end.
func TestARequestWhileAStrayIsDestroyed(t *testing.T) {
	n := newNode(t)
	n.disks = n.disks[:1]
	n.start()
	s := n.spec("a", 64*mib)
	d := n.disks[0]
	n.must(d.Create(t.Context(), disk.Spec{Name: nameOf(string(s.ID)), Size: 64 * mib}))
	r := NewReaper(n.Backend, &pods{live: map[string]bool{"x": true}}, 0)
	n.must(r.Reap(t.Context()))
	d.destroying = func() {
		d.destroying = nil
		n.want(n.Stage(t.Context(), s), volume.ErrPending)
	}
	n.must(r.Reap(t.Context()))
	if d.destroying != nil {
		t.Fatal("the stray was not destroyed")
	}
	n.must(n.Stage(t.Context(), s))
	n.must(r.Reap(t.Context()))
	n.must(n.Staged(t.Context(), s.ID, s.Path))
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.clean()
}

// What lies on one disk is a stray although a volume of that name has a record on another.
func TestAStrayBesideItsVolume(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	s.Block = true
	n.must(n.Stage(t.Context(), s))
	for _, d := range n.disks {
		if _, ok := d.has(t, string(s.ID)); !ok {
			n.must(d.Create(t.Context(), disk.Spec{Name: nameOf(string(s.ID)), Size: 64 * mib}))
		}
	}
	r := NewReaper(n.Backend, &pods{live: map[string]bool{"x": true}}, 0)
	n.must(r.Reap(t.Context()))
	n.must(r.Reap(t.Context()))
	n.must(n.Staged(t.Context(), s.ID, s.Path))
	if n.volumes() != 1 {
		t.Errorf("%d volumes", n.volumes())
	}
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.clean()
}

// A state disk without room doesn't hold back what would make room: the volumes that lie on the same disk, often.
func TestAFullStateDisk(t *testing.T) {
	n := newNode(t)
	n.must(n.journal.Close())
	n.journal = nil
	state := filepath.Join(n.dir, "state")
	n.must(unix.Mount("state", state, "tmpfs", 0, "size=64k,mode=0700"))
	t.Cleanup(func() { _ = unix.Unmount(state, unix.MNT_DETACH) })
	n.start()
	s, busy := n.spec("a", 64*mib), n.spec("b", 64*mib)
	n.must(n.Stage(t.Context(), s))
	n.must(n.Stage(t.Context(), busy))
	f, err := os.Create(filepath.Join(busy.Path, "open"))
	n.must(err)
	t.Cleanup(func() { _ = f.Close() })
	fill, err := os.Create(filepath.Join(state, "fill"))
	n.must(err)
	for err == nil {
		_, err = fill.Write(make([]byte, 4096))
	}
	n.want(err, unix.ENOSPC)
	n.must(fill.Close())
	n.want(n.Stage(t.Context(), n.spec("c", 64*mib)), unix.ENOSPC)
	n.want(n.Unstage(t.Context(), busy.ID, busy.Path), volume.ErrUnavailable)
	n.must(n.Staged(t.Context(), busy.ID, busy.Path))
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.start()
	if _, ok := n.record(string(s.ID)); ok || n.volumes() != 1 {
		t.Errorf("%d volumes, record %v", n.volumes(), ok)
	}
	n.must(n.Staged(t.Context(), busy.ID, busy.Path))
	n.must(f.Close())
	// The disk fails, too: what is left belongs to nobody and still counts.
	for _, d := range n.disks {
		d.failing("Destroy", errors.New("no end"))
	}
	if err := n.Unstage(t.Context(), busy.ID, busy.Path); err == nil {
		t.Fatal("the fault did not show")
	}
	if r, ok := n.record(string(busy.ID)); !ok || r.Phase != destroying {
		t.Errorf("record %+v, %v", r, ok)
	}
	for _, d := range n.disks {
		d.failing("Destroy", nil)
	}
	n.must(n.Unstage(t.Context(), busy.ID, busy.Path))
	if keys, err := n.journal.Keys(); err != nil || len(keys) != 0 || n.volumes() != 0 {
		t.Errorf("left: %v, %d volumes (%v)", keys, n.volumes(), err)
	}
}
