package coldfs_test

// Files that the kernel reads from the cache by itself.

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
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
		t.Errorf("%s: %d bytes, want %d others", what, n, len(want))
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
		t.Error("mapped while the engine is stopped: wrong")
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
		t.Error("opened after it was replaced: not the new version")
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
		t.Error("the mapping is wrong after its file was closed")
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

// Whoever needs the engine gets it while others have the file open without.
func TestChangesOfAFileThatIsReadByTheKernel(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: immutable})
	content := noise(6, 1<<20)
	for _, c := range []struct {
		name string
		do   func(path string) error
		want func(was string) string // "": the file is gone
	}{
		{"write", func(path string) error {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteAt([]byte("NEW"), 100)
			return errors.Join(err, f.Close())
		}, func(was string) string { return was[:100] + "NEW" + was[103:] }},
		{"append", func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("more")
			return errors.Join(err, f.Close())
		}, func(was string) string { return was + "more" }},
		{"open to truncate", func(path string) error { return os.WriteFile(path, []byte("short"), 0o644) }, func(string) string { return "short" }},
		{"create over it", func(path string) error {
			fd, err := unix.Open(path, unix.O_CREAT|unix.O_TRUNC|unix.O_RDONLY, 0o644)
			if err != nil {
				return err
			}
			return errors.Join(unix.Close(fd), os.WriteFile(path, []byte("x"), 0o644))
		}, func(string) string { return "x" }},
		{"truncate by path", func(path string) error { return os.Truncate(path, 1000) }, func(was string) string { return was[:1000] }},
		{"chmod", func(path string) error { return os.Chmod(path, 0o600) }, func(was string) string { return was }},
		{"rename over it", func(path string) error {
			if err := os.WriteFile(path+".new", []byte("another"), 0o644); err != nil {
				return err
			}
			return os.Rename(path+".new", path)
		}, func(string) string { return "another" }},
		{"rename it away and back", func(path string) error {
			return errors.Join(os.Rename(path, path+".away"), os.Rename(path+".away", path))
		}, func(was string) string { return was }},
		{"remove", os.Remove, func(string) string { return "" }},
		{"remove and make anew", func(path string) error {
			return errors.Join(os.Remove(path), os.WriteFile(path, []byte("anew"), 0o644))
		}, func(string) string { return "anew" }},
		{"read around the kernel's pages", func(path string) error {
			fd, err := unix.Open(path, unix.O_RDONLY|unix.O_DIRECT, 0)
			if err != nil {
				return err
			}
			p := make([]byte, 100)
			_, err = unix.Pread(fd, p, 7)
			return errors.Join(err, unix.Close(fd))
		}, func(was string) string { return was }},
	} {
		t.Run(c.name, func(t *testing.T) {
			v.put(t, "vol/"+c.name, content)
			f := v.open(t, c.name)
			m, err := unix.Mmap(int(f.Fd()), 0, len(content), unix.PROT_READ, unix.MAP_SHARED)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = unix.Munmap(m) }()
			if err := c.do(v.Path(c.name)); err != nil {
				t.Fatal(err)
			}
			whole(t, f, content, "the file that was open before")
			want := c.want(content)
			if want == "" {
				if _, err := os.Open(v.Path(c.name)); !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("opened after it was removed: %v", err)
				}
			} else {
				if got := v.object(t, "vol/"+c.name); string(got) != want {
					t.Errorf("the object has %d bytes, want %d others", len(got), len(want))
				}
				for range 2 {
					if got := read(t, v.Path(c.name)); got != want {
						t.Errorf("opened afterwards it has %d bytes, want %d others", len(got), len(want))
					}
				}
			}
			whole(t, f, content, "the file that was open before, in the end")
			_ = f.Close()
			if want != "" && read(t, v.Path(c.name)) != want {
				t.Error("it isn't the same after the other was closed")
			}
			if string(m) != content {
				t.Error("the mapping isn't what was mapped")
			}
		})
	}
}

// What the cache must give up others for stays, as long as somebody has it open or mapped.
func TestWhatTheKernelReadsIsNotGivenUp(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: func(c *config.Config) { readOnly(c); c.CacheLimit = 8 << 20 }})
	open, mapped := noise(8, 1<<20), noise(9, 1<<20)
	v.put(t, "vol/open", open)
	v.put(t, "vol/mapped", mapped)
	for k := range 12 {
		v.put(t, fmt.Sprintf("vol/other-%d", k), noise(uint64(20+k), 2<<20))
	}
	f, g := v.open(t, "open"), v.open(t, "mapped")
	m, err := unix.Mmap(int(g.Fd()), 0, len(mapped), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	_ = g.Close()
	for k := range 12 {
		if got := read(t, v.Path(fmt.Sprintf("other-%d", k))); got != noise(uint64(20+k), 2<<20) {
			t.Errorf("file %d is wrong", k)
		}
		whole(t, f, open, "the open file")
		if string(m) != mapped {
			t.Fatalf("after %d files the mapping is wrong", k+1)
		}
	}
	if err := errors.Join(unix.Munmap(m), f.Close(), v.Unmount()); err != nil {
		t.Fatal(err)
	}
	if n := v.Count("strata_cold_cache_evictions_total", ""); n == 0 {
		t.Error("nothing was given up")
	}
}

