package reading

// A real server, objects whose bytes tell their place and version, and reads of all kinds.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// content is what version n of an object has.
func content(n int, size int64) []byte {
	p := make([]byte, size+8)
	for at := int64(0); at < size; at += 8 {
		x := uint64(at/8+1)*0x9e3779b97f4a7c15 ^ uint64(n)<<56
		binary.LittleEndian.PutUint64(p[at:], (x^x>>29)*0xbf58476d1ce4e5b9|1)
	}
	return p[:size]
}

// store is a bucket behind a proxy.
type store struct {
	bucket *s3.Bucket // not through the proxy
	proxy  *s3test.FaultProxy
	client *s3.Bucket // through the proxy
}

func newStore(t testing.TB) *store {
	t.Helper()
	server := s3test.Start(t)
	b := server.Bucket(t)
	p := s3test.Proxy(t, server.Endpoint)
	c := server.Open(t, p.Endpoint, b.Location().Bucket, s3.Options{Pause: time.Millisecond, Patience: 5 * time.Second})
	return &store{b, p, c}
}

func (s *store) put(t testing.TB, key string, data []byte) s3.Object {
	t.Helper()
	o, err := s.bucket.Put(t.Context(), key, bytes.NewReader(data), int64(len(data)), s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	o.Key, o.Size = key, int64(len(data))
	return o
}

func (s *store) reader(t testing.TB, o Options) *Reader {
	t.Helper()
	if o.Source == nil {
		o.Source = s.client
	}
	o.Endpoint, o.Bucket = s.bucket.Location().Endpoint, s.bucket.Location().Bucket
	r := New(o)
	t.Cleanup(r.Close)
	return r
}

func newCache(t testing.TB, o blockcache.Options) *blockcache.Cache {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	if o.Limit == 0 {
		o.Limit = 1 << 30
	}
	c, err := blockcache.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func open(t testing.TB, r *Reader, o s3.Object) *Handle {
	t.Helper()
	h := r.Open(o)
	t.Cleanup(h.Close)
	return h
}

// read compares one read with what the object has.
func read(ctx context.Context, h *Handle, want []byte, off, n int64) error {
	p := make([]byte, n)
	got, err := h.ReadAt(ctx, p, off)
	there := max(0, min(n, int64(len(want))-off))
	if off < int64(len(want)) && !bytes.Equal(p[:got], want[off:off+int64(got)]) {
		return fmt.Errorf("DATA MISMATCH: read of %d bytes at %d: wrong bytes", n, off)
	}
	if errors.Is(err, io.EOF) && off+n > int64(len(want)) {
		err = nil
	}
	if err == nil && int64(got) != there {
		return fmt.Errorf("read of %d bytes at %d: %d bytes", n, off, got)
	}
	return err
}

func sequence(ctx context.Context, h *Handle, want []byte, n int64) error {
	for off := int64(0); off < int64(len(want)); off += n {
		if err := read(ctx, h, want, off, n); err != nil {
			return err
		}
	}
	return nil
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const mib = 1 << 20

func TestEveryKindOfReadGetsTheRightBytes(t *testing.T) {
	s := newStore(t)
	sizes := []int64{0, 1, 4095, 200 << 10, mib - 1, mib, 2*mib + 77, 7*mib + 1}
	var objects []s3.Object
	var contents [][]byte
	for i, size := range sizes {
		contents = append(contents, content(i, size))
		objects = append(objects, s.put(t, fmt.Sprint("o", i), contents[i]))
	}
	big := content(99, 17*mib+5)
	objects, contents = append(objects, s.put(t, "big", big)), append(contents, big)
	for name, o := range map[string]Options{
		"memory alone":     {BlockSize: mib, Memory: 6 * mib},
		"big blocks":       {Memory: 40 * mib},
		"cache":            {Cache: newCache(t, blockcache.Options{BlockSize: mib}), Memory: 12 * mib},
		"small cache":      {Cache: newCache(t, blockcache.Options{BlockSize: mib, Limit: 6 * mib}), Memory: 12 * mib},
		"cache, big block": {Cache: newCache(t, blockcache.Options{})},
		"no share":         {Cache: newCache(t, blockcache.Options{BlockSize: mib, Share: -1}), Memory: 4 * mib},
		"one request":      {BlockSize: 128 << 10, Parallel: 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.reader(t, o)
			for range 2 { // cold and warm
				var all sync.WaitGroup
				for i, object := range objects {
					want := contents[i]
					all.Go(func() {
						h := r.Open(object)
						defer h.Close()
						seed := rand.Uint64()
						rnd := rand.New(rand.NewPCG(seed, 0))
						ctx := t.Context()
						errs := []error{sequence(ctx, h, want, 128<<10), read(ctx, h, want, 0, int64(len(want))+10), read(ctx, h, want, int64(len(want)), 5)}
						for off := int64(len(want)); off > 0; off -= mib {
							errs = append(errs, read(ctx, h, want, max(0, off-mib), mib))
						}
						for off := int64(17); off < int64(len(want)); off += 2*mib + 13 {
							errs = append(errs, read(ctx, h, want, off, 5000))
						}
						for range 8 {
							off := rnd.Int64N(int64(len(want)) + 1)
							errs = append(errs, read(ctx, h, want, off, 1+rnd.Int64N(2*mib)), read(ctx, h, want, off, 4096))
						}
						if err := errors.Join(errs...); err != nil {
							t.Errorf("object of %d bytes, seed %d: %v", len(want), seed, err)
						}
					})
				}
				all.Wait()
			}
			if st := r.Stats(); st.Failed != 0 || st.Handles != 0 || st.Memory > max(o.Memory, DefaultMemory) {
				t.Errorf("stats %+v", st)
			}
		})
	}
	if _, err := open(t, s.reader(t, Options{}), objects[1]).ReadAt(t.Context(), make([]byte, 1), -1); !errors.Is(err, os.ErrInvalid) {
		t.Errorf("read before the beginning: %v", err)
	}
}

func TestOneReadersFetchIsEveryones(t *testing.T) {
	s := newStore(t)
	want := content(1, 9*mib)
	o := s.put(t, "a", want)
	r := s.reader(t, Options{BlockSize: mib, Cache: newCache(t, blockcache.Options{BlockSize: mib})})
	gate := make(chan struct{})
	s.proxy.Add(s3test.Rule{Fault: s3test.Delay(gate)})
	var all sync.WaitGroup
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupted := errors.New("interrupted")
	for i := range 12 {
		h := open(t, r, o)
		all.Go(func() {
			c, want1 := t.Context(), error(nil)
			if i%4 == 0 {
				c, want1 = ctx, interrupted
			}
			if err := read(c, h, want, 4*mib+int64(i), 600<<10); !errors.Is(err, want1) {
				t.Errorf("reader %d: %v, want %v", i, err, want1)
			}
		})
	}
	// All wait for the same request; some stop waiting, which stops nothing.
	for r.Stats().Joined+r.Stats().Misses < 12 || s.proxy.Count(s3test.Match{}) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel(interrupted)
	close(gate)
	all.Wait()
	if n := s.proxy.Count(s3test.Match{}); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestBytesAreReadAsTheyArrive(t *testing.T) {
	s := newStore(t)
	want := content(1, 8*mib)
	o := s.put(t, "a", want)
	r := s.reader(t, Options{})
	s.proxy.Add(s3test.Rule{Match: s3test.Match{If: func(r s3test.Request) bool { return r.Header.Get("Range") != "bytes=0-4194303" }}, Fault: s3test.Stall()})
	h := open(t, r, o)
	// The second request of the block doesn't answer at all, but its first half can be read.
	check(t, read(t.Context(), h, want, 0, 4*mib))
	s.proxy.Clear()
	s.proxy.Add(s3test.Rule{Fault: s3test.StallAfter(100_000)})
	other := s.put(t, "b", want)
	check(t, read(t.Context(), open(t, r, other), want, 0, 65536))
}

func TestReadingInSequenceFetchesAhead(t *testing.T) {
	s := newStore(t)
	want := content(1, 60*mib)
	o := s.put(t, "a", want)
	cache := newCache(t, blockcache.Options{BlockSize: mib})
	r := s.reader(t, Options{Cache: cache})
	h := open(t, r, o)
	// Eight requests are answered only when all of them are there.
	var arrived atomic.Int32
	eight := make(chan struct{})
	wait := s3test.Delay(eight)
	s.proxy.Add(s3test.Rule{Skip: 20, Fault: func(x *s3test.Exchange) {
		if arrived.Add(1) == 8 {
			close(eight)
		}
		wait(x)
	}})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := sequence(ctx, h, want, 128<<10); err != nil {
		t.Fatalf("%d requests wait to be eight at once: %v", arrived.Load(), err)
	}
	st := r.Stats()
	if st.BytesFetched != uint64(len(want)) || st.Ahead < 50 {
		t.Errorf("%+v", st)
	}
	waitFor(t, "the whole object in the cache", h.Complete)
	f, release, err := h.Pin()
	check(t, err)
	defer release()
	p := make([]byte, len(want))
	if _, err := f.ReadAt(p, 0); err != nil || !bytes.Equal(p, want) {
		t.Errorf("DATA MISMATCH: the pinned file is wrong: %v", err)
	}
	// Another engine finds all of it.
	second := s.reader(t, Options{Cache: newCache(t, blockcache.Options{Dir: cacheDir(t, f), BlockSize: mib})})
	h2 := open(t, second, o)
	check(t, sequence(t.Context(), h2, want, 1<<20))
	if st := second.Stats(); st.Requests != 0 {
		t.Errorf("the second reader asks the store: %+v", st)
	}
	check(t, h2.Check(t.Context()))
	_, release2, err := h2.Pin()
	check(t, err)
	release2()
}

// cacheDir is the directory of the cache that a data file is in.
func cacheDir(t testing.TB, f *os.File) string {
	t.Helper()
	path, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	check(t, err)
	return path[:bytes.LastIndex([]byte(path), []byte("/data-"))]
}

func waitFor(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}

func TestAShortLookFetchesLittle(t *testing.T) {
	s := newStore(t)
	want := content(1, 64*mib)
	o := s.put(t, "a", want)
	for name, c := range map[string]struct {
		reads [][2]int64
		most  uint64
	}{
		"the first bytes":  {[][2]int64{{0, 4096}}, 8 * mib},
		"one at random":    {[][2]int64{{33 * mib, 4096}}, chunkSize},
		"across two":       {[][2]int64{{32*mib + chunkSize - 10, 20}}, 2 * chunkSize},
		"some at random":   {[][2]int64{{33 * mib, 4096}, {9 * mib, 4096}, {50 * mib, 4096}, {2 * mib, 10}, {61 * mib, 10}}, 5 * chunkSize},
		"the end":          {[][2]int64{{64*mib - 22, 22}, {64*mib - 70000, 69000}}, 2 * chunkSize},
		"two in sequence":  {[][2]int64{{33 * mib, 4096}, {33*mib + 4096, 4096}}, chunkSize},
		"a piece of 1 MiB": {[][2]int64{{40 * mib, mib}}, 8 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			r := s.reader(t, Options{Cache: newCache(t, blockcache.Options{})})
			h := open(t, r, o)
			for _, x := range c.reads {
				check(t, read(t.Context(), h, want, x[0], x[1]))
			}
			waitIdle(t, r)
			if n := r.Stats().BytesFetched; n > c.most {
				t.Errorf("%d bytes fetched, want at most %d", n, c.most)
			}
		})
	}
}

// waitIdle waits until nothing is on the way.
func waitIdle(t testing.TB, r *Reader) {
	t.Helper()
	waitFor(t, "nothing on the way", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, v := range r.versions {
			for _, m := range []map[int64]*fetch{v.blocks, v.chunks} {
				for _, f := range m {
					if !f.done {
						return false
					}
				}
			}
		}
		return r.pending == 0
	})
}

func TestABlockThatIsReadAgainAndAgainIsFetchedWhole(t *testing.T) {
	s := newStore(t)
	want := content(1, 64*mib)
	o := s.put(t, "a", want)
	cache := newCache(t, blockcache.Options{})
	r := s.reader(t, Options{Cache: cache})
	for _, off := range []int64{35 * mib, 39 * mib, 33 * mib} { // all in block 4
		h := r.Open(o) // as programs do that open a file for each read
		check(t, read(t.Context(), h, want, off, 4096))
		if off == 33*mib {
			waitIdle(t, r)
		}
		h.Close()
	}
	if st := r.Stats(); st.Promoted != 1 || st.Cache.Puts != 1 {
		t.Errorf("stats %+v", st)
	}
	before := r.Stats().Requests
	h := open(t, r, o)
	for off := int64(32 * mib); off < 40*mib; off += mib {
		check(t, read(t.Context(), h, want, off+123, 4096))
	}
	if n := r.Stats().Requests; n != before {
		t.Errorf("%d more requests", n-before)
	}
}

func TestReadingInStridesFetchesAhead(t *testing.T) {
	s := newStore(t)
	want := content(1, 64*mib)
	o := s.put(t, "a", want)
	for _, stride := range []int64{3 * mib, -3 * mib, 9 * mib} {
		r := s.reader(t, Options{})
		h := open(t, r, o)
		off := int64(5000)
		if stride < 0 {
			off = 63 * mib
		}
		reads := 0
		for ; off >= 0 && off < 64*mib; off += stride {
			check(t, read(t.Context(), h, want, off, 4096))
			reads++
		}
		waitIdle(t, r)
		st := r.Stats()
		if st.Ahead == 0 || int(st.Misses) > reads-2 {
			t.Errorf("stride %d: %d reads, %+v", stride, reads, st)
		}
	}
}

func TestWithoutACacheNothingIsFetchedTwice(t *testing.T) {
	s := newStore(t)
	want := content(1, 50*mib)
	o := s.put(t, "a", want)
	for name, cache := range map[string]*blockcache.Cache{
		"none":     nil,
		"no share": newCache(t, blockcache.Options{Share: -1}),
		"full":     newCache(t, blockcache.Options{Reserve: 1 << 60}),
	} {
		t.Run(name, func(t *testing.T) {
			r := s.reader(t, Options{Cache: cache})
			// Two handles at some distance, as two workers of one program.
			a, b := open(t, r, o), open(t, r, o)
			for off := int64(0); off < 50*mib; off += 128 << 10 {
				check(t, read(t.Context(), a, want, off, 128<<10))
				if off >= 2*mib {
					check(t, read(t.Context(), b, want, off-2*mib, 128<<10))
				}
			}
			if st := r.Stats(); st.BytesFetched > uint64(len(want)) || st.Ahead < 5 {
				t.Errorf("stats %+v", st)
			}
		})
	}
}

// watched looks at the memory of its reader in the middle of each answer.
type watched struct {
	Source
	look          func()
	running, most atomic.Int64
}

func (w *watched) Get(ctx context.Context, key, etag string, off, n int64) (io.ReadCloser, error) {
	for now := w.running.Add(1); ; {
		if most := w.most.Load(); now <= most || w.most.CompareAndSwap(most, now) {
			break
		}
	}
	body, err := w.Source.Get(ctx, key, etag, off, n)
	if err != nil {
		w.running.Add(-1)
		return nil, err
	}
	return &watchedBody{body, w}, nil
}

type watchedBody struct {
	io.ReadCloser
	*watched
}

func (b *watchedBody) Close() error {
	defer b.running.Add(-1)
	return b.ReadCloser.Close()
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.look()
	return b.ReadCloser.Read(p)
}

func TestManyHandlesStayWithinTheMemory(t *testing.T) {
	s := newStore(t)
	const memory = 16 * mib
	want := content(1, 6*mib+100)
	var objects []s3.Object
	for i := range 16 {
		objects = append(objects, s.put(t, fmt.Sprint("a", i), want))
	}
	for _, cache := range []*blockcache.Cache{nil, newCache(t, blockcache.Options{BlockSize: mib})} {
		var r *Reader
		w := &watched{Source: s.client, look: func() {
			r.mu.Lock()
			defer r.mu.Unlock()
			held := int64(len(r.memory.spare)) * mib
			for _, v := range r.versions {
				for _, m := range []map[int64]*fetch{v.blocks, v.chunks} {
					for _, f := range m {
						held += int64(len(f.buf))
					}
				}
			}
			if held > memory || r.memory.used > memory {
				t.Errorf("%d bytes in memory, counted %d", held, r.memory.used)
			}
		}}
		r = s.reader(t, Options{Source: w, Cache: cache, BlockSize: mib, Memory: memory, Parallel: 12})
		var all sync.WaitGroup
		for i := range 64 {
			all.Go(func() {
				h := r.Open(objects[i%16])
				defer h.Close()
				rnd := rand.New(rand.NewPCG(uint64(i), 0))
				if i%2 == 0 {
					if err := sequence(t.Context(), h, want, 128<<10); err != nil {
						t.Error(err)
					}
				}
				for range 10 {
					if err := read(t.Context(), h, want, rnd.Int64N(6*mib), 4096); err != nil {
						t.Error(err)
					}
				}
			})
		}
		all.Wait()
		if n := w.most.Load(); n > 12 {
			t.Errorf("%d requests at once", n)
		}
	}
}

func TestMemoryIsGivenBack(t *testing.T) {
	s := newStore(t)
	want := content(1, 20*mib)
	r := s.reader(t, Options{BlockSize: mib})
	h := open(t, r, s.put(t, "a", want))
	check(t, sequence(t.Context(), h, want, mib))
	waitIdle(t, r)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.memory.used == 0 {
		t.Error("nothing is kept in memory")
	}
	r.tidy(time.Now())
	r.tidy(time.Now())
	if r.memory.used != 0 || r.memory.spare != nil || r.memory.idle.Len() != 0 {
		t.Errorf("%d bytes in use, %d spare", r.memory.used, len(r.memory.spare))
	}
}
