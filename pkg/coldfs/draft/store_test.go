package draft

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

const mib = 1 << 20

// remote is a bucket that is seen through a proxy by the drafts, and directly by the test.
type remote struct {
	server *s3test.Server
	proxy  *s3test.FaultProxy
	b      *s3.Bucket // directly
	faulty *s3.Bucket // through the proxy
}

func newRemote(t testing.TB) *remote {
	t.Helper()
	r := &remote{server: s3test.Start(t)}
	r.proxy = s3test.Proxy(t, r.server.Endpoint)
	r.b = r.server.Open(t, r.server.Endpoint, "bucket", s3.Options{})
	if err := r.b.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.faulty = r.server.Open(t, r.proxy.Endpoint, "bucket", s3.Options{Attempts: 2, Pause: time.Millisecond})
	return r
}

func (r *remote) store(t testing.TB, change func(*Options)) *Store {
	t.Helper()
	o := Options{Bucket: r.faulty, Owner: "volume", Dir: t.TempDir()}
	if change != nil {
		change(&o)
	}
	s, err := NewStore(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// put makes an object and describes it.
func (r *remote) put(t testing.TB, key string, content []byte) *s3.Object {
	t.Helper()
	if _, err := r.b.Put(t.Context(), key, bytes.NewReader(content), int64(len(content)), s3.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	return r.head(t, key)
}

func (r *remote) head(t testing.TB, key string) *s3.Object {
	t.Helper()
	o, err := r.b.Head(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &o
}

// content is what another client reads.
func (r *remote) content(t testing.TB, key string) []byte {
	t.Helper()
	o := r.head(t, key)
	body, err := r.b.Get(t.Context(), key, o.ETag, 0, o.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	got := make([]byte, o.Size)
	if _, err := io.ReadFull(body, got); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, body); n != 0 || err != nil {
		t.Fatalf("%d bytes after the end: %v", n, err)
	}
	return got
}

func (r *remote) wants(t testing.TB, key string, want []byte) {
	t.Helper()
	if got := r.content(t, key); !bytes.Equal(got, want) {
		t.Fatalf("the object %q isn't what was committed: %s", key, difference(got, want))
	}
}

// uploads are the unfinished ones.
func (r *remote) uploads(t testing.TB) []s3.Upload {
	t.Helper()
	all, err := r.b.Uploads(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func difference(got, want []byte) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("DATA MISMATCH: byte %d differs; sizes %d, wanted %d", i, len(got), len(want))
		}
	}
	return fmt.Sprintf("DATA MISMATCH: %d bytes, wanted %d", len(got), len(want))
}

func open(t testing.TB, s *Store, key string, base *s3.Object) *Draft {
	t.Helper()
	d, err := s.Open(key, base)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func write(t testing.TB, d *Draft, p []byte, off int64) {
	t.Helper()
	for len(p) > 0 {
		n, err := d.WriteAt(t.Context(), p[:min(len(p), mib)], off)
		if err != nil {
			t.Fatal(err)
		}
		p, off = p[n:], off+int64(n)
	}
}

func commit(t testing.TB, d *Draft) s3.Object {
	t.Helper()
	o, err := d.Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func truncate(t testing.TB, d *Draft, size int64) {
	t.Helper()
	if err := d.Truncate(t.Context(), size); err != nil {
		t.Fatal(err)
	}
}

func random(seed uint64, n int) []byte {
	p := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(p)
	return p
}

// until waits for a condition.
func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !f() {
		select {
		case <-ctx.Done():
			t.Fatalf("in vain waited until %s", what)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

var (
	partSent = s3test.Match{Method: "PUT", Query: "partNumber", If: func(r s3test.Request) bool { return r.Header.Get("x-amz-copy-source") == "" }}
	partCopy = s3test.Match{Method: "PUT", Query: "partNumber", If: func(r s3test.Request) bool { return r.Header.Get("x-amz-copy-source") != "" }}
	complete = s3test.Match{Method: "POST", Query: "uploadId"}
	begin    = s3test.Match{Method: "POST", Query: "uploads"}
	wholePut = s3test.Match{Method: "PUT", If: func(r s3test.Request) bool {
		return r.Key != "" && len(r.Query["partNumber"]) == 0 && r.Header.Get("x-amz-copy-source") == ""
	}}
	headed = s3test.Match{Method: "HEAD"}
)

func TestOptionsThatMakeNoSenseAreRefused(t *testing.T) {
	good := Options{Bucket: &s3.Bucket{}, Owner: "o", Dir: t.TempDir()}
	for name, change := range map[string]func(*Options){
		"no bucket": func(o *Options) { o.Bucket = nil }, "no owner": func(o *Options) { o.Owner = "" }, "no directory": func(o *Options) { o.Dir = "" },
		"a small limit": func(o *Options) { o.Limit = 1 }, "a negative reserve": func(o *Options) { o.Reserve = -1 }, "negative uploads": func(o *Options) { o.Uploads = -1 },
	} {
		o := good
		change(&o)
		if s, err := NewStore(o); err == nil {
			s.Close()
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestAClosedStoreLeavesNothing(t *testing.T) {
	r := newRemote(t)
	dir := t.TempDir()
	s := r.store(t, func(o *Options) { o.Dir = dir })
	d := open(t, s, "k", nil)
	write(t, d, random(1, 20*mib), 0)
	until(t, "a part was sent", func() bool { return s.Stats().Uploaded > 0 })
	s.Close()
	if left, err := filepath.Glob(filepath.Join(dir, "*", "*")); err != nil || len(left) > 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if left := r.uploads(t); len(left) > 0 {
		t.Errorf("uploads that were left: %v", left)
	}
	if _, err := d.WriteAt(t.Context(), []byte("x"), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("write to a closed draft: %v", err)
	}
	if _, err := d.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("read of a closed draft: %v", err)
	}
	if _, err := d.Commit(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("commit of a closed draft: %v", err)
	}
	if _, err := s.Open("k", nil); !errors.Is(err, ErrClosed) {
		t.Errorf("draft of a closed store: %v", err)
	}
	if u := s.Stats().Used; u != 0 {
		t.Errorf("%d bytes are counted as staged", u)
	}
}

func TestTheDiskKeepsItsReserve(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, func(o *Options) { o.Reserve = 1 << 60 })
	d := open(t, s, "k", nil)
	if _, err := d.WriteAt(t.Context(), []byte("x"), 0); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v, want ErrNoRoom", err)
	}
	// Nothing was lost by that: the file is as long as it was.
	if commit(t, d); d.Size() != 0 {
		t.Errorf("the file has %d bytes", d.Size())
	}
	r.wants(t, "k", nil)
}

func TestStagedFilesAreSparse(t *testing.T) {
	r := newRemote(t)
	dir := t.TempDir()
	s := r.store(t, func(o *Options) { o.Dir = dir })
	d := open(t, s, "k", nil)
	write(t, d, []byte("x"), 4<<40)
	if u := s.Stats().Used; u != 1 {
		t.Errorf("%d bytes are counted as staged, written was 1", u)
	}
	if _, err := os.Stat(filepath.Join(s.home.dir, d.name)); err != nil {
		t.Error(err)
	}
}
