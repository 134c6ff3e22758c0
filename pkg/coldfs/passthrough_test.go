package coldfs_test

// Files that the kernel reads from the cache by itself.

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
)

const throughBlock = 128 << 10 // bytes

// noise is content that is nowhere the same.
func noise(seed uint64, size int) string {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, size)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return string(b)
}

func readOnly(c *config.Config) { c.ReadOnly, c.BlockSize = true, throughBlock }

func immutable(c *config.Config) { c.Immutable, c.BlockSize = true, throughBlock }

// backings are how many files of the cache stand for files of the mount: the engine has no others open to read alone.
func (v *volume) backings(t testing.TB) (n int) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/", v.PID())
	fds, err := os.ReadDir(dir + "fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		path, _ := os.Readlink(dir + "fd/" + fd.Name())
		if !strings.HasPrefix(filepath.Base(filepath.Dir(path)), "data-") {
			continue
		}
		info, _ := os.ReadFile(dir + "fdinfo/" + fd.Name())
		_, flags, _ := strings.Cut(string(info), "flags:\t")
		flags, _, _ = strings.Cut(flags, "\n")
		if mode, err := strconv.ParseUint(flags, 8, 32); err == nil && mode&unix.O_ACCMODE == unix.O_RDONLY {
			n++
		}
	}
	return n
}

// open opens a file once it is whole in the cache and the kernel reads it by itself.
func (v *volume) open(t testing.TB, name string) *os.File {
	t.Helper()
	var f *os.File
	before := 0
	eventually(t, func() error {
		if f != nil {
			_ = f.Close()
			f = nil
		}
		read(t, v.Path(name))
		var err error
		before = v.backings(t)
		if f, err = os.Open(v.Path(name)); err != nil {
			return err
		}
		if now := v.backings(t); now <= before {
			return fmt.Errorf("%s isn't read by the kernel alone: %d backing files, before %d", name, now, before)
		}
		return nil
	})
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// whole compares all that a file has, from its beginning.
func whole(t testing.TB, f *os.File, want, what string) {
	t.Helper()
	got := make([]byte, len(want)+1)
	n, _ := f.ReadAt(got, 0)
	if string(got[:n]) != want {
		t.Errorf("DATA MISMATCH: %s: %d bytes, want %d others", what, n, len(want))
	}
}

// dropPages has the kernel forget what it has of a file.
func dropPages(t testing.TB, f *os.File) {
	t.Helper()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
}

func TestTheKernelReadsWholeFilesByItself(t *testing.T) {
	for _, c := range []struct {
		name    string
		from    int64
		through bool
	}{{"from one byte on", 1, true}, {"never", 0, false}, {"larger ones alone", 4 << 20, false}} {
		t.Run(c.name, func(t *testing.T) {
			v := mount(t, coldfstest.Options{Config: func(x *config.Config) { readOnly(x); x.Passthrough = c.from }})
			content := noise(1, 3<<20)
			v.put(t, "vol/f", content)
			if c.through {
				_ = v.open(t, "f").Close()
			} else if read(t, v.Path("f")) != content {
				t.Error("the first read is wrong")
			}
			for range 5 {
				f, err := os.Open(v.Path("f"))
				if err != nil {
					t.Fatal(err)
				}
				whole(t, f, content, "read")
				m, err := unix.Mmap(int(f.Fd()), 0, len(content), unix.PROT_READ, unix.MAP_SHARED)
				if err != nil {
					t.Fatal(err)
				}
				if string(m) != content {
					t.Error("the mapping is wrong")
				}
				if err := unix.Munmap(m); err != nil {
					t.Fatal(err)
				}
				dropPages(t, f)
				_ = f.Close()
			}
			if err := v.Unmount(); err != nil {
				t.Fatal(err)
			}
			opens, reads := v.Count("strata_cold_passthrough_opens_total", ""), v.Count("strata_cold_operation_seconds", "read")
			t.Logf("%v opened so, %v READ requests", opens, reads)
			if c.through && opens < 6 || !c.through && opens != 0 {
				t.Errorf("%v opened so", opens)
			}
			if !c.through && reads < 6*3 {
				t.Errorf("%v READ requests for six times 3 MiB", reads)
			}
		})
	}
}

// What is read of a file that is open so asks the engine nothing: it could be stopped.
func TestAStoppedEngineIsNotMissed(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: readOnly})
	content := noise(2, 3<<20)
	v.put(t, "vol/f", content)
	f := v.open(t, "f")
	if err := unix.Kill(v.PID(), unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	whole(t, f, content, "read while the engine is stopped")
	m, err := unix.Mmap(int(f.Fd()), 0, len(content), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	if string(m) != content {
		t.Error("DATA MISMATCH: mapped while the engine is stopped: wrong")
	}
	if err := errors.Join(unix.Munmap(m), unix.Kill(v.PID(), unix.SIGCONT)); err != nil {
		t.Fatal(err)
	}
}

func TestAFileThatIsReadByTheKernelKeepsItsVersion(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: readOnly})
	first, second := noise(3, 1<<20), noise(4, 2<<20)
	v.put(t, "vol/f", first)
	f := v.open(t, "f")
	m, err := unix.Mmap(int(f.Fd()), 0, len(first), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(m) }()
	v.put(t, "vol/f", second)
	if read(t, v.Path("f")) != second {
		t.Error("DATA MISMATCH: opened after it was replaced: not the new version")
	}
	whole(t, f, first, "the open file, after it was replaced")
	g := v.open(t, "f")
	whole(t, g, second, "the new version, read by the kernel too")
	whole(t, f, first, "the open file, beside the new one")
	if err := v.bucket.Delete(t.Context(), "vol/f"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Open(v.Path("f")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after it was removed: %v", err)
	}
	whole(t, f, first, "the open file, after it was removed")
	whole(t, g, second, "the other, after it was removed")
	_ = f.Close()
	if string(m) != first {
		t.Error("DATA MISMATCH: the mapping is wrong after its file was closed")
	}
}

