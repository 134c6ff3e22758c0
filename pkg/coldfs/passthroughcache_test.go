package coldfs_test

// What the cache and the holder of its files have to do with what the kernel reads by itself: room, earlier engines, a holder that fails.

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
)

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

// readThroughEngine reads a whole file several times, which the kernel never does by itself, and wants that said once.
func (v *volume) readThroughEngine(t testing.TB, name, content string) {
	t.Helper()
	for range 4 {
		f, err := os.Open(v.Path(name))
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

func TestWithoutBackingFiles(t *testing.T) {
	content := noise(12, 1<<20)
	reads := func(t *testing.T, v *volume) { t.Helper(); v.readThroughEngine(t, "f", content) }
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
