package coldfs_test

// Programs that people run on such a volume.

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
)

func command(t testing.TB, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@example.com", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@example.com")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// source makes files of many kinds outside of the volume.
func source(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(7, 7))
	for k := range 60 {
		sub := filepath.Join(dir, fmt.Sprintf("dir%d", k%7), fmt.Sprintf("sub%d", k%3))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			t.Fatal(err)
		}
		content := make([]byte, r.IntN(100_000))
		for i := range content {
			content[i] = byte(r.Uint32())
		}
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprintf("file %d", k)), content, fs.FileMode(0o600+k%2*0o155)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "empty"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("dir1/sub1", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// digest is of all names, types, modes, times and contents below a directory.
func digest(t testing.TB, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := os.Lstat(p)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		fmt.Fprintf(&all, "%s %v", rel, info.Mode())
		switch {
		case info.Mode().IsRegular():
			content, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, " %d %v %x", info.Size(), info.ModTime().UnixNano(), sha256.Sum256(content))
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, " -> %s", target)
		}
		all.WriteByte('\n')
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all.String()
}

func TestTar(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	from, out := source(t), t.TempDir()
	// Directories get their modes at last, which tar does by itself; the root is the volume's own.
	if err := os.Mkdir(v.Path("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "archive")
	command(t, from, "tar", "--format=pax", "-cf", archive, ".")
	command(t, v.Path("x"), "tar", "-xf", archive)
	w := v.again(t, coldfstest.Options{}) // reads what the store has
	command(t, w.Path("x"), "tar", "--format=pax", "-cf", w.Path("archive"), ".")
	command(t, out, "tar", "-xf", v.Path("archive"))
	if got, want := digest(t, out), digest(t, from); got != want {
		t.Errorf("DATA MISMATCH: there and back:\n%s\nwant\n%s", got, want)
	}
}

func TestGitClone(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	from := source(t)
	command(t, from, "git", "init", "-q", "-b", "main")
	command(t, from, "git", "add", "-A")
	command(t, from, "git", "commit", "-q", "-m", "one")
	command(t, v.Dir, "git", "clone", "-q", "file://"+from, "clone")
	if got := command(t, v.Path("clone"), "git", "status", "--porcelain"); got != "" {
		t.Errorf("DATA MISMATCH: right after the clone git sees changes:\n%s", got)
	}
	write(t, v.Path("clone", "new"), "new")
	command(t, v.Path("clone"), "git", "add", "-A")
	command(t, v.Path("clone"), "git", "commit", "-q", "-m", "two")
	command(t, v.Path("clone"), "git", "gc", "-q")
	w := v.again(t, coldfstest.Options{})
	command(t, w.Path("clone"), "git", "-c", "safe.directory=*", "fsck", "--strict")
	if got := strings.Count(command(t, w.Path("clone"), "git", "-c", "safe.directory=*", "log", "--oneline"), "\n"); got != 2 {
		t.Errorf("another mount sees %d commits, want 2", got)
	}
}

// As torch.save and its like do it: a temporary file, fsync, renamed over the last one. A reader sees one or the other, whole, or is told that it is gone.
func TestCheckpoints(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	w := v.again(t, coldfstest.Options{})
	stop := make(chan struct{})
	read := make(chan error)
	go func() {
		var err error
		for n := 0; err == nil; n++ {
			select {
			case <-stop:
				read <- nil
				return
			default:
			}
			var content []byte
			content, err = os.ReadFile(w.Path("model.pt"))
			// ESTALE: it was replaced while it was read, and what wasn't read yet is gone.
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESTALE) {
				err = nil
				continue
			}
			if err == nil && (len(content) == 0 || len(bytes.Trim(content, string(content[:1]))) > 0) {
				err = fmt.Errorf("DATA MISMATCH: a checkpoint of %d bytes isn't whole", len(content))
			}
		}
		<-stop
		read <- err
	}()
	for k := range 8 {
		tmp, err := os.CreateTemp(v.Dir, "model.pt.*.tmp")
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(tmp, io.LimitReader(letters(byte('a'+k)), int64(1<<20+k*3<<20)))
		if err == nil {
			err = tmp.Sync()
		}
		if err == nil {
			err = tmp.Close()
		}
		if err == nil {
			err = os.Rename(tmp.Name(), v.Path("model.pt"))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-read; err != nil {
		t.Errorf("the reader: %v", err)
	}
	if got := v.object(t, "vol/model.pt"); len(got) != 1<<20+7*3<<20 || got[0] != 'h' {
		t.Errorf("the last checkpoint has %d bytes of %c", len(got), got[0])
	}
	entries, err := os.ReadDir(w.Dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

type letters byte

func (l letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(l)
	}
	return len(p), nil
}

// sqlite works on one mount at a time: its locks are known to this node's kernel alone.
func TestSqlite(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	script := `
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("create table if not exists t (k integer primary key, v text)")
for k in range(200):
    db.execute("insert into t (v) values (?)", ("x" * 500,))
    if k % 20 == 19:
        db.commit()
print(db.execute("select count(*), sum(length(v)) from t").fetchone(), db.execute("pragma integrity_check").fetchone())
`
	if got, want := command(t, v.Dir, "python3", "-c", script, v.Path("db")), "(200, 100000) ('ok',)\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	w := v.again(t, coldfstest.Options{})
	if got, want := command(t, w.Dir, "python3", "-c", script, w.Path("db")), "(400, 200000) ('ok',)\n"; got != want {
		t.Errorf("DATA MISMATCH: on another mount, after the first has closed it: got %q, want %q", got, want)
	}
}