// A file that becomes whole while it is open goes on as it is, and who opens it from then on doesn't need the engine.
func TestAFileThatBecomesWholeWhileItIsOpen(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: readOnly})
	content := noise(5, 2<<20)
	v.put(t, "vol/f", content)
	early, err := os.Open(v.Path("f"))
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	whole(t, early, content, "the first")
	for range 3 {
		f := v.open(t, "f")
		dropPages(t, early)
		whole(t, early, content, "the first, which asks the engine")
		whole(t, f, content, "a later one")
		a, err := early.Stat()
		b, err2 := f.Stat()
		if err != nil || err2 != nil || !os.SameFile(a, b) {
			t.Errorf("it isn't the same file by stat: %v, %v", err, err2)
		}
		_ = f.Close()
		eventually(t, func() error {
			if n := v.backings(t); n != 0 {
				return fmt.Errorf("%d backing files after the last was closed", n)
			}
			return nil
		})
	}
	whole(t, early, content, "the first, in the end")
}

// What the credential may not read isn't opened, whatever the cache has.
func TestOnlyWhoMayReadOpensWhatIsWhole(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: readOnly})
	content := noise(11, 1<<20)
	v.put(t, "vol/f", content)
	f := v.open(t, "f")
	bad := v.server.Credentials
	bad.SecretAccessKey += "wrong"
	v.NewCredentials(t, bad)
	eventually(t, func() error {
		g, err := os.Open(v.Path("f"))
		if err == nil {
			return errors.Join(errors.New("opened with a credential that is refused"), g.Close())
		}
		if !errors.Is(err, unix.EACCES) {
			return err
		}
		return nil
	})
	whole(t, f, content, "what is open")
	v.NewCredentials(t, v.server.Credentials)
	eventually(t, func() error { g, err := os.Open(v.Path("f")); return errors.Join(err, g.Close()) })
}

// Many open a file at once while it becomes whole, and nobody is refused for the way in which others have it.
func TestManyOpenAFileWhileItBecomesWhole(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: readOnly})
	var all sync.WaitGroup
	for n := range 4 {
		name, content := fmt.Sprintf("f%d", n), noise(uint64(40+n), 1<<20)
		v.put(t, "vol/"+name, content)
		for range 4 {
			all.Go(func() {
				for range 40 {
					f, err := os.Open(v.Path(name))
					if err != nil {
						t.Errorf("open %s: %v", name, err)
						return
					}
					whole(t, f, content, name)
					_ = f.Close()
				}
			})
		}
	}
	all.Wait()
	if err := v.Unmount(); err != nil {
		t.Fatal(err)
	}
	n := v.Count("strata_cold_passthrough_opens_total", "")
	t.Logf("%v of 640 opened so", n)
	if n == 0 {
		t.Error("none was opened so")
	}
}
