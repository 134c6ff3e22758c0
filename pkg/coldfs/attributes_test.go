package coldfs_test

// What stat shows, and where it is kept.

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

func TestAttributesAreKept(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: func(c *config.Config) { c.UID, c.GID = 1234, 5678; c.FileMode = 0o640; c.DirMode = 0o2750 }})
	stamp := time.Unix(1_600_000_000, 123456789)
	if err := os.Mkdir(v.Path("d"), 0o711); err != nil {
		t.Fatal(err)
	}
	write(t, v.Path("d", "f"), "content")
	if err := os.Symlink("f/../f", v.Path("d", "l")); err != nil {
		t.Fatal(err)
	}
	v.put(t, "vol/plain", "of another client")
	for _, err := range []error{
		os.Chmod(v.Path("d", "f"), 0o751), os.Chown(v.Path("d", "f"), 7, 8), os.Chtimes(v.Path("d", "f"), stamp, stamp),
		os.Chmod(v.Path("d"), 0o700), os.Chown(v.Path("d"), 9, 10), os.Chtimes(v.Path("d"), stamp, stamp),
		os.Lchown(v.Path("d", "l"), 11, 12),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	other := v.again(t, coldfstest.Options{Config: func(c *config.Config) { *c = v.Config }})
	for _, m := range []*volume{v, other} {
		for _, c := range []struct {
			name     string
			mode     uint32
			uid, gid uint32
			size     int64
			stamp    time.Time
		}{
			{"d/f", unix.S_IFREG | 0o751, 7, 8, 7, stamp},
			{"d", unix.S_IFDIR | 0o700, 9, 10, 0, stamp},
			{"d/l", unix.S_IFLNK | 0o777, 11, 12, 6, time.Time{}},
			{"plain", unix.S_IFREG | 0o640, 1234, 5678, 17, time.Time{}},
			{"", unix.S_IFDIR | 0o2750, 1234, 5678, 0, time.Time{}},
		} {
			var st unix.Stat_t
			if err := unix.Lstat(m.Path(c.name), &st); err != nil {
				t.Fatal(err)
			}
			if st.Mode != c.mode || st.Uid != c.uid || st.Gid != c.gid || st.Size != c.size {
				t.Errorf("%q: mode %o of %d:%d, %d bytes; want %o of %d:%d, %d bytes", c.name, st.Mode, st.Uid, st.Gid, st.Size, c.mode, c.uid, c.gid, c.size)
			}
			if got := time.Unix(st.Mtim.Unix()); !c.stamp.IsZero() && !got.Equal(c.stamp) {
				t.Errorf("%q: time %v, want %v", c.name, got, c.stamp)
			}
		}
		if target, err := os.Readlink(m.Path("d", "l")); err != nil || target != "f/../f" {
			t.Errorf("the symlink leads to %q, %v", target, err)
		}
	}
	// By a listing a symlink is seen too.
	entries, err := os.ReadDir(other.Path("d"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || (e.Name() == "l") != (info.Mode()&fs.ModeSymlink != 0) {
			t.Errorf("%s is %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if got := v.object(t, "vol/d/f"); string(got) != "content" {
		t.Errorf("the content is %q", got)
	}
}

// The metadata of a large file is in its upload from the beginning: setting it at the end would be a copy of the whole object.
// A mount for a group shows everything as that group's, whatever the store has, and keeps that of what is made in it.
func TestAMountForAGroup(t *testing.T) {
	const group, user = 2000, 1000
	plain := mount(t, coldfstest.Options{Config: func(c *config.Config) { c.UID, c.GID, c.DirMode, c.FileMode = 7, 8, 0o750, 0o640 }})
	for _, err := range []error{
		os.Mkdir(plain.Path("closed"), 0o700), os.WriteFile(plain.Path("closed", "secret"), []byte("before"), 0o600),
		os.Symlink("closed", plain.Path("link")), os.Chown(plain.Path("closed", "secret"), 11, 12),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	plain.put(t, "vol/other", "of another client")
	grouped := plain.again(t, coldfstest.Options{Config: func(c *config.Config) {
		*c = plain.Config
		g := uint32(group)
		c.MountGroup = &g
	}})
	stat := func(v *volume, name string) unix.Stat_t {
		t.Helper()
		var st unix.Stat_t
		if err := unix.Lstat(v.Path(name), &st); err != nil {
			t.Fatal(err)
		}
		return st
	}
	want := func(v *volume, name string, mode, uid, gid uint32) {
		t.Helper()
		if st := stat(v, name); st.Mode&0o7777 != mode || st.Uid != uid || st.Gid != gid {
			t.Errorf("%s: mode %o of %d:%d, want %o of %d:%d", name, st.Mode&0o7777, st.Uid, st.Gid, mode, uid, gid)
		}
	}
	want(grouped, "", 0o2770, 7, group)
	want(grouped, "other", 0o660, 7, group)
	want(grouped, "closed", 0o2770, 0, group)
	want(grouped, "closed/secret", 0o660, 11, group)
	want(grouped, "link", 0o777, 0, group)
	entries, err := os.ReadDir(grouped.Path())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Sys().(*syscall.Stat_t).Gid != group {
			t.Errorf("by the listing %s is %+v, %v", e.Name(), info, err)
		}
	}
	// Nobody but a member of the group may.
	if err := os.Chmod(filepath.Dir(grouped.Path()), 0o711); err != nil { // of the test's directory, for others to pass
		t.Fatal(err)
	}
	as := func(groups []uint32, script string) ([]byte, error) {
		cmd := exec.Command("sh", "-c", "umask 077; "+script)
		cmd.Dir = "/"
		cmd.Env = append(os.Environ(), "V="+grouped.Path())
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: user, Gid: user, Groups: groups}}
		return cmd.CombinedOutput()
	}
	if out, err := as(nil, `cat "$V/closed/secret"`); err == nil {
		t.Errorf("a stranger reads %q", out)
	}
	if out, err := as([]uint32{group}, `cat "$V/closed/secret" && echo after >"$V/closed/secret" && mkdir "$V/closed/made" && echo new >"$V/closed/made/file"`); err != nil || string(out) != "before" {
		t.Fatalf("a member of the group: %q, %v", out, err)
	}
	want(grouped, "closed/made", 0o2770, user, group)
	want(grouped, "closed/made/file", 0o660, user, group)
	if err := errors.Join(os.Chmod(grouped.Path("other"), 0o400), os.Chown(grouped.Path("other"), 13, 14)); err != nil {
		t.Fatal(err)
	}
	want(grouped, "other", 0o460, 13, group)
	// Others see what is in the store: what was there as it was, and what the group has made as its own.
	later := plain.again(t, coldfstest.Options{Config: func(c *config.Config) { *c = plain.Config }})
	want(later, "", 0o750, 7, 8)
	want(later, "closed", 0o700, 0, 0)
	want(later, "closed/secret", 0o600, 11, 12)
	want(later, "closed/made", 0o2770, user, group)
	want(later, "closed/made/file", 0o660, user, group)
	want(later, "other", 0o400, 13, 14)
	if got := plain.object(t, "vol/closed/secret"); string(got) != "after\n" {
		t.Errorf("the content is %q", got)
	}
}

func TestALargeFileIsSentOnce(t *testing.T) {
	v, p := proxied(t)
	f, err := os.Create(v.Path("large"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(make([]byte, 30<<20)); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	copies := p.Requests(s3test.Match{Method: "PUT", If: func(r s3test.Request) bool { return r.Header.Get("X-Amz-Copy-Source") != "" }})
	if len(copies) > 0 {
		t.Errorf("%d copies were made", len(copies))
	}
	o, err := v.bucket.Head(t.Context(), "vol/large")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(v.Path("large"))
	if err != nil || !info.ModTime().Equal(o.Modified) || o.Metadata["mode"] != "33188" {
		t.Errorf("its time is %v, that of the object %v, %v; its metadata %v", info.ModTime(), o.Modified, err, o.Metadata)
	}
}
