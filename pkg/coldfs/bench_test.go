package coldfs_test

// What a sequential read costs the processors, which the clock tells little of on a machine that does other things too.

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// BenchmarkSequentialRead reads a file of 512 MiB through a mount: from the store, from the cache, and from the cache that an earlier engine has filled. It tells how many seconds the engine, and the whole
// machine, have used of the processors for 10^9 bytes.
func BenchmarkSequentialRead(b *testing.B) {
	const size = 512 << 20
	server := s3test.Start(b)
	bucket, name := newBucket(b, server)
	content := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(content) // never an error
	if _, err := bucket.Put(b.Context(), "vol/large", bytes.NewReader(content), size, s3.WriteOptions{}); err != nil {
		b.Fatal(err)
	}
	for _, immutable := range []bool{false, true} {
		cache := b.TempDir()
		var m *coldfstest.Mount
		start := func() {
			if m != nil {
				m.Stop()
			}
			m = coldfstest.Start(b, server, name, coldfstest.Options{Config: func(c *config.Config) {
				c.Immutable, c.CacheDir, c.CacheLimit = immutable, cache, 4<<30
			}})
			widen(b, m.Dir)
		}
		fill := func() { // if the part before was left out
			if m == nil {
				start()
				readThrough(b, m.Path("large"), size)
			}
		}
		for _, part := range []struct {
			name   string
			before func()
		}{
			{"cold", func() { cache = b.TempDir(); start() }},
			{"same mount", func() {
				fill()
				f, err := os.Open(m.Path("large"))
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close()
				dropPages(b, f)
			}},
			{"new mount", func() { fill(); start() }},
		} {
			b.Run(fmt.Sprintf("immutable=%v/%s", immutable, part.name), func(b *testing.B) {
				b.SetBytes(size)
				var engine, machine time.Duration
				for b.Loop() {
					b.StopTimer()
					part.before()
					unix.Sync()
					e, all := processTime(b, m.PID()), machineTime(b)
					b.StartTimer()
					readThrough(b, m.Path("large"), size)
					b.StopTimer()
					engine += processTime(b, m.PID()) - e
					machine += machineTime(b) - all
					b.StartTimer()
				}
				each := float64(b.N) * size / 1e9
				b.ReportMetric(engine.Seconds()/each, "engine-s/GB")
				b.ReportMetric(machine.Seconds()/each, "machine-s/GB")
			})
		}
		if m != nil {
			m.Stop()
		}
	}
}

// widen sets the read-ahead of a mount as strata-mountd does.
func widen(b *testing.B, dir string) {
	b.Helper()
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		b.Fatal(err)
	}
	if err := os.WriteFile(fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev)), []byte("1024"), 0o644); err != nil {
		b.Fatal(err)
	}
}

func readThrough(b *testing.B, path string, size int64) {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for n := int64(0); n < size; {
		k, err := f.Read(buf)
		if err != nil {
			b.Fatal(err)
		}
		n += int64(k)
	}
}

// tick is the unit of times in /proc (USER_HZ).
const tick = 10 * time.Millisecond

// processTime is what a process has used of the processors: utime and stime of proc_pid_stat(5).
func processTime(b *testing.B, pid int) time.Duration {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), ") ")
	return ticks(b, strings.Fields(rest)[11:13])
}

// machineTime is what all have used of the processors: user, nice and system, and after idle and iowait irq and softirq, of proc_stat(5).
func machineTime(b *testing.B) time.Duration {
	b.Helper()
	raw, err := os.ReadFile("/proc/stat")
	if err != nil {
		b.Fatal(err)
	}
	all := strings.Fields(string(raw))
	return ticks(b, append(all[1:4:4], all[6:8]...))
}

func ticks(b *testing.B, fields []string) (d time.Duration) {
	b.Helper()
	for _, f := range fields {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			b.Fatal(err)
		}
		d += time.Duration(n) * tick
	}
	return d
}
