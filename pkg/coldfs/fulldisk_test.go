package coldfs_test

// A cache whose disk is full.

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
)

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
