package mountpoint_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mountpoint"
)

// TestWatchTellsOfMounts: nobody misses a mount or an unmount that comes after Watch, and none that came before is told of.
func TestWatchTellsOfMounts(t *testing.T) {
	dir := t.TempDir()
	watch := func() *mountpoint.Changes {
		t.Helper()
		w, err := mountpoint.Watch()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(w.Close)
		return w
	}
	// Others may mount something meanwhile: the table decides, as for every caller.
	until := func(w *mountpoint.Changes, want bool) {
		t.Helper()
		limit := time.After(time.Minute)
		for {
			_, mounted, err := mountpoint.Find(dir)
			if err != nil {
				t.Fatal(err)
			}
			if mounted == want {
				return
			}
			select {
			case <-w.C:
			case <-limit:
				t.Fatalf("nothing was told of, and mounted is %t", mounted)
			}
		}
	}
	for range 20 {
		w := watch()
		go func() { _ = unix.Mount("none", dir, "tmpfs", 0, "size=4k") }()
		until(w, true)
		other := watch()
		go func() { _ = unix.Unmount(dir, unix.MNT_DETACH) }()
		until(w, false)
		until(other, false)
		w.Close()
		w.Close()
		other.Close()
	}
}
