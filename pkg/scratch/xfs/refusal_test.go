package xfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// TestProbeRefuses: every reason is said, and a refused place has nothing of ours on it.
func TestProbeRefuses(t *testing.T) {
	dir := t.TempDir()
	file, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Symlink(".", link)); err != nil {
		t.Fatal(err)
	}
	plain := plainXFS(t)
	want := "CONFIG_XFS_QUOTA"
	if _, err := os.Stat("/proc/fs/xfs/xqmstat"); err == nil {
		want = "mounted without project quotas"
	}
	for path, reason := range map[string]string{
		dir: "not on XFS", file: "directory that exists", dir + "/none": "no such file", link: "symbolic link", "x": "absolute", dir + "/../x": "clean",
		plain: want,
	} {
		d, err := Probe(t.Context(), path)
		var r *disk.Refused
		if d != nil || !errors.As(err, &r) || r.Kind != disk.XFS || !strings.Contains(r.Reason, reason) {
			t.Errorf("%s: %v; want a refusal that says %q", path, err, reason)
		}
	}
	for _, p := range []string{dir, plain} {
		if _, err := os.Lstat(filepath.Join(p, homeName)); !os.IsNotExist(err) {
			t.Errorf("in %s, which was refused: %v", p, err)
		}
	}
}

func TestMountOptions(t *testing.T) {
	const floor = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV
	for _, tt := range []struct {
		options  string
		readOnly bool
		set      uint64
	}{
		{"", false, floor | unix.MOUNT_ATTR_NOATIME},
		{"", true, floor | unix.MOUNT_ATTR_NOATIME | unix.MOUNT_ATTR_RDONLY},
		{"ro", false, floor | unix.MOUNT_ATTR_NOATIME | unix.MOUNT_ATTR_RDONLY},
		{"rw", true, floor | unix.MOUNT_ATTR_NOATIME | unix.MOUNT_ATTR_RDONLY},
		{"relatime,noexec", false, floor | unix.MOUNT_ATTR_NOEXEC},
		{"noexec,exec,relatime", false, floor},
		{"relatime,noatime,nodiratime", false, floor | unix.MOUNT_ATTR_NOATIME | unix.MOUNT_ATTR_NODIRATIME},
		{"strictatime,nosymfollow", false, floor | unix.MOUNT_ATTR_STRICTATIME | unix.MOUNT_ATTR_NOSYMFOLLOW},
	} {
		a, err := attributes(strings.FieldsFunc(tt.options, func(r rune) bool { return r == ',' }), tt.readOnly)
		if err != nil || a.Attr_set != tt.set || a.Attr_clr != unix.MOUNT_ATTR__ATIME {
			t.Errorf("%q, read-only %v: set %#x, clear %#x, %v; want %#x", tt.options, tt.readOnly, a.Attr_set, a.Attr_clr, err, tt.set)
		}
	}
	for _, o := range []string{"suid", "dev", "discard", "prjquota", "logbsize=256k", "", "noatime,noexec"} {
		if _, err := attributes([]string{o}, false); !errors.Is(err, volume.ErrInvalid) {
			t.Errorf("%q: %v", o, err)
		}
	}
}

func TestWipePolicies(t *testing.T) {
	d, err := open(plainXFS(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(d.Close(), os.Remove(filepath.Join(d.path, homeName))); err != nil {
			t.Error(err)
		}
	}()
	for wipe, want := range map[disk.Wipe]error{
		disk.WipeNone: nil, disk.WipeZero: volume.ErrPrecondition, disk.WipeDiscard: volume.ErrPrecondition, "shred": volume.ErrInvalid,
	} {
		if err := d.CheckWipe(wipe); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", wipe, err, want)
		}
	}
}
