package coldfs_test

// A cache whose disk is full: of what is read, or of others' files.

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs"
	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
)

// fill fills a disk with a file of its own, to the last byte, and tells its path.
func fill(t *testing.T, disk string) string {
	t.Helper()
	others, err := os.Create(filepath.Join(disk, "others"))
	if err != nil {
		t.Fatal(err)
	}
	defer others.Close()
	for piece := make([]byte, 1<<20); len(piece) > 0; {
		if _, err := others.Write(piece); errors.Is(err, unix.ENOSPC) {
			piece = piece[:len(piece)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return others.Name()
}

// readAnew reads a file, and leaves none of it in the kernel.
func (v *volume) readAnew(t *testing.T, name, content string) {
	t.Helper()
	f, err := os.Open(v.Path(name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	whole(t, f, content, name)
	dropPages(t, f)
}

// smallDisk is a file system of its own, of so many bytes, until the test ends.
func smallDisk(t *testing.T, size int64) string {
	t.Helper()
	at := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(at, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return at
}

// What is read fills the disk up to its reserve, and gives way to what is written.
func TestWhatIsReadGivesWayToWhatIsWritten(t *testing.T) {
	disk := smallDisk(t, 48<<20)
	v := mount(t, coldfstest.Options{Config: func(c *config.Config) { c.CacheDir, c.CacheReserve, c.BlockSize = disk, 4<<20, 1<<20 }})
	for k := range 6 {
		content := noise(uint64(k), 10<<20)
		v.put(t, fmt.Sprintf("vol/read-%d", k), content)
		if got := read(t, v.Path(fmt.Sprintf("read-%d", k))); got != content {
			t.Errorf("file %d is read otherwise", k)
		}
	}
	for k := range 3 {
		content := noise(uint64(100+k), 12<<20)
		write(t, v.Path(fmt.Sprintf("written-%d", k)), content)
		if got := string(v.object(t, fmt.Sprintf("vol/written-%d", k))); got != content {
			t.Errorf("the store has something else of file %d", k)
		}
	}
	v.Await(t)
}

// On a disk that others have filled everything is read as before, from the store, and nothing can be written.
func TestADiskThatIsFull(t *testing.T) {
	const cached = 15 << 20
	disk := smallDisk(t, 3*cached)
	v := mount(t, coldfstest.Options{
		Pauses: coldfs.Pauses{Probe: 50 * time.Millisecond},
		Config: func(c *config.Config) { c.CacheDir, c.CacheReserve, c.BlockSize = disk, cached+8<<20, 1<<20 },
	})
	contents := map[string]string{}
	add := func() {
		t.Helper()
		name := fmt.Sprintf("read-%d", len(contents))
		contents[name] = noise(uint64(len(contents)), 3<<20)
		v.put(t, "vol/"+name, contents[name])
	}
	for range 5 {
		add()
	}
	all := func() {
		t.Helper()
		for name, content := range contents {
			v.readAnew(t, name, content)
		}
	}
	open, err := os.Create(v.Path("open"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if _, err := open.WriteString("written before the disk was full"); err != nil {
		t.Fatal(err)
	}
	all()
	others := fill(t, disk)
	// All that the cache can give up isn't enough for the reserve.
	add()
	all()
	v.Await(t, control.CacheDiskFull) // no program has been told anything yet
	for range 3 {
		if err := os.WriteFile(v.Path("new"), make([]byte, 1<<20), 0o644); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("a new file: %v", err)
		}
		if _, err := open.WriteAt(make([]byte, 1<<20), 0); !errors.Is(err, unix.ENOSPC) {
			t.Errorf("a file that is open: %v", err)
		}
		add()
		all()
	}
	v.Await(t, control.CacheDiskFull)
	if strings.Contains(v.Log(), "well again") {
		t.Error("in between it was said that the volume is well")
	}
	if err := open.Sync(); err != nil {
		t.Errorf("what was written before: %v", err)
	}
	if got := string(v.object(t, "vol/open")); got != "written before the disk was full" {
		t.Errorf("the store has %q", got)
	}
	if err := os.Remove(others); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(v.Path("new"), make([]byte, 1<<20), 0o644); err != nil {
		t.Errorf("when there is room again: %v", err)
	}
	add()
	all()
	v.Await(t)
}

// A disk that fails takes nothing from who reads.
func TestADiskThatFails(t *testing.T) {
	disk := failingDisk(t, 32<<20)
	v := mount(t, coldfstest.Options{
		Pauses: coldfs.Pauses{Probe: 50 * time.Millisecond},
		Config: func(c *config.Config) { c.CacheDir, c.BlockSize, c.CacheLimit = disk, 1<<20, 8<<20 },
	})
	before, after := noise(1, 2<<20), noise(2, 2<<20)
	v.put(t, "vol/before", before)
	v.put(t, "vol/after", after)
	if got := read(t, v.Path("before")); got != before {
		t.Error("before the disk fails, it is read otherwise")
	}
	shutdown(t, disk)
	for range 3 {
		for name, content := range map[string]string{"before": before, "after": after} {
			v.readAnew(t, name, content)
		}
		if err := os.WriteFile(v.Path("new"), make([]byte, 1<<20), 0o644); !errors.Is(err, unix.EIO) {
			t.Errorf("a new file: %v", err)
		}
	}
	v.Await(t, control.CacheDiskError)
}

// failingDisk is an ext4 of its own, until the test ends.
func failingDisk(t *testing.T, size int64) string {
	t.Helper()
	dir := t.TempDir()
	at, image := filepath.Join(dir, "disk"), filepath.Join(dir, "image")
	if err := errors.Join(os.Mkdir(at, 0o700), os.WriteFile(image, nil, 0o600), os.Truncate(image, size)); err != nil {
		t.Fatal(err)
	}
	for _, cmd := range [][]string{{"mkfs.ext4", "-q", image}, {"mount", "-o", "loop", image, at}} {
		if out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", cmd, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return at
}

// shutdown ends an ext4 as a disk does that fails: EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h).
func shutdown(t *testing.T, at string) {
	t.Helper()
	f, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), 0x8004587d, 2); err != nil {
		t.Fatal(err)
	}
}
