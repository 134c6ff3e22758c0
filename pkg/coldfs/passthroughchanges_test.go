package coldfs_test

// Files that the kernel reads by itself, and that others change, rename or replace meanwhile.

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
)

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
					t.Errorf("DATA MISMATCH: the object has %d bytes, want %d others", len(got), len(want))
				}
				for range 2 {
					if got := read(t, v.Path(c.name)); got != want {
						t.Errorf("DATA MISMATCH: opened afterwards it has %d bytes, want %d others", len(got), len(want))
					}
				}
			}
			whole(t, f, content, "the file that was open before, in the end")
			_ = f.Close()
			if want != "" && read(t, v.Path(c.name)) != want {
				t.Error("DATA MISMATCH: it isn't the same after the other was closed")
			}
			if string(m) != content {
				t.Error("DATA MISMATCH: the mapping isn't what was mapped")
			}
		})
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
		t.Fatalf("DATA MISMATCH: after %s: %d bytes that are no version since it was opened; %v", operation, n, err)
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
					t.Fatalf("DATA MISMATCH: operation %d: what is opened has %d bytes and isn't what was closed last, %d bytes", k, n, len(last))
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
