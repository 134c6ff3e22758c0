package coldfs_test

// What one mount sees of another, and of any other client.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/s3"
)

// eventually waits until check returns nil, which it may be slow to; a test that fails says the last error.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	limit := time.Now().Add(time.Minute)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(limit) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func read(t testing.TB, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// The times of both mounts are long, so that what is seen at once isn't seen because a time is over.
func TestCloseToOpen(t *testing.T) {
	long := coldfstest.Options{Config: func(c *config.Config) { c.MetadataTTL = time.Hour }}
	a := mount(t, long)
	b := a.again(t, long)
	write(t, a.Path("f"), "first")
	for k, content := range []string{"second, longer", "third", "THIRD", ""} {
		if k > 0 {
			write(t, a.Path("f"), content)
		} else {
			content = "first"
		}
		// The other mount knows the file, its size and its pages, and yet what open() finds is what was closed.
		if got := read(t, b.Path("f")); got != content {
			t.Errorf("DATA MISMATCH: after close() of %q the other mount reads %q", content, got)
		}
	}
	write(t, b.Path("f"), "back")
	if got := read(t, a.Path("f")); got != "back" {
		t.Errorf("DATA MISMATCH: the first mount reads %q", got)
	}
	if err := os.Remove(a.Path("f")); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadFile(b.Path("f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after it was removed: %v", err)
	}
	f, err := os.OpenFile(a.Path("appended"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for k := range 5 {
		if _, err := fmt.Fprintf(f, "line %d\n", k); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
		if got := read(t, b.Path("appended")); strings.Count(got, "\n") != k+1 {
			t.Errorf("DATA MISMATCH: after %d lines and fsync the other mount reads %q", k+1, got)
		}
	}
}

// Names and attributes are as old as the volume says, not older.
func TestNamesAndAttributesGetNew(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	for _, name := range []string{"new", "d/new"} {
		if _, err := os.Stat(v.Path(name)); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("%s: %v", name, err)
		}
		v.put(t, "vol/"+name, "one")
		eventually(t, func() error { _, err := os.Stat(v.Path(name)); return err })
		v.put(t, "vol/"+name, "three")
		eventually(t, func() error {
			info, err := os.Stat(v.Path(name))
			if err == nil && info.Size() != 5 {
				err = fmt.Errorf("it has %d bytes", info.Size())
			}
			return err
		})
		if err := v.bucket.Delete(t.Context(), "vol/"+name); err != nil {
			t.Fatal(err)
		}
		eventually(t, func() error {
			if _, err := os.Stat(v.Path(name)); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("it was removed: %v", err)
			}
			return nil
		})
	}
}

// Who has a file open reads one version, whole, or an error: never some of each.
func TestAnOpenFileIsOneVersion(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	old, fresh := strings.Repeat("o", 20<<20), strings.Repeat("n", 20<<20)
	v.put(t, "vol/f", old)
	f, err := os.Open(v.Path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	head := make([]byte, 4096)
	if _, err := f.ReadAt(head, 0); err != nil {
		t.Fatal(err)
	}
	v.put(t, "vol/f", fresh)
	if got := read(t, v.Path("f")); got != fresh {
		t.Error("who opens it now reads the old version")
	}
	buffer := make([]byte, 1<<20)
	for off := int64(0); ; off += int64(len(buffer)) {
		n, err := f.ReadAt(buffer, off)
		if strings.Trim(string(buffer[:n]), "o") != "" {
			t.Fatalf("at %d there are bytes of the new version", off)
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, unix.ESTALE) {
				t.Errorf("the old version ends with %v", err)
			}
			break
		}
	}
	info, err := f.Stat()
	if err != nil || info.Size() != int64(len(old)) {
		t.Errorf("stat of the open file: %v, %v", info, err)
	}
}

