package mountpoint

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// The way of kernels before 5.2, which the machine of the test most likely is not.
func TestTheFallbackOfBindDevice(t *testing.T) {
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(base, "target")
	if _, err := MakeFileMountpoint(target); err != nil {
		t.Fatal(err)
	}
	from, d, err := openDevice("/dev/loop0")
	if err != nil {
		t.Fatal(err)
	}
	to, _, err := openPath(target)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = errors.Join(unix.Close(from), unix.Close(to)) }()
	if err := bindFile(from, to); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
	if got, err := DeviceAt(target); err != nil || got != d {
		t.Errorf("got %v, %v", got, err)
	}
}
