package mountpoint

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// The way of kernels before 5.12, which the machine of the test most likely is not.
func TestTheRemountFallbackKeepsTheFlagsOfItsSource(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	src, dst := filepath.Join(base, "src"), filepath.Join(base, "dst")
	for _, p := range []string{src, dst} {
		if err := os.Mkdir(p, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mount("strata-test", src, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "size=1m"); err != nil {
		t.Fatalf("needs root: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(src, unix.MNT_DETACH) })
	if err := bindRemount(src, dst, true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dst, unix.MNT_DETACH) })
	m, ok, err := Find(dst)
	if err != nil || !ok {
		t.Fatalf("%v, %v", ok, err)
	}
	for _, want := range []string{"ro", "nosuid", "nodev", "noexec"} {
		if !slices.Contains(m.Options, want) {
			t.Errorf("options %q lack %s", m.Options, want)
		}
	}
	if err := os.WriteFile(filepath.Join(dst, "f"), nil, 0o600); !errors.Is(err, syscall.EROFS) {
		t.Errorf("writing: %v", err)
	}
	if err := os.WriteFile(filepath.Join(src, "f"), nil, 0o600); err != nil {
		t.Errorf("the source must stay writable: %v", err)
	}
}
