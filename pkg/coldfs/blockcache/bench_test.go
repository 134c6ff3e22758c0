package blockcache

// What a hit costs, and what a put costs when the cache is full of few or of many blocks.

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"
)

func BenchmarkReadAt(b *testing.B) {
	c := openCache(b, Options{Dir: b.TempDir(), Limit: 1 << 30, BlockSize: DefaultBlockSize})
	const size = 256 << 20
	v := version("a", 1)
	o := openObject(b, c, v, size)
	for block := range o.blocks {
		mustPut(b, o, v, block)
	}
	for _, n := range []int64{4 << 10, 128 << 10, 1 << 20} {
		p := make([]byte, n)
		b.Run(fmt.Sprintf("sequential/%dKiB", n>>10), func(b *testing.B) {
			b.SetBytes(n)
			off := int64(0)
			for b.Loop() {
				if o.ReadAt(p, off) != len(p) {
					b.Fatal("a miss")
				}
				off = (off + n) % size
			}
		})
		b.Run(fmt.Sprintf("random/%dKiB", n>>10), func(b *testing.B) {
			b.SetBytes(n)
			cpu := cpuTime(b)
			defer func() { b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op") }()
			for b.Loop() {
				if o.ReadAt(p, rand.Int64N(size-n)) != len(p) {
					b.Fatal("a miss")
				}
			}
		})
	}
	b.Run("miss", func(b *testing.B) {
		p := make([]byte, 4096)
		other := openObject(b, c, version("b", 1), size)
		for b.Loop() {
			if other.ReadAt(p, 0) != 0 {
				b.Fatal("a hit")
			}
		}
	})
}

// BenchmarkPutIntoAFullCache puts blocks of 128 KiB that each need another's room.
func BenchmarkPutIntoAFullCache(b *testing.B) {
	for _, blocks := range []int64{1_000, 1_000_000} {
		b.Run(fmt.Sprint(blocks, "blocks"), func(b *testing.B) {
			slots := slotsFor(blocks * (testBlock + 4096))
			c := openCache(b, Options{Dir: b.TempDir(), Limit: int64(indexRoom(slots, slots)) + blocks*(testBlock+4096)})
			crowd(b, c, blocks)
			c.o.Limit = int64(c.x.head.used.Load())
			v := version("new", 1)
			o := openObject(b, c, v, 1<<40)
			data := make([]byte, testBlock)
			fill(data, v, 0)
			block, cpu := int64(0), cpuTime(b)
			for b.Loop() {
				if !o.Put(block, data) {
					b.Fatal(c.Health())
				}
				block++
			}
			b.ReportMetric(float64(cpuTime(b)-cpu)/float64(b.N), "cpu-ns/op")
			b.ReportMetric(float64(c.Stats().Evictions)/float64(b.N), "evictions/op")
		})
	}
}

// cpuTime is what this process has used of the processors: a machine that does other things, too, tells little by the clock.
func cpuTime(b *testing.B) int64 {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// crowd gives a cache that many blocks of one object, by their slots alone: the file is a hole.
func crowd(t testing.TB, c *Cache, blocks int64) {
	t.Helper()
	o := openObject(t, c, version("crowd", 1), blocks*testBlock)
	err := c.change(func() error {
		for block := range uint32(blocks) {
			n, _, _, err := o.reserve(block, testBlock)
			if err != nil {
				return err
			}
			c.x.head.writing -= c.x.room(testBlock)
			c.x.slots[n].become(statePresent)
			rec, _ := c.x.find(o.id, recordBlock)
			c.x.slots[rec].used.Add(1)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