// A cache that another engine has filled is checked before the kernel reads it, which is done beside.
func TestAnEarlierEnginesFilesAreReadByTheKernel(t *testing.T) {
	dir := t.TempDir()
	with := coldfstest.Options{Config: func(c *config.Config) { readOnly(c); c.CacheDir = dir }}
	v := mount(t, with)
	content := noise(10, 2<<20)
	v.put(t, "vol/f", content)
	_ = v.open(t, "f").Close()
	if err := v.Unmount(); err != nil {
		t.Fatal(err)
	}
	again := v.again(t, with)
	var f *os.File
	eventually(t, func() error { // opened, and never read
		var err error
		if f, err = os.Open(again.Path("f")); err != nil {
			return err
		}
		if again.backings(t) == 0 {
			return errors.Join(errors.New("it isn't read by the kernel alone"), f.Close())
		}
		return nil
	})
	defer f.Close()
	whole(t, f, content, "read")
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

func TestWithoutBackingFiles(t *testing.T) {
	content := noise(12, 1<<20)
	reads := func(t *testing.T, v *volume) {
		t.Helper()
		for range 4 {
			f, err := os.Open(v.Path("f"))
			if err != nil {
				t.Fatal(err)
			}
			whole(t, f, content, "read")
			dropPages(t, f)
			_ = f.Close()
		}
		if n := v.backings(t); n != 0 {
			t.Errorf("%d backing files", n)
		}
		if n := strings.Count(v.Log(), "are read through the engine, not by the kernel alone"); n != 1 {
			t.Errorf("it was said %d times, want once\n%s", n, v.Log())
		}
	}
	t.Run("an earlier holder", func(t *testing.T) {
		v := mount(t, coldfstest.Options{Config: func(c *config.Config) { readOnly(c); c.Passthrough = 0 }})
		v.put(t, "vol/f", content)
		reads(t, v)
	})
	t.Run("a holder that doesn't answer", func(t *testing.T) {
		v := mount(t, coldfstest.Options{Config: readOnly, Deaf: true})
		v.put(t, "vol/f", content)
		eventually(t, func() error {
			read(t, v.Path("f"))
			if !strings.Contains(v.Log(), "doesn't answer") {
				return errors.New("it isn't said that the holder doesn't answer")
			}
			return nil
		})
		reads(t, v)
	})
	t.Run("a holder that dies", func(t *testing.T) {
		v := mount(t, coldfstest.Options{Config: readOnly})
		v.put(t, "vol/f", content)
		v.put(t, "vol/g", content)
		f := v.open(t, "f")
		read(t, v.Path("g"))
		v.Leave()
		whole(t, f, content, "what is open")
		again, err := os.Open(v.Path("f"))
		if err != nil {
			t.Fatal(err)
		}
		whole(t, again, content, "opened again")
		_, _ = again.Close(), f.Close()
		eventually(t, func() error {
			if got := read(t, v.Path("g")); got != content {
				return errors.New("the other file is wrong")
			}
			if n := v.backings(t); n != 0 || !strings.Contains(v.Log(), "are read through the engine") {
				return fmt.Errorf("%d backing files", n)
			}
			return nil
		})
		reads(t, v)
	})
	t.Run("a volume that is written", func(t *testing.T) {
		v := mount(t, coldfstest.Options{})
		v.put(t, "vol/f", content)
		for range 4 {
			if read(t, v.Path("f")) != content {
				t.Error("read wrongly")
			}
		}
		if n := v.backings(t); n != 0 || bytes.Contains([]byte(v.Log()), []byte("by the kernel alone")) {
			t.Errorf("%d backing files\n%s", n, v.Log())
		}
	})
}

// The holder has a limit, and takes more when something was given back.
func TestBackingFilesAreBounded(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: readOnly})
	path := filepath.Join(v.Config.CacheDir, "file")
	write(t, path, "content")
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b := v.Backings()
	last := int32(0)
	for k := range control.MaxBackings {
		a := b.Do(control.BackingRequest{Request: uint64(k)}, f)
		if a == nil || a.ID <= 0 || a.Refused != "" {
			t.Fatalf("backing file %d: %+v", k, a)
		}
		last = a.ID
	}
	if a := b.Do(control.BackingRequest{Request: 1}, f); a == nil || !a.Full || a.ID != 0 {
		t.Errorf("one more: %+v", a)
	}
	if a := b.Do(control.BackingRequest{Close: last}, nil); a != nil {
		t.Errorf("giving one back: %+v", a)
	}
	if a := b.Do(control.BackingRequest{Request: 2}, f); a == nil || a.ID <= 0 {
		t.Errorf("after one was given back: %+v", a)
	}
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

