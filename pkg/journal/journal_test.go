package journal

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

type record struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

func open(t *testing.T, dir string) *Journal {
	t.Helper()
	j, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
	})
	return j
}

func put(t *testing.T, j *Journal, key string, v any) {
	t.Helper()
	if err := j.Put(key, v); err != nil {
		t.Fatal(err)
	}
}

// expect fails unless the journal holds exactly these records and the directory nothing else but the lock.
func expect(t *testing.T, j *Journal, want map[string]record) {
	t.Helper()
	keys, err := j.Keys()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]record{}
	for _, key := range keys {
		var r record
		if err := j.Load(key, &r); err != nil {
			t.Error(err)
		}
		got[key] = r
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("records (-want +got)\n%s", d)
	}
	files, err := os.ReadDir(j.root.Name())
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(want)+1 {
		t.Errorf("%d records and a lock are %d files: %v", len(want), len(files), files)
	}
}

func TestRecordsOutliveTheProcess(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state", "scratch")
	j := open(t, dir)
	put(t, j, "b", record{"b", 1})
	put(t, j, "a.B_c-9", record{"a", 2})
	put(t, j, "b", record{"b", 3})
	put(t, j, "gone", record{"gone", 4})
	put(t, j, strings.Repeat("k", maxKey), record{"long", 5})
	put(t, j, "lock", record{"a key like the lock's", 6})
	for range 2 { // the second finds it gone
		if err := j.Delete("gone"); err != nil {
			t.Fatal(err)
		}
	}
	want := map[string]record{"a.B_c-9": {"a", 2}, "b": {"b", 3}, strings.Repeat("k", maxKey): {"long", 5}, "lock": {"a key like the lock's", 6}}
	expect(t, j, want)
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	expect(t, open(t, dir), want)

	for path, mode := range map[string]os.FileMode{dir: 0o700, filepath.Dir(dir): 0o700, filepath.Join(dir, "b.json"): 0o600, filepath.Join(dir, "lock"): 0o600} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != mode {
			t.Errorf("%s has mode %#o, want %#o", path, info.Mode().Perm(), mode)
		}
	}
}

func TestLoadOfNothing(t *testing.T) {
	if err := open(t, t.TempDir()).Load("a", new(record)); !errors.Is(err, ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func TestKeysThatNameNoRecord(t *testing.T) {
	j := open(t, t.TempDir())
	for _, key := range []string{"", ".", "..", ".a", "a/b", "../a", "a b", "ä", "a\n", "a\x00", "a:b", strings.Repeat("k", maxKey+1)} {
		for what, err := range map[string]error{"Put": j.Put(key, 1), "Load": j.Load(key, new(int)), "Delete": j.Delete(key)} {
			if !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), "[A-Za-z0-9._-]") {
				t.Errorf("%s(%.20q): %v", what, key, err)
			}
		}
	}
	expect(t, j, map[string]record{})
}

func TestPutOfWhatIsNoJSON(t *testing.T) {
	j := open(t, t.TempDir())
	if err := j.Put("a", func() {}); err == nil || !strings.Contains(err.Error(), "record a") {
		t.Errorf("got %v", err)
	}
	expect(t, j, map[string]record{})
}

func TestADamagedRecordIsReportedAndKept(t *testing.T) {
	for name, text := range map[string]string{
		"empty": "", "cut": `{"name":"a","si`, "zeros": string(make([]byte, 30)), "two": `{"name":"a"}{"name":"b"}`, "another type": `[1]`,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "a.json")
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			j := open(t, dir)
			keys, err := j.Keys()
			if err != nil || !cmp.Equal(keys, []string{"a"}) {
				t.Errorf("keys %v, %v", keys, err)
			}
			err = j.Load("a", new(record))
			if err == nil || errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "by hand") {
				t.Errorf("got %v", err)
			}
			if got, err := os.ReadFile(path); err != nil || string(got) != text {
				t.Errorf("the file is %q, %v", got, err)
			}
		})
	}
}

