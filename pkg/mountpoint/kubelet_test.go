package mountpoint_test

// What kubelet makes of our mounts: it asks them with k8s.io/mount-utils before it calls, and before it removes a directory. And what keeps
// that library out of the driver (docs/decisions/0009): when one of these is mended upstream, the decision is to be read again.

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"k8s.io/mount-utils"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/mountpoint/mountpointtest"
)

func TestKubeletSeesWhatIsMounted(t *testing.T) {
	base := dir(t)
	src := filepath.Join(base, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		t.Fatal(err)
	}
	mountpointtest.TmpFS(t, src)
	target := func(t *testing.T) string {
		t.Helper()
		path := filepath.Join(dir(t), "mount")
		if _, err := mountpoint.MakeMountpoint(path); err != nil {
			t.Fatal(err)
		}
		return path
	}
	bind := func(readOnly bool) func(t *testing.T) string {
		return func(t *testing.T) string {
			path := target(t)
			if err := mountpoint.Bind(src, path, readOnly); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
			return path
		}
	}
	for _, c := range []struct {
		name    string
		make    func(t *testing.T) string
		mounted bool
	}{
		{"a directory that nothing is mounted on yet", target, false},
		{"a published volume", bind(false), true},
		{"one that may be read alone", bind(true), true},
		{"a raw block volume", func(t *testing.T) string { return bound(t, mountpointtest.Loop(t, 1<<20)) }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := c.make(t)
			if exists, err := mount.PathExists(path); err != nil || !exists {
				t.Errorf("exists: %v, %v", exists, err)
			}
			not, err := mount.New("").IsLikelyNotMountPoint(path)
			if err != nil || not == c.mounted {
				t.Errorf("kubelet takes it for no mount: %v, %v", not, err)
			}
			if _, ok := find(t, path); ok != c.mounted {
				t.Errorf("we take it for a mount: %v", ok)
			}
		})
	}
}

// Kubelet unpublishes a dead mount only when it takes it for one: then it doesn't fail at its own stat.
func TestKubeletSeesWhatIsDead(t *testing.T) {
	path := dir(t)
	mountpointtest.Dead(t, path)
	exists, err := mount.PathExists(path)
	if !exists || !mount.IsCorruptedMnt(err) || !mountpoint.Dead(err) {
		t.Errorf("exists: %v, %v", exists, err)
	}
}

func TestWhyTheDriverReadsTheTableItself(t *testing.T) {
	t.Run("paths stay escaped", func(t *testing.T) {
		path := filepath.Join(dir(t), "with space")
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
		mountpointtest.TmpFS(t, path)
		if _, ok := find(t, path); !ok {
			t.Error("our table doesn't have it")
		}
		infos, err := mount.ParseMountInfo("/proc/self/mountinfo")
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range infos {
			if i.MountPoint == path {
				t.Error("mount-utils reads escapes now: read decision 9 again")
			}
		}
	})
	t.Run("a mount without a source hides all others", func(t *testing.T) {
		table := filepath.Join(t.TempDir(), "mountinfo")
		if err := os.WriteFile(table, []byte("22 1 0:21 / / rw - ext4 /dev/vda rw\n23 22 0:22 / /a rw - tmpfs  rw\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if infos, err := mount.ParseMountInfo(table); err == nil {
			t.Errorf("mount-utils reads such a table now, %+v: read decision 9 again", infos)
		}
		path := dir(t)
		if err := unix.Mount("", path, "tmpfs", 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(path, unix.MNT_DETACH) })
		if m, ok := find(t, path); !ok || m.Source != "" || m.FSType != "tmpfs" {
			t.Errorf("our table has %+v, %v", m, ok)
		}
	})
	t.Run("errors", func(t *testing.T) {
		for _, err := range []error{fmt.Errorf("wrapped: %w", syscall.ENOTCONN), syscall.ESHUTDOWN} {
			if mount.IsCorruptedMnt(err) {
				t.Errorf("mount-utils takes %v for a dead mount now: read decision 9 again", err)
			}
			if !mountpoint.Dead(err) {
				t.Errorf("we take %v for a live one", err)
			}
		}
		if !mount.IsCorruptedMnt(syscall.EIO) {
			t.Error("mount-utils takes EIO for one bad answer now: read decision 9 again")
		}
		if mountpoint.Dead(errors.Join(syscall.EIO)) {
			t.Error("we take EIO for a dead mount")
		}
	})
}
