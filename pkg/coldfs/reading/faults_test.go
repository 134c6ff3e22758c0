package reading

// What networks and stores do to requests, and what a cache does that fails: reads get the right bytes, or an error that says what it is.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

var gets = s3test.Match{Method: "GET"}

func TestReadsOutlastFaults(t *testing.T) {
	s := newStore(t)
	want := content(1, 18*mib+99)
	o := s.put(t, "a", want)
	for name, rule := range map[string]s3test.Rule{
		"500 now and then":       {Match: gets, Chance: 0.3, Fault: s3test.Status(500, "InternalError")},
		"503 at first":           {Match: gets, Times: 4, Fault: s3test.Status(503, "SlowDown")},
		"resets":                 {Match: gets, Chance: 0.3, Fault: s3test.Reset()},
		"answers that break off": {Match: gets, Chance: 0.5, Fault: s3test.Truncate(100_000)},
		"empty answers":          {Match: gets, Chance: 0.3, Fault: s3test.Truncate(0)},
		"a stall":                {Match: gets, Times: 2, Fault: s3test.StallAfter(50_000)},
		"no answer":              {Match: gets, Times: 1, Fault: s3test.Stall()},
		"a slow drip":            {Match: gets, Times: 4, Fault: s3test.Drip(64<<10, time.Millisecond)},
	} {
		t.Run(name, func(t *testing.T) {
			s.proxy.Clear()
			active := s.proxy.Add(rule)
			r := s.reader(t, Options{Cache: newCache(t, blockcache.Options{BlockSize: mib}), Memory: 16 * mib})
			var all sync.WaitGroup
			for i := range 3 {
				all.Go(func() {
					h := r.Open(o)
					defer h.Close()
					rnd := rand.New(rand.NewPCG(uint64(i), 1))
					var errs []error
					if i == 0 {
						errs = append(errs, sequence(t.Context(), h, want, 128<<10))
					}
					for range 20 {
						errs = append(errs, read(t.Context(), h, want, rnd.Int64N(18*mib), 1+rnd.Int64N(300<<10)))
					}
					if err := errors.Join(errs...); err != nil {
						t.Error(err)
					}
				})
			}
			all.Wait()
			if active.Hits() == 0 {
				t.Error("nothing was done to any request")
			}
		})
	}
}

func TestRefusalsInTheMiddle(t *testing.T) {
	s := newStore(t)
	want := content(1, 40*mib)
	o := s.put(t, "a", want)
	for name, c := range map[string]struct {
		fault s3test.Fault
		want  error
	}{
		"403":          {s3test.Status(403, "AccessDenied"), s3.ErrDenied},
		"412":          {s3test.Status(412, "PreconditionFailed"), s3.ErrConflict},
		"404":          {s3test.Status(404, "NoSuchKey"), s3.ErrNotFound},
		"another ETag": {s3test.WrongETag("0123"), s3.ErrConflict},
		"500 for ever": {s3test.Status(500, "InternalError"), s3.ErrUnavailable},
		"never whole":  {s3test.Truncate(0), s3.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			s.proxy.Clear()
			r := s.reader(t, Options{Cache: newCache(t, blockcache.Options{BlockSize: mib}), Memory: 8 * mib})
			h := open(t, r, o)
			for off := int64(0); off < 4*mib; off += 128 << 10 {
				check(t, read(t.Context(), h, want, off, 128<<10))
			}
			waitIdle(t, r)
			s.proxy.Add(s3test.Rule{Match: gets, Fault: c.fault})
			s.proxy.Forget()
			p := make([]byte, mib)
			for range 3 {
				if _, err := h.ReadAt(t.Context(), p, 38*mib+5); !errors.Is(err, c.want) {
					t.Errorf("%v, want %v", err, c.want)
				}
			}
			// A refusal is no reason to ask without end.
			if n := s.proxy.Count(gets); n > 60 {
				t.Errorf("%d requests for three reads", n)
			}
			// What is there can be read on.
			check(t, read(t.Context(), h, want, 100, 4*mib-100))
			s.proxy.Clear()
			check(t, sequence(t.Context(), h, want, 128<<10))
		})
	}
}

