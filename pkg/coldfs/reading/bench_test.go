package reading

// A cold sequential read beside the bare requests that it is made of, and reads of what is cached.

import (
	"context"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/blockcache"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

const benchSize = 512 << 20

func benchObject(b *testing.B) (*s3.Bucket, s3.Object) {
	b.Helper()
	server := s3test.Start(b)
	s := &store{bucket: server.Bucket(b)}
	return s.bucket, s.put(b, "a", content(1, benchSize))
}

func BenchmarkColdSequential(b *testing.B) {
	bucket, o := benchObject(b)
	b.Run("raw", func(b *testing.B) {
		b.SetBytes(benchSize)
		for b.Loop() {
			raw(b, bucket, o, 16, 8<<20)
		}
	})
	buf := make([]byte, 1<<20)
	run := func(name string, cached bool) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(benchSize)
			for b.Loop() {
				b.StopTimer()
				options := Options{Source: bucket}
				if cached {
					options.Cache = newCache(b, blockcache.Options{})
				}
				r := New(options)
				h := r.Open(o)
				b.StartTimer()
				for off := int64(0); off < benchSize; off += int64(len(buf)) {
					if _, err := h.ReadAt(b.Context(), buf, off); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				h.Close()
				r.Close()
				if options.Cache != nil {
					options.Cache.Close()
				}
				b.StartTimer()
			}
		})
	}
	run("cache", true)
	run("memory", false)
}

// raw gets the object with that many requests at once and looks at nothing.
func raw(b *testing.B, bucket *s3.Bucket, o s3.Object, parallel int, size int64) {
	b.Helper()
	var all sync.WaitGroup
	offsets := make(chan int64)
	for range parallel {
		all.Go(func() {
			for off := range offsets {
				body, err := bucket.Get(context.Background(), o.Key, o.ETag, off, size)
				if err == nil {
					_, err = io.Copy(io.Discard, body)
					_ = body.Close()
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
	}
	for off := int64(0); off < o.Size; off += size {
		offsets <- off
	}
	close(offsets)
	all.Wait()
}

func BenchmarkWarm(b *testing.B) {
	bucket, o := benchObject(b)
	r := New(Options{Source: bucket, Cache: newCache(b, blockcache.Options{})})
	b.Cleanup(r.Close)
	h := r.Open(o)
	b.Cleanup(h.Close)
	buf := make([]byte, 1<<20)
	waitFor(b, "the whole object in the cache", func() bool {
		for off := int64(0); off < benchSize; off += int64(len(buf)) {
			if _, err := h.ReadAt(b.Context(), buf, off); err != nil {
				b.Fatal(err)
			}
		}
		return h.Complete()
	})
	b.Run("sequential/1MiB", func(b *testing.B) {
		b.SetBytes(1 << 20)
		off := int64(0)
		for b.Loop() {
			if _, err := h.ReadAt(b.Context(), buf, off); err != nil {
				b.Fatal(err)
			}
			off = (off + 1<<20) % benchSize
		}
	})
	b.Run("random/4KiB", func(b *testing.B) {
		for b.Loop() {
			if _, err := h.ReadAt(b.Context(), buf[:4096], rand.Int64N(benchSize-4096)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("random/4KiB/parallel", func(b *testing.B) {
		b.RunParallel(func(pb *testing.PB) {
			p := make([]byte, 4096)
			for pb.Next() {
				if _, err := h.ReadAt(b.Context(), p, rand.Int64N(benchSize-4096)); err != nil {
					b.Error(err)
				}
			}
		})
	})
}
