package coldfs_test

// What an engine holds at once is bounded, whatever programs do.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs"
	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/device"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

func TestOpenFilesAreBounded(t *testing.T) {
	const limit = 20
	v := mount(t, coldfstest.Options{Limits: coldfs.Limits{Handles: limit}})
	v.put(t, "vol/d/f", "content")
	var open []*os.File
	for k := range limit {
		var f *os.File
		var err error
		switch k % 3 {
		case 0:
			f, err = os.Open(v.Path("d"))
		case 1:
			f, err = os.Open(v.Path("d", "f"))
		case 2:
			f, err = os.Create(v.Path(fmt.Sprint("new-", k)))
		}
		must(t, "open", err)
		defer f.Close()
		open = append(open, f)
	}
	for what, try := range map[string]func() (*os.File, error){
		"a file":           func() (*os.File, error) { return os.Open(v.Path("d", "f")) },
		"a directory":      func() (*os.File, error) { return os.Open(v.Path("d")) },
		"a file, emptying": func() (*os.File, error) { return os.OpenFile(v.Path("d", "f"), os.O_RDWR|os.O_TRUNC, 0) },
		"a new file":       func() (*os.File, error) { return os.Create(v.Path("d", "new")) },
	} {
		if f, err := try(); !errors.Is(err, unix.ENFILE) {
			t.Errorf("%s, which is one more than may be open: %v", what, err)
			_ = f.Close()
		}
	}
	// What was refused has done nothing.
	if got := string(v.object(t, "vol/d/f")); got != "content" {
		t.Errorf("DATA MISMATCH: the store has %q", got)
	}
	if _, err := os.Stat(v.Path("d", "new")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the new file: %v", err)
	}
	if _, err := v.bucket.Head(t.Context(), "vol/d/new"); !errors.Is(err, s3.ErrNotFound) {
		t.Errorf("the store has the new file: %v", err)
	}
	// Who has closed one may open another; the kernel tells of the end of a file when it gets to it.
	must(t, "close", open[0].Close())
	eventually(t, func() (err error) {
		open[0], err = os.Open(v.Path("d", "f"))
		return err
	})
	if _, err := os.Open(v.Path("d", "f")); !errors.Is(err, unix.ENFILE) {
		t.Errorf("one more again: %v", err)
	}
	for _, f := range open {
		must(t, "close", f.Close())
	}
	eventually(t, func() error {
		content, err := os.ReadFile(v.Path("d", "f"))
		if err == nil && string(content) != "content" {
			t.Errorf("DATA MISMATCH: it reads %q", content)
		}
		return err
	})
}

func TestKnownNamesAreBounded(t *testing.T) {
	const limit, dirs, files = 100, 30, 40
	server := s3test.Start(t)
	bucket, name := newBucket(t, server)
	var group errgroup.Group
	group.SetLimit(16)
	for d := range dirs {
		for k := range files {
			group.Go(func() error {
				_, err := bucket.Put(t.Context(), fmt.Sprintf("vol/d%02d/f%02d", d, k), strings.NewReader("content"), 7, s3.WriteOptions{})
				return err
			})
		}
	}
	must(t, "put", group.Wait())
	// walk finds all files, and looks at each if it is to.
	walk := func(t *testing.T, m *coldfstest.Mount, stat bool) {
		t.Helper()
		found := 0
		for d := range dirs {
			dir, err := os.Open(m.Path(fmt.Sprintf("d%02d", d)))
			must(t, "open", err)
			names, err := dir.Readdirnames(-1)
			must(t, "list", errors.Join(err, dir.Close()))
			found += len(names)
			for _, name := range names {
				if !stat {
					continue
				}
				if info, err := os.Lstat(filepath.Join(dir.Name(), name)); err != nil || info.Size() != 7 {
					t.Fatalf("%s: %v, %v", name, info, err)
				}
			}
		}
		if found != dirs*files {
			t.Errorf("%d files, want %d", found, dirs*files)
		}
	}
	start := func(t *testing.T, nodes int) *coldfstest.Mount {
		// The kernel forgets no name by itself.
		return coldfstest.Start(t, server, name, coldfstest.Options{
			Watched: true, Limits: coldfs.Limits{Nodes: nodes}, Config: func(c *config.Config) { c.MetadataTTL = time.Hour },
		})
	}
	few := func(n float64) bool { return n <= limit }
	t.Run("many are allowed", func(t *testing.T) {
		m := start(t, 0)
		walk(t, m, true)
		m.Wait(t, "strata_cold_nodes", func(n float64) bool { return n > dirs*files })
	})
	t.Run("names are listed", func(t *testing.T) {
		m := start(t, limit)
		walk(t, m, false)
		m.Wait(t, "strata_cold_nodes", few)
		// The entries of one answer (8 KiB) are known until it is sent, the directories as they are opened by name.
		if most := m.Most("strata_cold_nodes"); most > 2*limit+52+dirs+1 {
			t.Errorf("there were %v nodes", most)
		}
	})
	t.Run("each is looked at", func(t *testing.T) {
		m := start(t, limit)
		kept, err := os.Open(m.Path("d00", "f00"))
		must(t, "open", err)
		defer kept.Close()
		for range 2 {
			walk(t, m, true)
			m.Wait(t, "strata_cold_nodes", few)
		}
		t.Logf("at most there were %v nodes", m.Most("strata_cold_nodes"))
		// What is open is never given up.
		got := make([]byte, 7)
		if _, err := kept.ReadAt(got, 0); err != nil || string(got) != "content" {
			t.Errorf("DATA MISMATCH: the open file reads %q, %v", got, err)
		}
	})
}