// At random: whoever opens the file has what was closed last, and whoever has it open has one version, not one older than what he opened.
func TestRandomVersionsOfAFileThatIsReadByTheKernel(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: immutable})
	r := rand.New(rand.NewPCG(fsxSeed(t), 6))
	versions := []string{noise(100, 300<<10)}
	path := v.Path("f")
	v.put(t, "vol/f", versions[0])
	type reader struct {
		f    *os.File
		from int // the version that it opened
	}
	var readers []reader
	check := func(x reader, operation string) {
		t.Helper()
		got := make([]byte, 1<<20)
		n, err := x.f.ReadAt(got, 0)
		for _, want := range versions[x.from:] {
			// Pages that the kernel had to give up meanwhile, of a version that the store has no more, are an error and nothing else.
			if string(got[:n]) == want || errors.Is(err, unix.ESTALE) && strings.HasPrefix(want, string(got[:n])) {
				return
			}
		}
		t.Fatalf("after %s: %d bytes that are no version since it was opened; %v", operation, n, err)
	}
	for k := range 300 {
		last := versions[len(versions)-1]
		operation := []string{"open", "open", "open", "open", "read", "read", "close", "write", "append", "truncate", "replace", "rename", "another client", "drop pages"}[r.IntN(14)]
		var err error
		switch operation {
		case "open":
			var f *os.File
			if f, err = os.Open(path); err == nil {
				got := make([]byte, len(last)+1)
				if n, _ := f.ReadAt(got, 0); string(got[:n]) != last {
					t.Fatalf("operation %d: what is opened has %d bytes and isn't what was closed last, %d bytes", k, n, len(last))
				}
				readers = append(readers, reader{f, len(versions) - 1})
			}
		case "close":
			if len(readers) > 0 {
				at := r.IntN(len(readers))
				err = readers[at].f.Close()
				readers = slices.Delete(readers, at, at+1)
			}
		case "write", "append":
			at := len(last)
			if operation == "write" {
				at = r.IntN(len(last))
			}
			part := noise(uint64(200+k), 1+r.IntN(40<<10))
			var f *os.File
			if f, err = os.OpenFile(path, os.O_RDWR, 0); err == nil {
				_, err = f.WriteAt([]byte(part), int64(at))
				err = errors.Join(err, f.Close())
			}
			rest := ""
			if end := at + len(part); end < len(last) {
				rest = last[end:]
			}
			versions = append(versions, last[:at]+part+rest)
		case "truncate":
			size := len(last) - r.IntN(min(len(last)-1, 20<<10))
			err = os.Truncate(path, int64(size))
			versions = append(versions, last[:size])
		case "replace":
			content := noise(uint64(1000+k), 200<<10+r.IntN(200<<10))
			err = os.WriteFile(path, []byte(content), 0o644)
			// Who has it open may see it emptied.
			versions = append(versions, "", content)
		case "rename":
			content := noise(uint64(2000+k), 200<<10+r.IntN(200<<10))
			err = errors.Join(os.WriteFile(path+".new", []byte(content), 0o644), os.Rename(path+".new", path))
			versions = append(versions, content)
		case "another client":
			content := noise(uint64(3000+k), 200<<10+r.IntN(200<<10))
			v.put(t, "vol/f", content)
			versions = append(versions, content)
		case "drop pages":
			if len(readers) > 0 && readers[0].from == len(versions)-1 {
				dropPages(t, readers[0].f)
			}
		}
		if err != nil {
			t.Fatalf("operation %d, %s: %v", k, operation, err)
		}
		for _, x := range readers {
			check(x, operation)
		}
	}
	for _, x := range readers {
		_ = x.f.Close()
	}
	if err := v.Unmount(); err != nil {
		t.Fatal(err)
	}
	n := v.Count("strata_cold_passthrough_opens_total", "")
	t.Logf("%v opened so, %d versions", n, len(versions))
	if n == 0 {
		t.Error("none was opened so")
	}
}
