package probe

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
	"github.com/strata-csi/strata/pkg/scratch"
	"github.com/strata-csi/strata/pkg/scratch/config"
	"github.com/strata-csi/strata/pkg/scratch/disk"
)

// fileSystem mounts one of a size in MiB.
func fileSystem(t *testing.T, mkfs string, mib int64) string {
	t.Helper()
	mountpointtest.RequireRoot(t)
	image, path := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "disk")
	for _, err := range []error{os.WriteFile(image, nil, 0o600), os.Truncate(image, mib<<20), os.Mkdir(path, 0o700)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range [][]string{{mkfs, "-q", image}, {"mount", "-o", "loop", image, path}} {
		if out, err := exec.Command(c[0], c[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", c, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Error(err)
		}
	})
	return path
}

func pools(t *testing.T, occupied map[scratch.Occupied]bool, p config.Pool) (scratch.Pool, []Finding) {
	t.Helper()
	found, findings := Pools(t.Context(), config.Config{Pools: []config.Pool{p}}, occupied)
	t.Cleanup(func() {
		for _, d := range append(found[0].Usable, found[0].Held...) {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return found[0], findings
}

func verdicts(findings []Finding) map[disk.Kind]string {
	words := map[disk.Kind]string{}
	for _, f := range findings {
		words[f.Kind] = f.Verdict()
	}
	return words
}

func TestThePlaceDecides(t *testing.T) {
	for mkfs, want := range map[string]disk.Kind{"mkfs.ext4": disk.Loop, "mkfs.btrfs": disk.Btrfs} {
		t.Run(mkfs, func(t *testing.T) {
			path := fileSystem(t, mkfs, 512)
			p, findings := pools(t, nil, config.Pool{Name: "p", Disks: []config.Place{{Path: path}}})
			if len(p.Usable) != 1 || p.Usable[0].Kind() != want || p.Usable[0].Name() != path {
				t.Fatalf("%+v\n%v", p, verdicts(findings))
			}
			words := verdicts(findings)
			if words[want] != "used" {
				t.Errorf("%v", words)
			}
			if want == disk.Loop && !(strings.Contains(words[disk.Btrfs], "btrfs") && strings.Contains(words[disk.LVM], "volume group")) || want == disk.Btrfs && !strings.Contains(words[disk.Loop], "not tried") {
				t.Errorf("%v", words)
			}
			if _, asked := words[disk.XFS]; asked {
				t.Error("xfs was tried unasked")
			}
			if names, err := p.Usable[0].List(t.Context()); err != nil || len(names) > 0 {
				t.Errorf("the probe left %v, %v", names, err)
			}
		})
	}
}

func TestWhatIsRefusedSaysWhy(t *testing.T) {
	path := fileSystem(t, "mkfs.ext4", 512)
	p, findings := pools(t, nil, config.Pool{Name: "p", Kinds: []disk.Kind{disk.Btrfs, disk.XFS},
		Disks: []config.Place{{Path: path}, {Path: path + "-none"}, {VolumeGroup: "none"}}})
	if len(p.Usable) != 0 || len(p.Refused) != 6 || len(findings) != 6 {
		t.Fatalf("%+v\n%v", p, verdicts(findings))
	}
	for _, f := range findings {
		var refused *disk.Refused
		if !errors.As(f.Err, &refused) || len(refused.Reason) < 20 {
			t.Errorf("%s %s: %v", f.Place, f.Kind, f.Err)
		}
	}
	var out strings.Builder
	if complete, err := Print(&out, []scratch.Pool{p}, findings); err != nil || complete {
		t.Errorf("a pool without a disk is complete: %v", err)
	}
	if lines := strings.Split(strings.TrimSpace(out.String()), "\n"); len(lines) != 7 || !strings.HasPrefix(lines[0], "POOL") {
		t.Errorf("%s", out.String())
	}
}

// A disk that is too full to be tried still gives back what lies on it, also when the configuration names a link to it.
func TestAFullDiskIsHeld(t *testing.T) {
	path := fileSystem(t, "mkfs.ext4", 64)
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	one := config.Pool{Name: "p", Kinds: []disk.Kind{disk.Loop}, Disks: []config.Place{{Path: link}}}
	p, findings := pools(t, nil, one)
	if len(p.Usable) != 1 {
		t.Fatal(verdicts(findings))
	}
	if err := p.Usable[0].Create(t.Context(), disk.Spec{Name: "v1", Size: 40 << 20}); err != nil {
		t.Fatal(err)
	}
	full, findings := pools(t, map[scratch.Occupied]bool{{Disk: p.Usable[0].Name(), Kind: disk.Loop}: true}, one)
	if len(full.Usable) != 0 || len(full.Held) != 1 {
		t.Fatalf("%+v\n%v", full, verdicts(findings))
	}
	if err := full.Held[0].Destroy(t.Context(), "v1", disk.WipeNone); err != nil {
		t.Fatal(err)
	}
	if again, findings := pools(t, nil, one); len(again.Usable) != 1 {
		t.Fatal(verdicts(findings))
	}
}

// Images have their space set aside when they are made: two directories of them may share a file system.
func TestDirectoriesOfOneFileSystem(t *testing.T) {
	path := fileSystem(t, "mkfs.ext4", 512)
	var places []config.Place
	for _, name := range []string{"a", "b"} {
		places = append(places, config.Place{Path: filepath.Join(path, name)})
		if err := os.Mkdir(filepath.Join(path, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if p, findings := pools(t, nil, config.Pool{Name: "p", Disks: places}); len(p.Usable) != 2 {
		t.Error(verdicts(findings))
	}
	// An image beside directories with limits would take what those were promised.
	for _, kinds := range [][2]disk.Kind{{disk.XFS, disk.XFS}, {disk.XFS, disk.Loop}, {disk.Loop, disk.Btrfs}} {
		s := shared{}
		if err := s.take(places[0], kinds[0]); err != nil {
			t.Errorf("the first: %v", err)
		}
		err := s.take(places[1], kinds[1])
		if err == nil || !strings.Contains(err.Error(), places[0].Path) {
			t.Errorf("%s beside %s: %v", kinds[1], kinds[0], err)
		}
	}
	s := shared{}
	for _, p := range []config.Place{places[0], places[1], {VolumeGroup: "vg"}} {
		if err := s.take(p, disk.Btrfs); err != nil { // which counts what the other was promised
			t.Error(err)
		}
	}
}
