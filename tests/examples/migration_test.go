package examples

// The script of examples/migration.yaml, run as the Job runs it, over directories.

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type migration struct {
	t                      *testing.T
	script, old, new, shim string
}

func newMigration(t *testing.T) migration {
	t.Helper()
	dir := t.TempDir()
	m := migration{t: t, script: filepath.Join(dir, "migrate.sh"), old: filepath.Join(dir, "old"), new: filepath.Join(dir, "new"), shim: filepath.Join(dir, "bin")}
	for _, o := range objects(t, "../../examples/migration.yaml") {
		if text, ok := o.Data["migrate.sh"]; ok {
			m.write(m.script, text, 0o600)
		}
	}
	for _, d := range []string{m.old, m.new, m.shim} {
		m.must(os.MkdirAll(d, 0o755))
	}
	return m
}

func (m migration) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m migration) write(path, text string, mode fs.FileMode) {
	m.t.Helper()
	m.must(os.MkdirAll(filepath.Dir(path), 0o755))
	m.must(os.WriteFile(path, []byte(text), mode))
}

// files fills the old volume with names that break scripts.
func (m migration) files() map[string]string {
	m.t.Helper()
	want := map[string]string{}
	for i, name := range []string{
		"plain", "with space", "new\nline", "tab\there", "-rf", "back\\slash", "quote'\"", "*", "$(touch x)", "ends with newline\n", "\xff\xfe no UTF-8", ".hidden",
		"a/b/c/deep", "a/ \n/odd directory", "a/-n", "lost+found.not/x", "0 1 2 name like an entry",
	} {
		want[name] = strings.Repeat(fmt.Sprintf("%d %s\n", i, name), 1+i*100)
		m.write(filepath.Join(m.old, name), want[name], fs.FileMode(0o600+i%8*0o10))
	}
	m.write(filepath.Join(m.old, "lost+found", "x"), "of the old file system", 0o600)
	m.must(os.Link(filepath.Join(m.old, "plain"), filepath.Join(m.old, "second name")))
	want["second name"] = want["plain"]
	m.must(os.Symlink("with space", filepath.Join(m.old, "link")))
	m.must(os.Symlink("/nowhere\n", filepath.Join(m.old, "dangling\nlink")))
	m.must(os.Mkdir(filepath.Join(m.old, "empty"), 0o700))
	m.must(os.Chmod(filepath.Join(m.old, "empty"), 0o770|fs.ModeSetgid))
	m.must(os.Truncate(filepath.Join(m.old, "plain"), 3<<20)) // a hole
	want["plain"] += strings.Repeat("\x00", 3<<20-len(want["plain"]))
	want["second name"] = want["plain"]
	old := time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC)
	m.must(os.Chtimes(filepath.Join(m.old, "with space"), old, old))
	if os.Geteuid() == 0 {
		m.must(os.Lchown(filepath.Join(m.old, "-rf"), 1000, 2000))
		m.must(os.Chown(m.old, 0, 2000))
	}
	return want
}

// shimTar puts a program before tar that runs it and then the lines, with n the number of its call that extracts.
func (m migration) shimTar(lines string) {
	m.t.Helper()
	tar, err := exec.LookPath("tar")
	m.must(err)
	m.write(filepath.Join(m.shim, "tar"), fmt.Sprintf("#!/bin/bash\nset -e\ncase \" $* \" in *' -xf '*) ;; *) exec %s \"$@\" ;; esac\n"+
		"echo >>%s/calls\nn=$(wc -l <%s/calls)\n%s \"$@\"\n%s\n", tar, m.shim, m.shim, tar, lines), 0o700)
}

