package move

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// remote is a bucket that is seen through a proxy by movers, and directly by the test.
type remote struct {
	server *s3test.Server
	proxy  *s3test.FaultProxy
	b      *s3.Bucket
	names  int
}

func newRemote(t *testing.T) *remote {
	t.Helper()
	r := &remote{server: s3test.Start(t)}
	r.proxy = s3test.Proxy(t, r.server.Endpoint)
	r.bucket(t)
	return r
}

// bucket begins with an empty bucket.
func (r *remote) bucket(t *testing.T) {
	t.Helper()
	r.names++
	r.b = r.server.Open(t, r.server.Endpoint, fmt.Sprintf("bucket%d", r.names), s3.Options{})
	if err := r.b.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func (r *remote) mover(t *testing.T, change func(*Options)) *Mover {
	t.Helper()
	o := Options{
		Bucket: r.server.Open(t, r.proxy.Endpoint, fmt.Sprintf("bucket%d", r.names), s3.Options{Attempts: 1}),
		Prefix: "v/", Owner: "engine",
	}
	if change != nil {
		change(&o)
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func (r *remote) put(t *testing.T, key, content string) s3.Object {
	t.Helper()
	o := s3.WriteOptions{Metadata: map[string]string{"mode": "33188", "name": "of " + strings.TrimSuffix(key, "/")}}
	if _, err := r.b.Put(t.Context(), key, strings.NewReader(content), int64(len(content)), o); err != nil {
		t.Fatal(err)
	}
	return r.head(t, key)
}

func (r *remote) head(t *testing.T, key string) s3.Object {
	t.Helper()
	o, err := r.b.Head(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// all is what there is, by key.
func (r *remote) all(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for request := (s3.ListRequest{}); ; {
		page, err := r.b.List(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Objects {
			body, err := r.b.Get(t.Context(), o.Key, o.ETag, 0, o.Size)
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(body)
			body.Close()
			if err != nil {
				t.Fatal(err)
			}
			all[o.Key] = string(content)
		}
		if request.Token = page.Next; page.Next == "" {
			return all
		}
	}
}

func (r *remote) wants(t *testing.T, want map[string]string) {
	t.Helper()
	got := r.all(t)
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if w, ok := want[k]; !ok {
			t.Errorf("there is %q", k)
		} else if w != got[k] {
			t.Errorf("DATA MISMATCH: %q has other content", k)
		}
	}
	for k := range want {
		if _, ok := got[k]; !ok {
			t.Errorf("DATA MISMATCH: there is no %q", k)
		}
	}
}

func TestAFileOfAnySizeIsMovedWithItsMetadata(t *testing.T) {
	r := newRemote(t)
	m := r.mover(t, func(o *Options) { o.PartSize = 6 << 20 })
	for _, size := range []int{0, 100, 6 << 20, 20<<20 + 1} {
		content := strings.Repeat("x", size)
		src := r.put(t, "v/a", content)
		o, err := m.File(t.Context(), src, "v/b", s3.Condition{})
		if err != nil {
			t.Fatal(err)
		}
		r.wants(t, map[string]string{"v/b": content})
		if now := r.head(t, "v/b"); now.ETag != o.ETag || now.Size != int64(size) || now.Metadata["name"] != "of v/a" || now.Metadata["mode"] != "33188" {
			t.Errorf("%d bytes: told %+v, there is %+v", size, o, now)
		}
	}
}

// radosgw 16 lets a session copy objects, and not parts.
func TestAFileIsMovedWhereNoPartMayBeCopied(t *testing.T) {
	r := newRemote(t)
	m := r.mover(t, func(o *Options) { o.PartSize = 6 << 20 })
	refused := r.proxy.Add(s3test.Rule{Match: s3test.Match{Query: "partNumber"}, Fault: s3test.Status(http.StatusForbidden, "AccessDenied")})
	content := strings.Repeat("0123456789abcdef", 13<<16)
	src := r.put(t, "v/a", content)
	o, err := m.File(t.Context(), src, "v/b", s3.Condition{})
	if err != nil || o.Size != int64(len(content)) || !maps.Equal(o.Metadata, src.Metadata) || refused.Hits() == 0 {
		t.Errorf("got %+v, %v; %d parts were refused", o, err, refused.Hits())
	}
	if all := r.all(t); len(all) != 1 || all["v/b"] != content {
		t.Errorf("%d objects are there", len(all))
	}
	if uploads, err := r.b.Uploads(t.Context(), "v/"); err != nil || len(uploads) > 0 {
		t.Errorf("uploads are left: %v, %v", uploads, err)
	}
}

func TestAMoveToOrOfAnotherVersionIsAConflict(t *testing.T) {
	for _, ignored := range []bool{false, true} {
		r := newRemote(t)
		m := r.mover(t, func(o *Options) { o.NoConditions = ignored })
		src, dst := r.put(t, "v/a", "a"), r.put(t, "v/b", "b")
		for name, f := range map[string]func() error{
			"the destination is there": func() error {
				_, err := m.File(t.Context(), src, "v/b", s3.Condition{IfAbsent: true})
				return err
			},
			"the destination is another": func() error {
				_, err := m.File(t.Context(), src, "v/b", s3.Condition{IfMatch: src.ETag})
				return err
			},
			"the destination is gone": func() error {
				_, err := m.File(t.Context(), src, "v/c", s3.Condition{IfMatch: dst.ETag})
				return err
			},
			"the source is another": func() error {
				_, err := m.File(t.Context(), s3.Object{Key: "v/a", Size: 1, ETag: dst.ETag}, "v/c", s3.Condition{})
				return err
			},
		} {
			if err := f(); !errors.Is(err, s3.ErrConflict) {
				t.Errorf("%s: %v, want a conflict", name, err)
			}
		}
		r.wants(t, map[string]string{"v/a": "a", "v/b": "b"})
		if _, err := m.File(t.Context(), src, "v/b", s3.Condition{IfMatch: dst.ETag}); err != nil {
			t.Error(err)
		}
		r.wants(t, map[string]string{"v/b": "a"})
	}
}

// The source is replaced after it was copied: the new one stays.
func TestASourceThatIsReplacedMeanwhileIsNotLost(t *testing.T) {
	r := newRemote(t)
	m := r.mover(t, nil)
	src := r.put(t, "v/a", "old")
	// It is looked at before the copy, by the copy, and before its end.
	r.proxy.Add(s3test.Rule{Match: s3test.Match{Method: "HEAD", Key: "v/a"}, Skip: 2, Times: 1, Fault: s3test.Do(func() { r.put(t, "v/a", "new") })})
	if _, err := m.File(t.Context(), src, "v/b", s3.Condition{}); !errors.Is(err, s3.ErrConflict) {
		t.Errorf("got %v, want a conflict", err)
	}
	r.wants(t, map[string]string{"v/a": "new", "v/b": "old"})
}

func TestACopyThatIsNotTheSourceLeavesTheSource(t *testing.T) {
	r := newRemote(t)
	m := r.mover(t, nil)
	src := r.put(t, "v/a", "a")
	r.proxy.Add(s3test.Rule{Match: s3test.Match{Method: "HEAD", Key: "v/b"}, Fault: s3test.WrongETag("0123456789abcdef0123456789abcdef")})
	if _, err := m.File(t.Context(), src, "v/b", s3.Condition{}); !errors.Is(err, ErrUnverified) {
		t.Errorf("got %v, want ErrUnverified", err)
	}
	if got := r.all(t)["v/a"]; got != "a" {
		t.Errorf("the source has %q", got)
	}
}

func TestMovesThatMakeNoSenseAreRefused(t *testing.T) {
	r := newRemote(t)
	m := r.mover(t, nil)
	r.put(t, "v/a/x", "x")
	for _, c := range [][2]string{
		{"v/a/", "v/a/b/"}, {"v/a/", "v/a/"}, {"v/a/b/", "v/a/"}, {"v/a", "v/b/"}, {"v/a/", "v/b"}, {"v/", "v/b/"}, {"v/a/", "w/b/"}, {"w/a/", "v/b/"},
		{"v/.strata/moves/", "v/b/"}, {"v/a/", "v/.strata/"},
	} {
		if err := m.Directory(t.Context(), c[0], c[1]); err == nil {
			t.Errorf("%q to %q: accepted", c[0], c[1])
		}
	}
	r.wants(t, map[string]string{"v/a/x": "x"})
}

// fill makes a directory with files, directories, and markers of some, and says what must be there after its move.
func (r *remote) fill(t *testing.T, files int) (moved map[string]string) {
	t.Helper()
	moved = map[string]string{"v/other/x": "x", "v/a2/x": "x", "v/b/": "", "v/b/sub/": "", "v/b/empty/": ""}
	r.put(t, "v/other/x", "x")
	r.put(t, "v/a2/x", "x")
	for _, k := range []string{"", "sub/", "empty/"} {
		r.put(t, "v/a/"+k, "")
	}
	for i := range files {
		name, content := fmt.Sprintf("sub/%d", i), fmt.Sprintf("content of %d", i)
		if i%3 == 0 {
			name = fmt.Sprintf("f %d+ü", i)
		}
		r.put(t, "v/a/"+name, content)
		moved["v/b/"+name] = content
	}
	return moved
}

func TestADirectoryIsMoved(t *testing.T) {
	r := newRemote(t)
	moved := r.fill(t, 1200) // more than a page
	if err := r.mover(t, nil).Directory(t.Context(), "v/a/", "v/b/"); err != nil {
		t.Fatal(err)
	}
	r.wants(t, moved)
	if o := r.head(t, "v/b/sub/1"); o.Metadata["name"] != "of v/a/sub/1" {
		t.Errorf("metadata are %v", o.Metadata)
	}
	// An empty directory of that name is no obstacle, one with a file is.
	m := r.mover(t, nil)
	r.put(t, "v/c/", "")
	r.put(t, "v/d/x", "")
	if err := m.Directory(t.Context(), "v/b/", "v/d/"); !errors.Is(err, s3.ErrConflict) {
		t.Errorf("to one that isn't empty: %v", err)
	}
	if err := m.Directory(t.Context(), "v/b/", "v/c/"); err != nil {
		t.Error(err)
	}
}

// The engine dies at any request: it isn't sent, or its answer doesn't come. Another one ends the move; at the end each file is at the destination and nothing is at the source.
func TestADirectoryIsMovedWhateverRequestIsTheLastOfAnEngine(t *testing.T) {
	r := newRemote(t)
	for _, last := range []func() s3test.Fault{s3test.Reset, s3test.LoseAnswer} {
		for n := 0; ; n++ {
			r.bucket(t)
			moved := r.fill(t, 6)
			before := r.all(t)
			m := r.mover(t, func(o *Options) { o.Parallel = 1 + n%3 })
			r.proxy.Clear()
			r.proxy.Forget()
			died := r.proxy.Add(s3test.Rule{Skip: n, Times: 1, Fault: last()})
			r.proxy.Add(s3test.Rule{Skip: n, Fault: s3test.Reset()})
			err := m.Directory(t.Context(), "v/a/", "v/b/")
			r.proxy.Clear()
			if died.Hits() == 0 {
				if err != nil {
					t.Fatal(err)
				}
				r.wants(t, moved)
				if n < 20 {
					t.Errorf("only %d requests", n)
				}
				break
			}
			// With as many attempts as an engine has: this is about the death of the first one.
			again := r.mover(t, func(o *Options) { o.Bucket = r.b })
			if err := again.Resume(t.Context()); err != nil {
				t.Fatalf("request %d: %v", n, err)
			}
			want := moved
			if _, begun := r.all(t)["v/a/sub/1"]; begun { // it died before anything was written down
				want = before
			}
			r.wants(t, want)
			if t.Failed() {
				t.Fatalf("after request %d", n)
			}
		}
	}
}

// Between the death of an engine and the end of its move people work on: nothing that they wrote is lost or written over.
func TestWhatIsWrittenDuringAnInterruptedMoveIsNotLost(t *testing.T) {
	r := newRemote(t)
	moved := r.fill(t, 5)
	m := r.mover(t, nil)
	// All is copied, nothing removed.
	r.proxy.Add(s3test.Rule{Match: s3test.Match{Method: "POST", Query: "delete"}, Fault: s3test.Reset()})
	if err := m.Directory(t.Context(), "v/a/", "v/b/"); err == nil {
		t.Fatal("the move ended")
	}
	r.proxy.Clear()
	edit := r.head(t, "v/b/sub/1")
	if _, err := r.b.Put(t.Context(), "v/b/sub/1", strings.NewReader("edited copy"), 11, s3.WriteOptions{Metadata: edit.Metadata}); err != nil {
		t.Fatal(err)
	}
	moved["v/b/sub/1"] = "edited copy"
	r.put(t, "v/a/sub/2", "edited source")
	moved["v/b/sub/2"] = "edited source"
	r.put(t, "v/a/new", "new")
	moved["v/b/new"] = "new"
	r.put(t, "v/a/clash", "of the source")
	r.put(t, "v/b/clash", "of the destination")
	moved["v/a/clash"], moved["v/b/clash"] = "of the source", "of the destination"
	if err := m.Resume(t.Context()); !errors.Is(err, s3.ErrConflict) {
		t.Errorf("got %v, want the conflict of both files", err)
	}
	r.wants(t, moved)
	// The conflict was told of; the move has ended.
	if err := m.Resume(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestAnotherOwnersMoveIsTakenOverOnlyWhenItIsDead(t *testing.T) {
	r := newRemote(t)
	moved := r.fill(t, 3)
	release := make(chan struct{})
	arrived := make(chan struct{})
	var once sync.Once
	r.proxy.Add(s3test.Rule{Match: s3test.Match{Method: "PUT", If: func(q s3test.Request) bool {
		if q.Header.Get("x-amz-copy-source") == "" {
			return false
		}
		once.Do(func() { close(arrived) })
		return true
	}}, Times: 1, Fault: s3test.Delay(release)})
	done := make(chan error, 1)
	living := r.mover(t, func(o *Options) { o.Lease = 40 * time.Millisecond }) // a sign of life each 10 ms
	go func() { done <- living.Directory(t.Context(), "v/a/", "v/b/") }()
	<-arrived
	other := r.mover(t, func(o *Options) { o.Owner, o.Lease = "other", 5*time.Second })
	if err := other.Resume(t.Context()); err != nil {
		t.Error(err)
	}
	if err := living.Resume(t.Context()); err != nil { // nor its own
		t.Error(err)
	}
	r.head(t, "v/a/sub/1") // still there: a living engine's move wasn't taken over
	close(release)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	r.wants(t, moved)

	// A dead one's is.
	r.bucket(t)
	moved = r.fill(t, 3)
	if _, err := r.mover(t, nil).record(t.Context(), "v/a/", "v/b/"); err != nil {
		t.Fatal(err)
	}
	if err := r.mover(t, func(o *Options) { o.Owner, o.Lease = "other", time.Millisecond }).Resume(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.wants(t, moved)
}

// An owner that was taken for dead notices when it writes the next time.
func TestAnOwnerWhoseMoveWasTakenOverStops(t *testing.T) {
	r := newRemote(t)
	r.fill(t, 1)
	slow, err := r.mover(t, nil).record(t.Context(), "v/a/", "v/b/")
	if err != nil {
		t.Fatal(err)
	}
	other := r.mover(t, func(o *Options) { o.Owner, o.Lease = "other", time.Millisecond })
	seen, err := other.read(t.Context(), other.key(slow.id))
	if err != nil {
		t.Fatal(err)
	}
	// A sign of life of its own whose answer was lost is no reason to stop.
	r.proxy.Add(s3test.Rule{Match: s3test.Match{Method: "PUT"}, Times: 1, Fault: s3test.LoseAnswer()})
	if err := slow.beat(t.Context()); !errors.Is(err, s3.ErrUnavailable) {
		t.Errorf("got %v, want that there was no answer", err)
	}
	if err := slow.beat(t.Context()); err != nil {
		t.Error(err)
	}
	if taken, err := other.takeOver(t.Context(), seen); err != nil || taken != nil {
		t.Errorf("a living engine's move was taken over: %v", err)
	}
	if seen, err = other.read(t.Context(), other.key(slow.id)); err != nil {
		t.Fatal(err)
	}
	if taken, err := other.takeOver(t.Context(), seen); err != nil || taken == nil {
		t.Fatal(err)
	}
	if err := slow.beat(t.Context()); !errors.Is(err, s3.ErrConflict) {
		t.Errorf("got %v, want a conflict", err)
	}
}

// An object whose key would be too long keeps a directory where it is; one that comes while the directory is moved stays alone.
func TestADirectoryIsNotMovedWhereAKeyWouldBeTooLong(t *testing.T) {
	r := newRemote(t)
	m := r.mover(t, nil)
	long := strings.Repeat(strings.Repeat("x", 100)+"/", 10)
	name := func(key string) string { return key + strings.Repeat("y", s3.MaxKeyLength-len(key)) }
	want := map[string]string{"v/a/first": "first", name("v/a/" + long): "of the longest key"}
	for key, content := range want {
		r.put(t, key, content)
	}
	if err := m.Directory(t.Context(), "v/a/", "v/ab/"); !errors.Is(err, ErrKeyTooLong) {
		t.Errorf("got %v", err)
	}
	r.wants(t, want)
	if err := m.Directory(t.Context(), "v/a/", "v/b/"); err != nil {
		t.Fatal(err)
	}
	r.wants(t, map[string]string{"v/b/first": "first", name("v/b/" + long): "of the longest key"})

	if err := r.b.Delete(t.Context(), name("v/b/"+long)); err != nil {
		t.Fatal(err)
	}
	var late sync.Once
	r.proxy.Add(s3test.Rule{Match: s3test.Match{Method: "PUT", Key: "v/bc/first"}, Fault: s3test.Do(func() {
		late.Do(func() { r.put(t, name("v/b/"+long), "late") })
	})})
	if err := m.Directory(t.Context(), "v/b/", "v/bc/"); !errors.Is(err, s3.ErrConflict) {
		t.Errorf("got %v, want the conflict of the file that came late", err)
	}
	r.wants(t, map[string]string{"v/bc/first": "first", name("v/b/" + long): "late"})
}

func TestAnIntentThatIsNoneIsToldOfAndMovesNothing(t *testing.T) {
	r := newRemote(t)
	moved := r.fill(t, 1)
	for name, content := range map[string]string{"garbage": "{", "a root": `{"source":"v/","destination":"w/"}`, "the reserved": `{"source":"v/.strata/","destination":"v/b/"}`} {
		key := "v/" + directory + "x.json"
		r.put(t, key, content)
		if err := r.mover(t, nil).Resume(t.Context()); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s: %v", name, err)
		}
		if err := r.b.Delete(t.Context(), key); err != nil {
			t.Fatal(err)
		}
	}
	if got := r.all(t); len(got) != len(moved) || !bytes.Equal([]byte(got["v/a/f 0+ü"]), []byte("content of 0")) {
		t.Errorf("there is %v", got)
	}
}

func TestPartsOfLargeObjectsObeyTheLimits(t *testing.T) {
	m := &Mover{o: Options{PartSize: defaultPartSize}}
	for _, n := range []int64{defaultPartSize + 1, 1 << 40, s3.MaxObjectSize} {
		size := m.partSize(n)
		if parts := (n + size - 1) / size; parts > s3.MaxParts || size > s3.MaxCopySize || size < s3.MinPartSize {
			t.Errorf("%d bytes are %d parts of %d", n, parts, size)
		}
	}
}