// A write that another client's was faster than is an error and no silent loss, of either.
func TestALostUpdateIsAnError(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	for _, c := range []struct {
		name  string
		flags int
		there bool
	}{
		{"over an object", os.O_RDWR, true},
		{"truncating one", os.O_RDWR | os.O_TRUNC, true},
		{"a new one", os.O_RDWR | os.O_CREATE | os.O_EXCL, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			key := "vol/" + c.name
			if c.there {
				v.put(t, key, "before")
			}
			f, err := os.OpenFile(v.Path(c.name), c.flags, 0o644)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("mine"), 1); err != nil {
				t.Fatal(err)
			}
			v.put(t, key, "of another")
			if err := f.Sync(); !errors.Is(err, unix.ESTALE) {
				t.Errorf("fsync: %v", err)
			}
			if err := f.Close(); !errors.Is(err, unix.ESTALE) {
				t.Errorf("close: %v", err)
			}
			if got := string(v.object(t, key)); got != "of another" {
				t.Errorf("DATA MISMATCH: the store has %q", got)
			}
			eventually(t, func() error {
				if got := read(t, v.Path(c.name)); got != "of another" {
					return fmt.Errorf("the mount shows %q", got)
				}
				return nil
			})
		})
	}
}

func TestUnlinkedFilesGoOn(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	t.Run("one that was never in the store", func(t *testing.T) {
		f, err := os.Create(v.Path("temporary"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Remove(v.Path("temporary")); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(content); err != nil {
			t.Fatal(err)
		}
		if err := f.Sync(); err != nil {
			t.Errorf("fsync: %v", err)
		}
		got := make([]byte, len(content))
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, content) {
			t.Errorf("DATA MISMATCH: it can't be read as it was written: %v", err)
		}
		if err := f.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if _, err := v.bucket.Head(t.Context(), "vol/temporary"); !errors.Is(err, s3.ErrNotFound) {
			t.Errorf("the store has it: %v", err)
		}
	})
	for _, how := range []string{"removed", "replaced"} {
		t.Run("one that is "+how, func(t *testing.T) {
			if err := os.WriteFile(v.Path("f"), content, 0o644); err != nil {
				t.Fatal(err)
			}
			w := v.again(t, coldfstest.Options{}) // knows none of it, neither does its kernel
			f, err := os.OpenFile(w.Path("f"), os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if how == "removed" {
				err = os.Remove(w.Path("f"))
			} else {
				write(t, w.Path("other"), "other")
				err = os.Rename(w.Path("other"), w.Path("f"))
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.WriteAt([]byte("X"), 5); err != nil {
				t.Fatal(err)
			}
			want := append([]byte(nil), content...)
			want[5] = 'X'
			got := make([]byte, len(content))
			if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
				t.Errorf("DATA MISMATCH: it can't be read any more: %v", err)
			}
			if err := f.Sync(); err != nil {
				t.Errorf("fsync: %v", err)
			}
			entries, err := os.ReadDir(w.Dir)
			if err != nil || len(entries) != map[string]int{"removed": 0, "replaced": 1}[how] {
				t.Errorf("the directory has %v, %v", entries, err)
			}
			if how == "replaced" && read(t, w.Path("f")) != "other" {
				t.Error("DATA MISMATCH: the path isn't what replaced it")
			}
		})
	}
}

// Open files follow the directory they are in.
func TestARenamedDirectoryTakesItsOpenFilesAlong(t *testing.T) {
	v := mount(t, coldfstest.Options{})
	if err := os.MkdirAll(v.Path("a", "deep"), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, v.Path("a", "deep", "stored"), "stored")
	f, err := os.OpenFile(v.Path("a", "deep", "stored"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	fresh, err := os.Create(v.Path("a", "fresh"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fresh.WriteString("before"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(v.Path("a"), v.Path("b")); err != nil {
		t.Fatal(err)
	}
	for _, x := range []*os.File{f, fresh} {
		if _, err := x.WriteAt([]byte("after"), 6); err != nil {
			t.Fatal(err)
		}
		if err := x.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{"b/deep/stored": "storedafter", "b/fresh": "beforeafter"} {
		if got := string(v.object(t, "vol/"+name)); got != want {
			t.Errorf("DATA MISMATCH: the store has %q at %s, want %q", got, name, want)
		}
		if got := read(t, v.Path(name)); got != want {
			t.Errorf("DATA MISMATCH: %s is %q, want %q", name, got, want)
		}
	}
	page, err := v.bucket.List(t.Context(), s3.ListRequest{Prefix: "vol/a"})
	if err != nil || len(page.Objects) > 0 {
		t.Errorf("at the old name are %v, %v", page.Objects, err)
	}
	if _, err := os.Stat(v.Path("a")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old name: %v", err)
	}
}