func (m migration) run() (string, error) {
	m.t.Helper()
	c := exec.CommandContext(m.t.Context(), "bash", m.script)
	c.Env = append(os.Environ(), "OLD="+m.old, "NEW="+m.new, "BATCH_FILES=4", "PATH="+m.shim+":"+os.Getenv("PATH"))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

// same checks the new volume by other means than the script's.
func (m migration) same(want map[string]string) {
	m.t.Helper()
	for name, text := range want {
		if got, err := os.ReadFile(filepath.Join(m.new, name)); err != nil || string(got) != text {
			m.t.Errorf("%q: %d bytes, want %d: %v", name, len(got), len(text), err)
		}
	}
	err := filepath.WalkDir(m.old, func(path string, _ fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(m.old, path)
		if err != nil || rel == "lost+found" || strings.HasPrefix(rel, "lost+found/") {
			return err
		}
		var a, b unix.Stat_t
		if err := unix.Lstat(path, &a); err != nil {
			return err
		}
		if err := unix.Lstat(filepath.Join(m.new, rel), &b); err != nil {
			m.t.Errorf("%q: %v", rel, err)
			return nil
		}
		if a.Mode != b.Mode || a.Uid != b.Uid || a.Gid != b.Gid || rel != "." && a.Mtim != b.Mtim {
			m.t.Errorf("%q: mode %o owner %d:%d time %v, want %o %d:%d %v", rel, b.Mode, b.Uid, b.Gid, b.Mtim, a.Mode, a.Uid, a.Gid, a.Mtim)
		}
		if a.Mode&unix.S_IFMT == unix.S_IFLNK {
			x, _ := os.Readlink(path)
			if y, _ := os.Readlink(filepath.Join(m.new, rel)); x != y {
				m.t.Errorf("%q: link to %q, want %q", rel, y, x)
			}
		}
		return nil
	})
	m.must(err)
	if _, err := os.Lstat(filepath.Join(m.new, "lost+found")); err == nil {
		m.t.Error("lost+found was copied")
	}
}

func TestMigration(t *testing.T) {
	m := newMigration(t)
	want := m.files()
	out, err := m.run()
	if err != nil || !strings.Contains(out, "COMPLETE: 20 files") || !strings.Contains(out, "20 of 20 files") || !strings.Contains(out, "(100%)") {
		t.Fatalf("%v:\n%s", err, out)
	}
	m.same(want)
	// Done again, it copies nothing.
	if out, err = m.run(); err != nil || !strings.Contains(out, "20 files are there already, 0 with") {
		t.Errorf("again: %v:\n%s", err, out)
	}
}

// An interrupted one goes on where it was, with nothing half copied taken for whole.
func TestMigrationGoesOn(t *testing.T) {
	m := newMigration(t)
	want := m.files()
	// The first call makes the directories. At the fourth the machine goes down, in the middle of a file.
	m.shimTar(`if [[ $n == 4 ]]; then f=$(find "$NEW" -type f -size +1k -newer "$NEW/.strata-migration/done" ! -path '*/.strata-migration/*' -print -quit); echo half >"${f:-$NEW/half}"; kill -KILL $PPID; fi`)
	out, err := m.run()
	if err == nil {
		t.Fatalf("wasn't interrupted:\n%s", out)
	}
	m.must(os.Remove(filepath.Join(m.shim, "tar")))
	m.must(os.RemoveAll(filepath.Join(m.new, "half")))
	out, err = m.run()
	if err != nil || !strings.Contains(out, "COMPLETE: 20 files") {
		t.Fatalf("%v:\n%s", err, out)
	}
	if strings.Contains(out, " 0 files are there already") || !strings.Contains(out, "8 files are there already, 12 with") {
		t.Errorf("began anew:\n%s", out)
	}
	m.same(want)
}

// A copy that isn't the same is said, fails the Job, and is made again.
func TestMigrationNoticesWhatDiffers(t *testing.T) {
	m := newMigration(t)
	want := m.files()
	m.shimTar(`[[ $n != 2 ]] || for f in "$NEW"/*; do if [[ -f $f && ! -L $f && -s $f ]]; then touch -r "$f" "$NEW/../t"; printf X | dd of="$f" conv=notrunc status=none; touch -r "$NEW/../t" "$f"; break; fi; done`)
	out, err := m.run()
	if err == nil || !strings.Contains(out, "FAILED: copied, and not the same:") {
		t.Fatalf("%v:\n%s", err, out)
	}
	m.must(os.Remove(filepath.Join(m.shim, "tar")))
	if out, err = m.run(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	m.same(want)
}

// What was changed on either side is noticed, and copied when it is the old one's.
func TestMigrationOfAChangedVolume(t *testing.T) {
	m := newMigration(t)
	want := m.files()
	if out, err := m.run(); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	m.write(filepath.Join(m.old, "with space"), "newer", 0o600)
	want["with space"] = "newer"
	m.must(os.Remove(filepath.Join(m.new, "-rf")))
	out, err := m.run()
	if err != nil || !strings.Contains(out, "2 with") {
		t.Fatalf("%v:\n%s", err, out)
	}
	m.same(want)
	m.write(filepath.Join(m.new, "a", "more"), "than there was", 0o600)
	if out, err := m.run(); err == nil || !strings.Contains(out, "./a/more") {
		t.Errorf("a file too much: %v:\n%s", err, out)
	}
}