func TestAReplacedObjectIsNeverMixed(t *testing.T) {
	s := newStore(t)
	const size = 24*mib + 3
	old, new1 := content(1, size), content(2, size)
	for name, o := range map[string]Options{
		"cache":  {Cache: newCache(t, blockcache.Options{BlockSize: mib}), Memory: 8 * mib},
		"memory": {BlockSize: mib, Memory: 8 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.put(t, "a", old)
			r := s.reader(t, o)
			h := open(t, r, before)
			check(t, read(t.Context(), h, old, 0, 3*mib))
			after := s.put(t, "a", new1)
			conflict := 0
			for off := int64(0); off < size; off += 100_000 {
				switch err := read(t.Context(), h, old, off, 100_000); {
				case errors.Is(err, s3.ErrConflict):
					conflict++
				case err != nil:
					t.Fatal(err)
				}
			}
			if conflict == 0 {
				t.Error("no conflict: the test replaces nothing")
			}
			check(t, sequence(t.Context(), open(t, r, after), new1, 100_000))
			if o.Cache != nil {
				check(t, read(t.Context(), h, old, 0, mib))
			}
		})
	}
}

func TestTheServerGoesAwayAndComesBack(t *testing.T) {
	server := s3test.Start(t)
	b := server.Bucket(t)
	want := content(1, 16*mib)
	o, err := b.Put(t.Context(), "a", bytes.NewReader(want), int64(len(want)), s3.WriteOptions{})
	check(t, err)
	o.Key, o.Size = "a", int64(len(want))
	client := server.Open(t, server.Endpoint, b.Location().Bucket, s3.Options{Pause: time.Millisecond, Attempts: 3, Patience: 5 * time.Second})
	r := New(Options{Source: client, BlockSize: mib, Memory: 8 * mib})
	t.Cleanup(r.Close)
	h := open(t, r, o)
	check(t, read(t.Context(), h, want, 0, 100))
	server.Kill()
	if err := read(t.Context(), h, want, 12*mib, 100); !errors.Is(err, s3.ErrUnavailable) {
		t.Errorf("%v, want %v", err, s3.ErrUnavailable)
	}
	server.Start(t)
	check(t, sequence(t.Context(), h, want, mib))
}

func TestClosingCallsOffWhatNobodyWants(t *testing.T) {
	s := newStore(t)
	want := content(1, 64*mib)
	o := s.put(t, "a", want)
	w := &watched{Source: s.client, look: func() {}}
	r := s.reader(t, Options{Source: w})
	s.proxy.Add(s3test.Rule{Match: gets, Fault: s3test.StallAfter(100_000)})
	h := r.Open(o)
	check(t, read(t.Context(), h, want, 0, 50_000))
	other := r.Open(o)
	h.Close()
	if _, err := h.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("read of a closed handle: %v", err)
	}
	check(t, read(t.Context(), other, want, 100, 40_000)) // still on the way, for this one
	other.Close()
	waitFor(t, "the end of all requests", func() bool { return w.running.Load() == 0 })
	waitFor(t, "no memory in use", func() bool { return r.Stats().Memory == 0 })
	s.proxy.Clear()
	check(t, read(t.Context(), open(t, r, o), want, 0, 50_000))
}

func TestClosingTheReaderEndsWaiting(t *testing.T) {
	s := newStore(t)
	want := content(1, 20*mib)
	o := s.put(t, "a", want)
	s.proxy.Add(s3test.Rule{Match: gets, Fault: s3test.Stall()})
	slow := s.proxy
	client := s.client
	r := s.reader(t, Options{Source: client})
	h := open(t, r, o)
	ended := make(chan error)
	go func() { ended <- read(t.Context(), h, want, 0, 100) }()
	waitFor(t, "a request", func() bool { return slow.Count(gets) > 0 })
	r.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("%v, want %v", err, ErrClosed)
	}
	if _, err := h.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, ErrClosed) {
		t.Errorf("read after the end: %v", err)
	}
	r.Close()
}