// 64 files are read from a store that doesn't answer: so many requests as are allowed wait for it, and nothing else waits for them.
func TestRequestsAtOnceAreBounded(t *testing.T) {
	const files, limit = 64, 8
	server := s3test.Start(t)
	bucket, name := newBucket(t, server)
	proxy := s3test.Proxy(t, server.Endpoint)
	v := &volume{coldfstest.Start(t, server, name, coldfstest.Options{
		Endpoint: proxy.Endpoint, Watched: true, Limits: coldfs.Limits{Requests: device.Limits{Read: limit}},
	}), server, bucket, name}
	content := func(k int) string { return strings.Repeat(fmt.Sprintf("%08d", k), 4<<10) } // 32 KiB: one request of the kernel
	var open []*os.File
	for k := range files {
		v.put(t, fmt.Sprint("vol/f", k), content(k))
		f, err := os.Open(v.Path(fmt.Sprint("f", k)))
		must(t, "open", err)
		defer f.Close()
		open = append(open, f)
	}
	v.Wait(t, "strata_cold_handles", func(n float64) bool { return n == files })
	idle := v.Count("strata_cold_goroutines", "")
	v.Forget()
	release := make(chan struct{})
	waiting := proxy.Add(s3test.Rule{Match: s3test.Match{Method: "GET", If: func(r s3test.Request) bool { return r.Key != "" && !strings.HasPrefix(r.Key, "vol/.strata") }}, Fault: s3test.Delay(release)})
	var readers sync.WaitGroup
	for k, f := range open {
		readers.Go(func() {
			got := make([]byte, len(content(k)))
			if _, err := f.ReadAt(got, 0); err != nil || string(got) != content(k) {
				t.Errorf("DATA MISMATCH: file %d isn't read as it is: %v", k, err)
			}
		})
	}
	defer readers.Wait()
	defer close(release)
	eventually(t, func() error {
		if n := waiting.Hits(); n < limit {
			return fmt.Errorf("%d requests wait for the store, want %d", n, limit)
		}
		return nil
	})
	// Others go on, so the store has had the time for more.
	for k := range 20 {
		path := v.Path(fmt.Sprint("new", k))
		write(t, path, "new")
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
		must(t, "rename", os.Rename(path, path+"-renamed"))
	}
	if _, err := os.ReadDir(v.Dir); err != nil {
		t.Error(err)
	}
	if n := waiting.Hits(); n != limit {
		t.Errorf("%d requests wait for the store, want %d", n, limit)
	}
	v.Wait(t, "strata_cold_handles", func(n float64) bool { return n == files })
	// A request of the kernel that waits for the store is itself, its fetch, and two for the connection; and others have come and gone.
	if most := v.Most("strata_cold_goroutines"); most > idle+5*limit+64 { // 64 requests at once would be 200
		t.Errorf("there were %v goroutines, %v before", most, idle)
	}
	t.Logf("at most there were %v goroutines, %v before", v.Most("strata_cold_goroutines"), idle)
}
