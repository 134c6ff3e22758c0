package coldfs_test

// Looking at many names of a directory, one after the other.

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// counted mounts a volume behind a proxy, with count small objects d/f0000 and so on of another client's. What is known stays so for ttl.
func counted(t *testing.T, ttl time.Duration, count int) (*volume, *s3test.FaultProxy) {
	t.Helper()
	server := s3test.Start(t)
	bucket, name := newBucket(t, server)
	v := &volume{server: server, bucket: bucket, name: name}
	var group errgroup.Group
	group.SetLimit(16)
	for i := range count {
		group.Go(func() error {
			_, err := bucket.Put(t.Context(), "vol/"+file(i), strings.NewReader("content"), 7, s3.WriteOptions{})
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	p := s3test.Proxy(t, server.Endpoint)
	v.Mount = coldfstest.Start(t, server, name, coldfstest.Options{Endpoint: p.Endpoint, Config: func(c *config.Config) { c.MetadataTTL = ttl }})
	return v, p
}

func file(i int) string { return fmt.Sprintf("d/f%04d", i) }

// look is stat of a file that has size bytes.
func (v *volume) look(t *testing.T, name string, size int64) {
	t.Helper()
	info, err := os.Lstat(v.Path(name))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() != size {
		t.Fatalf("%s has %d bytes, want %d", name, info.Size(), size)
	}
}

func (v *volume) absent(t *testing.T, name string) {
	t.Helper()
	if info, err := os.Lstat(v.Path(name)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v, %v", name, info, err)
	}
}

// bounded compares how many requests came for so many names.
func bounded(t *testing.T, p *s3test.FaultProxy, count, most int) {
	t.Helper()
	n := p.Count(s3test.Match{})
	t.Logf("%d requests for %d names", n, count)
	if n > most {
		t.Errorf("%d requests for %d names, want at most %d", n, count, most)
	}
}

func TestAWalkAsksForPages(t *testing.T) {
	const count = 400
	t.Run("names that are known", func(t *testing.T) {
		v, p := counted(t, time.Hour, count)
		p.Forget()
		for i := range count {
			v.look(t, file(i), 7)
		}
		// Each of them by itself would be a HEAD and a listing. Of 400 files the first two are, some more are asked for because of their metadata; the directory itself is looked up too.
		bounded(t, p, count, 60)
		if n := p.Count(s3test.Match{Query: "list-type"}); n > 8 {
			t.Errorf("%d of them were listings", n)
		}
	})
	t.Run("files that are read", func(t *testing.T) {
		v, p := counted(t, time.Hour, count)
		p.Forget()
		for i := range count {
			if got := read(t, v.Path(file(i))); got != "content" {
				t.Fatalf("DATA MISMATCH: %s is %q", file(i), got)
			}
		}
		// open() asks whether it is the version that is known, and its content is another.
		bounded(t, p, count, 2*count+60)
	})
	t.Run("all names first", func(t *testing.T) {
		v, p := counted(t, time.Hour, count)
		p.Forget()
		entries, err := os.ReadDir(v.Path("d"))
		if err != nil || len(entries) != count {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
		for _, e := range entries {
			v.look(t, "d/"+e.Name(), 7)
		}
		bounded(t, p, count, 60)
	})
	t.Run("files with attributes of their own", func(t *testing.T) {
		v, p := counted(t, time.Hour, 0)
		stamp := time.Unix(1_600_000_000, 5000)
		if err := os.Mkdir(v.Path("d"), 0o755); err != nil {
			t.Fatal(err)
		}
		for i := range count {
			write(t, v.Path(file(i)), "content")
			if i%10 == 0 {
				if err := errors.Join(os.Chmod(v.Path(file(i)), 0o600), os.Chtimes(v.Path(file(i)), stamp, stamp)); err != nil {
					t.Fatal(err)
				}
			}
		}
		w := &volume{coldfstest.Start(t, v.server, v.name, coldfstest.Options{Endpoint: p.Endpoint, Config: func(c *config.Config) { c.MetadataTTL = time.Hour }}), v.server, v.bucket, v.name}
		p.Forget()
		for i := range count {
			info, err := os.Stat(w.Path(file(i)))
			if err != nil {
				t.Fatal(err)
			}
			if own := i%10 == 0; own != (info.Mode() == 0o600) || own != info.ModTime().Equal(stamp) || info.Size() != 7 {
				t.Errorf("%s: %v, %v, %d bytes", file(i), info.Mode(), info.ModTime(), info.Size())
			}
		}
		bounded(t, p, count, count+20)
	})
	t.Run("directories", func(t *testing.T) {
		v, p := counted(t, time.Hour, 0)
		for i := range count {
			v.put(t, "vol/"+file(i)+"/x", "content")
		}
		p.Forget()
		for i := range count {
			if info, err := os.Stat(v.Path(file(i))); err != nil || !info.IsDir() {
				t.Fatalf("%s: %v, %v", file(i), info, err)
			}
		}
		bounded(t, p, count, count+20)
	})
}

// Where pages are of no use, there are no more requests than without: two for each name.
func TestRandomLookupsSendNoMoreRequests(t *testing.T) {
	const count, looks = 3000, 300
	v, p := counted(t, time.Hour, count)
	v.look(t, file(count-1), 7)
	p.Forget()
	for i := range looks {
		v.look(t, file(i*1409%(count-1)), 7)
	}
	bounded(t, p, looks, 2*looks)
	if n := p.Count(s3test.Match{Query: "list-type", If: func(r s3test.Request) bool { return r.Query.Get("delimiter") == "/" }}); n > 10 {
		t.Errorf("%d pages were asked for", n)
	}
}

// What another node does is seen when the time for it is over, and a file that wasn't there is seen at once: its maker may have told somebody.
func TestOthersChangesAreSeenInPagesToo(t *testing.T) {
	const count = 100
	v, _ := counted(t, time.Second, count)
	walk := func() {
		for i := range count {
			v.look(t, file(i), 7)
		}
	}
	walk()
	v.put(t, "vol/d/f0050-new", "new")
	v.look(t, "d/f0050-new", 3)
	v.put(t, "vol/d/f0050-dir/x", "new")
	v.look(t, "d/f0050-dir/x", 3)

	v.put(t, "vol/"+file(70), "longer than before")
	if err := v.bucket.Delete(t.Context(), "vol/"+file(71)); err != nil {
		t.Fatal(err)
	}
	if got := read(t, v.Path(file(70))); got != "longer than before" {
		t.Errorf("DATA MISMATCH: who opens it reads %q", got)
	}
	if _, err := os.ReadFile(v.Path(file(71))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what was removed: %v", err)
	}
	v.put(t, "vol/"+file(72), "longer than before")
	if err := v.bucket.Delete(t.Context(), "vol/"+file(73)); err != nil {
		t.Fatal(err)
	}
	// The walks go on, so that there is always a page that is young.
	eventually(t, func() error {
		var errs []error
		for i := range count {
			info, err := os.Lstat(v.Path(file(i)))
			switch {
			case i == 71 || i == 73:
				if !errors.Is(err, fs.ErrNotExist) {
					errs = append(errs, fmt.Errorf("%s was removed: %v, %v", file(i), info, err))
				}
			case err != nil:
				errs = append(errs, err)
			case (i == 70 || i == 72) != (info.Size() == 18):
				errs = append(errs, fmt.Errorf("%s has %d bytes", file(i), info.Size()))
			}
		}
		return errors.Join(errs...)
	})
}

// What this mount does itself is seen at once, whatever page has it as it was.
func TestOwnChangesAreSeenAtOnce(t *testing.T) {
	const count = 200
	v, p := counted(t, time.Hour, count)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		must(os.Mkdir(v.Path(fmt.Sprintf("d/g%02d", i)), 0o755))
	}
	entries, err := os.ReadDir(v.Path("d"))
	must(err)
	if len(entries) != count+20 {
		t.Fatalf("%d entries", len(entries))
	}
	p.Forget()
	for i := 0; i < count; i += 10 {
		for k := range 4 {
			v.look(t, file(i+k), 7)
		}
		must(os.Remove(v.Path(file(i + 4))))
		v.absent(t, file(i+4))
		must(os.Rename(v.Path(file(i+5)), v.Path(file(i+5)+"-moved")))
		v.absent(t, file(i+5))
		v.look(t, file(i+5)+"-moved", 7)
		must(os.Rename(v.Path(file(i+6)), v.Path(file(i+7))))
		v.absent(t, file(i+6))
		v.look(t, file(i+7), 7)
		must(os.Remove(v.Path(file(i + 7))))
		v.absent(t, file(i+7))
		write(t, v.Path(file(i+8)), "another content")
		v.look(t, file(i+8), 15)
		must(os.Rename(v.Path(file(i+8)), v.Path("d/elsewhere")))
		v.absent(t, file(i+8))
		must(os.Rename(v.Path("d/elsewhere"), v.Path(file(i+8))))
		v.look(t, file(i+8), 15)
		v.absent(t, "d/elsewhere")
		must(os.Truncate(v.Path(file(i+9)), 3))
		v.look(t, file(i+9), 3)
		must(os.Remove(v.Path(file(i + 9))))
		must(os.Mkdir(v.Path(file(i+9)), 0o755))
		if info, err := os.Stat(v.Path(file(i + 9))); err != nil || !info.IsDir() {
			t.Errorf("%s: %v, %v", file(i+9), info, err)
		}
		must(os.Remove(v.Path(file(i + 9))))
		v.absent(t, file(i+9))

		dir := fmt.Sprintf("d/g%02d", i/10)
		write(t, v.Path(dir, "x"), "x")
		must(os.Rename(v.Path(dir), v.Path("d/h")))
		v.absent(t, dir)
		v.look(t, "d/h/x", 1)
		must(os.Remove(v.Path("d/h/x")))
		v.absent(t, "d/h/x")
		must(os.Remove(v.Path("d/h")))
		v.absent(t, "d/h")
	}
	if n := p.Count(s3test.Match{Query: "list-type", If: func(r s3test.Request) bool { return r.Query.Get("delimiter") == "/" }}); n == 0 {
		t.Error("no page was asked for, so nothing was tested")
	}
}

// A listing shows the class's mode. Who may not open the file by its own doesn't get it open because of that.
func TestNobodyOpensAFileByAModeThatIsntItsOwn(t *testing.T) {
	v, _ := counted(t, time.Hour, 60)
	// One of many, which isn't among those that are looked at to find out whether files here have attributes.
	if _, err := v.bucket.Put(t.Context(), "vol/"+file(2), strings.NewReader("content"), 7, s3.WriteOptions{Metadata: map[string]string{"mode": "33152", "uid": "0"}}); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(v.Path("d"))
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if names, err := dir.Readdirnames(-1); err != nil || len(names) != 60 {
		t.Fatalf("%d names, %v", len(names), err)
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), "f0002", &st, 0); err != nil || st.Mode != unix.S_IFREG|0o644 {
		t.Fatalf("its mode is %o already, %v: nothing is tested", st.Mode, err)
	}
	open := func(name string) error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Setfsuid(1000); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Setfsuid(0) }()
		fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY, 0)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
	if err := open("f0003"); err != nil {
		t.Errorf("a file that everybody may read: %v", err)
	}
	if err := open("f0002"); !errors.Is(err, unix.EACCES) {
		t.Errorf("a file that only root may read: %v", err)
	}
	if err := unix.Fstatat(int(dir.Fd()), "f0002", &st, 0); err != nil || st.Mode != unix.S_IFREG|0o600 {
		t.Errorf("its mode is %o, %v", st.Mode, err)
	}
}