func TestAReadThatEndedBeforeItBegan(t *testing.T) {
	s := newStore(t)
	want := content(1, mib)
	h := open(t, s.reader(t, Options{}), s.put(t, "a", want))
	s.proxy.Add(s3test.Rule{Match: gets, Fault: s3test.Stall()})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := read(ctx, h, want, 0, 100); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.proxy.Clear()
}

func TestReadsOutlastTheirCache(t *testing.T) {
	s := newStore(t)
	want := content(1, 20*mib)
	o := s.put(t, "a", want)
	for name, harm := range map[string]func(dir string) error{
		"removed":         func(dir string) error { return os.RemoveAll(dir) },
		"index cut short": func(dir string) error { return os.Truncate(filepath.Join(dir, "index"), 0) },
		"files cut short": func(dir string) error {
			files, err := filepath.Glob(filepath.Join(dir, "data-*", "*"))
			for _, f := range files {
				err = errors.Join(err, os.Truncate(f, 0))
			}
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "cache")
			r := s.reader(t, Options{Cache: newCache(t, blockcache.Options{Dir: dir, BlockSize: mib}), Memory: 8 * mib})
			h := open(t, r, o)
			for off := int64(0); off < 10*mib; off += 128 << 10 {
				check(t, read(t.Context(), h, want, off, 128<<10))
			}
			waitIdle(t, r)
			check(t, harm(dir))
			for range 2 {
				check(t, sequence(t.Context(), h, want, 128<<10))
				waitIdle(t, r)
			}
		})
	}
}

// TestOneCacheForManyReaders has several engines read the same objects at once, through a cache that is too small for them.
func TestOneCacheForManyReaders(t *testing.T) {
	s := newStore(t)
	var objects []s3.Object
	var contents [][]byte
	for i := range 4 {
		contents = append(contents, content(i, int64(3+i)*mib+int64(i)))
		objects = append(objects, s.put(t, fmt.Sprint("a", i), contents[i]))
	}
	dir := t.TempDir()
	var all sync.WaitGroup
	for i := range 3 {
		cache := newCache(t, blockcache.Options{Dir: dir, BlockSize: mib, Limit: 8 * mib, Volume: fmt.Sprint(i)})
		r := s.reader(t, Options{Cache: cache, Memory: 8 * mib})
		for range 2 {
			all.Go(func() {
				rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
				for range 12 {
					k := rnd.IntN(len(objects))
					h := r.Open(objects[k])
					err := read(t.Context(), h, contents[k], rnd.Int64N(objects[k].Size), 1+rnd.Int64N(2*mib))
					if rnd.IntN(3) == 0 {
						err = errors.Join(err, sequence(t.Context(), h, contents[k], 256<<10))
					}
					h.Close()
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	all.Wait()
}

// TestBlocksThatCameTooLateAreKeptInTheEnd holds the cache up until many blocks are in memory that it didn't take.
func TestBlocksThatCameTooLateAreKeptInTheEnd(t *testing.T) {
	s := newStore(t)
	want := content(1, 8*mib)
	o := s.put(t, "a", want)
	cache := newCache(t, blockcache.Options{BlockSize: mib})
	r := s.reader(t, Options{Cache: cache, Memory: 16 * mib})
	r.mu.Lock()
	r.pending += r.memory.limit / 2 // as if a slow disk had that much to write
	r.mu.Unlock()
	h := open(t, r, o)
	check(t, sequence(t.Context(), h, want, 128<<10))
	if st := r.Stats(); st.NotKept != 8 || st.Cache.Puts != 0 || st.Requests != 8 {
		t.Errorf("stats %+v", st)
	}
	r.mu.Lock()
	r.pending -= r.memory.limit / 2
	r.catchUp()
	r.mu.Unlock()
	waitFor(t, "the whole object in the cache", h.Complete)
}