func TestFilesOfOthers(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"README", "a.json.bak", ".nfs001", ".hidden.json"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	j := open(t, dir)
	if keys, err := j.Keys(); err != nil || len(keys) != 0 {
		t.Errorf("keys %v, %v", keys, err)
	}
	path := filepath.Join(dir, "a copy.json")
	if err := os.WriteFile(path, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := j.Keys(); !errors.Is(err, ErrKey) || !strings.Contains(err.Error(), path) {
		t.Errorf("with a record that can't be one: %v", err)
	}
}

func TestOpenRemovesWhatAnInterruptedWriteLeft(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".a.17.tmp"), []byte(`{"na`), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, open(t, dir), map[string]record{})
}

// TestHolder is a process of its own when JOURNAL_HOLD names a journal: it opens it, says so, and has it until its input ends.
func TestHolder(t *testing.T) {
	dir := os.Getenv("JOURNAL_HOLD")
	if dir == "" {
		dir = t.TempDir()
	}
	j := open(t, dir)
	if os.Getenv("JOURNAL_HOLD") != "" {
		fmt.Println("open")
		_, _ = os.Stdin.Read(make([]byte, 1))
	}
	expect(t, j, map[string]record{})
}

func TestOneProcessHasAJournal(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestHolder$")
	cmd.Env = append(os.Environ(), "JOURNAL_HOLD="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	if _, err := out.Read(make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	_, err = Open(dir)
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{dir, fmt.Sprintf("process %d", cmd.Process.Pid), "stop it"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	expect(t, open(t, dir), map[string]record{}) // the lock ended with the process
}

func TestAJournalIsClosedOnce(t *testing.T) {
	dir := t.TempDir()
	j := open(t, dir)
	if _, err := Open(dir); !errors.Is(err, ErrLocked) {
		t.Errorf("a second Open in one process: %v", err)
	}
	put(t, j, "a", record{"a", 1})
	if err := errors.Join(j.Close(), j.Close()); err != nil {
		t.Fatal(err)
	}
	_, err := j.Keys()
	for what, err := range map[string]error{"Put": j.Put("a", record{}), "Delete": j.Delete("a"), "Load": j.Load("a", new(record)), "Keys": err} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s: %v", what, err)
		}
	}
	expect(t, open(t, dir), map[string]record{"a": {"a", 1}})
}

func TestOpenRefusesAPlaceThatIsNotOurs(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "chmod 700") {
		t.Errorf("writable by a group: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{file, filepath.Join(file, "below")} {
		if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "not a directory") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestAFullDiskKeepsTheOldRecord(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("journal-test", dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
		t.Fatalf("mount a tmpfs, as root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	j := open(t, dir) // closed before the unmount
	put(t, j, "a", record{"old", 1})
	put(t, j, "b", record{"b", 2})
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatalf("the disk isn't full: %v", err)
	}
	for _, key := range []string{"a", "new"} {
		err := j.Put(key, record{"new", 3})
		if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), "make room on the file system of "+dir) {
			t.Errorf("%s: %v", key, err)
		}
	}
	if err := j.Delete("b"); err != nil { // that gives room back, and must go on a full disk
		t.Error(err)
	}
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	expect(t, j, map[string]record{"a": {"old", 1}})
	put(t, j, "a", record{"new", 3})
	expect(t, j, map[string]record{"a": {"new", 3}})
}

func TestManyAtOnce(t *testing.T) {
	j := open(t, t.TempDir())
	want := map[string]record{}
	var wg sync.WaitGroup
	for i := range 20 {
		key := fmt.Sprintf("k%d", i)
		want[key] = record{key, 2}
		wg.Go(func() {
			for n := range 3 {
				if err := j.Put(key, record{key, int64(n)}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 5 {
				if err := errors.Join(j.Put("same", record{"same", 1}), j.Load("same", new(record))); err != nil {
					t.Error(err)
				}
				if _, err := j.Keys(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	want["same"] = record{"same", 1}
	expect(t, j, want)
}

// TestADirectoryThatWasMovedKeepsItsJournal: records go where the lock is, not to whatever has the path by now.
func TestADirectoryThatWasMovedKeepsItsJournal(t *testing.T) {
	base := t.TempDir()
	dir, moved := filepath.Join(base, "a"), filepath.Join(base, "b")
	j := open(t, dir)
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	other := open(t, dir)
	put(t, j, "k", record{"mine", 1})
	expect(t, other, map[string]record{})
	if _, err := os.Stat(filepath.Join(moved, "k.json")); err != nil {
		t.Error(err)
	}
}
