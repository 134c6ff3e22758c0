package projectquota

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestLayouts: the sizes that the kernel copies (linux/dqblk_xfs.h, linux/fs.h).
func TestLayouts(t *testing.T) {
	for name, size := range map[string][2]uintptr{
		"fs_disk_quota": {unsafe.Sizeof(quotaOf{}), 112}, "fs_quota_statv": {unsafe.Sizeof(stateV{}), 160}, "fsxattr": {unsafe.Sizeof(fsxattr{}), 28},
	} {
		if size[0] != size[1] {
			t.Errorf("struct %s has %d bytes, want %d", name, size[0], size[1])
		}
	}
	if o := unsafe.Offsetof(quotaOf{}.blocks); o != 40 {
		t.Errorf("d_bcount is at %d", o)
	}
	if fsGetXattr != 0x801c581f || fsSetXattr != 0x401c5820 {
		t.Errorf("ioctls %#x, %#x", uint(fsGetXattr), uint(fsSetXattr))
	}
}

// xfs is a new XFS behind a loop device, mounted as this machine's kernel can: its attributes work without quotas too.
func xfs(t *testing.T) string {
	t.Helper()
	image, dir := filepath.Join(t.TempDir(), "image"), t.TempDir()
	for _, args := range [][]string{{"truncate", "--size", "300M", image}, {"mkfs.xfs", "-q", image}, {"mount", "-o", "loop", image, dir}} {
		if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// place is an XFS mounted with prjquota, or this machine's own.
func place(t *testing.T) (dir string, quotas bool) {
	if dir := os.Getenv("STRATA_XFS_PRJQUOTA_DIR"); dir != "" {
		dir, err := os.MkdirTemp(dir, "projectquota-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		return dir, true
	}
	return xfs(t), false
}

func TestAttributesAreInherited(t *testing.T) {
	dir, _ := place(t)
	top, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer top.Close()
	want := Attr{Project: 4_000_000_000, Inherit: true}
	if err := SetAttr(top, want); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "below"), 0o700), os.WriteFile(filepath.Join(dir, "below", "file"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]Attr{"": want, "below": want, "below/file": {Project: want.Project}} {
		f, err := os.Open(filepath.Join(dir, path))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := GetAttr(f); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", path, got, err, want)
		}
		// The two flags don't disturb the project.
		for _, a := range []Attr{{Project: want.Project, Inherit: want.Inherit, Immutable: true}, {Project: want.Project, Inherit: want.Inherit, Append: true}, want} {
			if err := SetAttr(f, a); err != nil {
				t.Fatal(err)
			}
			if got, err := GetAttr(f); err != nil || got != a {
				t.Errorf("%q: %+v, %v; want %+v", path, got, err, a)
			}
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAttributesNeedAFileSystemThatHasThem(t *testing.T) {
	f, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if a, err := GetAttr(f); !errors.Is(err, unix.ENOTTY) && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("/proc: %+v, %v", a, err)
	}
	if err := SetAttr(f, Attr{Project: 1}); err == nil {
		t.Error("/proc took a project")
	}
}

// TestWithoutQuota: every call says so.
func TestWithoutQuota(t *testing.T) {
	dir, quotas := place(t)
	if quotas {
		dir = os.Getenv("STRATA_XFS_PLAIN_DIR")
	}
	q, err := Open(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if s, err := q.State(); !errors.Is(err, unix.ENOSYS) {
		t.Errorf("state: %+v, %v", s, err)
	}
	if u, err := q.Usage(7); err == nil {
		t.Errorf("usage: %+v", u)
	}
	if err := q.Limit(7, Limits{Bytes: 1 << 20}); err == nil {
		t.Error("a limit was set")
	}
	for _, l := range []Limits{{Bytes: -1}, {Inodes: -1}} {
		if err := q.Limit(7, l); err == nil {
			t.Errorf("%+v was set", l)
		}
	}
	if err := q.Limit(0, Limits{}); err == nil {
		t.Error("project 0 was limited")
	}
}

func TestOpenRefusesWhatIsNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{file, file + "none"} {
		if q, err := Open(p, ""); err == nil {
			t.Errorf("%s: opened", p)
			_ = q.Close()
		}
	}
}
