package scratch

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/journal"
	"github.com/strata-csi/strata/pkg/volume"
)

// phaseOnDisk is what the journal says of a volume, whatever the process keeps in mind.
func phaseOnDisk(t *testing.T, j *journal.Journal, id string) phase {
	t.Helper()
	var r record
	if err := j.Load(volumeKey+nameOf(id), &r); err != nil {
		t.Fatal(err)
	}
	return r.Phase
}

// The mount is what says that a file system is whole; a device has none, and its record says so.
func TestWhatSaysThatAVolumeIsWhole(t *testing.T) {
	n := newNode(t)
	s, raw := n.spec("a", 64*mib), n.spec("b", 64*mib)
	raw.Block = true
	n.must(n.Stage(t.Context(), s))
	n.must(n.Stage(t.Context(), raw))
	if a, b := phaseOnDisk(t, n.journal, string(s.ID)), phaseOnDisk(t, n.journal, string(raw.ID)); a != creating || b != ready {
		t.Errorf("the records say %s of the file system, %s of the device", a, b)
	}
	n.start()
	n.must(n.Staged(t.Context(), s.ID, s.Path))
	n.must(n.Staged(t.Context(), raw.ID, raw.Path))
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.must(n.Unstage(t.Context(), raw.ID, raw.Path))
	n.clean()
}

// Somebody took the staging mount away below a pod, and then strata-node died: the pod's volume is still one.
func TestAVolumeIsWholeWhereverItIsMounted(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	n.must(n.Stage(t.Context(), s))
	n.must(os.WriteFile(filepath.Join(s.Path, "x"), nil, 0o600))
	pod := n.path("pod")
	n.must(unix.Mount(s.Path, pod, "", unix.MS_BIND, ""))
	n.must(unix.Unmount(s.Path, 0))
	n.start()
	n.must(n.Staged(t.Context(), s.ID, pod))
	n.want(n.Staged(t.Context(), s.ID, s.Path), volume.ErrNotFound)
	if r, _ := n.record(string(s.ID)); r.Phase != ready {
		t.Errorf("it is taken for %s", r.Phase)
	}
	n.must(n.Unstage(t.Context(), s.ID, pod))
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.clean()
}

// Nothing of a volume that was made and not mounted yet is worth keeping.
func TestAVolumeThatIsMountedNowhereIsMadeAnew(t *testing.T) {
	n := newNode(t)
	s := n.spec("a", 64*mib)
	n.must(n.Stage(t.Context(), s))
	n.must(unix.Unmount(s.Path, 0))
	n.start()
	n.must(n.Stage(t.Context(), s))
	if made := n.disks[0].made + n.disks[1].made; made != 2 {
		t.Errorf("made %d times", made)
	}
	n.must(n.Unstage(t.Context(), s.ID, s.Path))
	n.clean()
}
