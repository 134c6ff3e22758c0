package coldfs_test

// A file under random operations, beside a slice that says what it should be: reads, writes, truncations, mappings, fsync, close and open again, rename. What the store has is compared too.

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
)

type fsx struct {
	t        *testing.T
	v        *volume
	r        *rand.Rand
	name     string
	file     *os.File
	want     []byte
	max      int // bytes of the file at most
	span     int // bytes of one operation at most
	log      []string
	compared int
	watch    bool // reopen reads it between, by descriptors that were opened to read alone, and leaves one open
	watched  *os.File
}

func (x *fsx) fail(format string, args ...any) {
	x.t.Helper()
	for _, line := range x.log[max(0, len(x.log)-40):] {
		x.t.Log(line)
	}
	x.t.Fatalf(format, args...)
}

func (x *fsx) did(format string, args ...any) { x.log = append(x.log, fmt.Sprintf(format, args...)) }

func (x *fsx) check(err error) {
	x.t.Helper()
	if err != nil {
		x.fail("%v", err)
	}
}

// part is a random range; beyond: it may be behind the end.
func (x *fsx) part(beyond bool) (off, n int) {
	limit := len(x.want)
	if beyond {
		limit = x.max
	}
	if limit == 0 {
		return 0, 0
	}
	off = x.r.IntN(limit)
	n = 1 + x.r.IntN(min(x.span, limit-off))
	return off, n
}

func (x *fsx) grow(size int) {
	if size > len(x.want) {
		x.want = append(x.want, make([]byte, size-len(x.want))...)
	}
}

func (x *fsx) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(x.r.Uint32())
	}
	return b
}

func (x *fsx) compare(got []byte, off int, how string) {
	x.t.Helper()
	want := x.want[off : off+len(got)]
	if bytes.Equal(got, want) {
		return
	}
	for i := range got {
		if got[i] != want[i] {
			x.fail("DATA MISMATCH: %s: byte %d of %d is %#x, want %#x", how, off+i, len(x.want), got[i], want[i])
		}
	}
}

func (x *fsx) read() {
	off, n := x.part(false)
	x.did("read %d bytes from %d", n, off)
	got := make([]byte, n)
	if _, err := x.file.ReadAt(got, int64(off)); err != nil {
		x.fail("read %d bytes from %d of %d: %v", n, off, len(x.want), err)
	}
	x.compare(got, off, "read")
}

func (x *fsx) write() {
	off, n := x.part(true)
	x.did("write %d bytes from %d", n, off)
	data := x.bytes(n)
	_, err := x.file.WriteAt(data, int64(off))
	x.check(err)
	x.grow(off + n)
	copy(x.want[off:], data)
}

func (x *fsx) truncate() {
	size := x.r.IntN(x.max)
	if x.r.IntN(8) == 0 {
		size = 0
	}
	byPath := x.r.IntN(4) == 0
	x.did("truncate to %d, by its path: %v", size, byPath)
	if byPath {
		x.check(os.Truncate(x.v.Path(x.name), int64(size)))
	} else {
		x.check(x.file.Truncate(int64(size)))
	}
	x.want = x.want[:min(size, len(x.want))]
	x.want = append([]byte(nil), x.want...)
	x.grow(size)
}

func (x *fsx) mapped() {
	off, n := x.part(false)
	if n == 0 {
		return
	}
	write := x.r.IntN(2) == 0
	x.did("map %d bytes from %d, writing: %v", n, off, write)
	page := os.Getpagesize()
	start := off / page * page
	protection := unix.PROT_READ
	if write {
		protection |= unix.PROT_WRITE
	}
	m, err := unix.Mmap(int(x.file.Fd()), int64(start), off-start+n, protection, unix.MAP_SHARED)
	x.check(err)
	defer func() { x.check(unix.Munmap(m)) }()
	part := m[off-start:]
	x.compare(part, off, "mapped")
	if write {
		data := x.bytes(n)
		copy(part, data)
		copy(x.want[off:], data)
		if x.r.IntN(2) == 0 {
			x.check(unix.Msync(m, unix.MS_SYNC))
		}
	}
}

func (x *fsx) sync() {
	x.did("fsync")
	x.check(x.file.Sync())
	x.stored()
}

// stored compares what the store has.
func (x *fsx) stored() {
	x.compared++
	got := x.v.object(x.t, "vol/"+x.name)
	if len(got) != len(x.want) {
		x.fail("DATA MISMATCH: the object has %d bytes, want %d", len(got), len(x.want))
	}
	x.compare(got, 0, "the object")
}

func (x *fsx) reopen() {
	rename := x.r.IntN(3) == 0
	x.did("close and open again, renaming: %v", rename)
	x.check(x.file.Close())
	x.stored()
	if rename {
		x.rename()
	}
	if x.watch {
		x.watching()
	}
	var err error
	x.file, err = os.OpenFile(x.v.Path(x.name), os.O_RDWR, 0)
	x.check(err)
}

// watching reads the file twice, so that it is whole in the cache the second time.
func (x *fsx) watching() {
	for range 2 {
		if x.watched != nil {
			x.check(x.watched.Close())
		}
		var err error
		x.watched, err = os.Open(x.v.Path(x.name))
		x.check(err)
		got, err := io.ReadAll(x.watched)
		x.check(err)
		if len(got) != len(x.want) {
			x.fail("DATA MISMATCH: opened to read alone it has %d bytes, want %d", len(got), len(x.want))
		}
		x.compare(got, 0, "opened to read alone")
	}
	if x.r.IntN(2) == 0 {
		x.check(x.watched.Close())
		x.watched = nil
	}
}

func (x *fsx) rename() {
	name := fmt.Sprintf("fsx-%d", x.r.IntN(1000))
	x.did("rename to %s", name)
	if name != x.name {
		x.check(os.Rename(x.v.Path(x.name), x.v.Path(name)))
		x.name = name
	}
}

func (x *fsx) size() {
	info, err := x.file.Stat()
	x.check(err)
	if info.Size() != int64(len(x.want)) {
		x.fail("DATA MISMATCH: it has %d bytes by stat, want %d", info.Size(), len(x.want))
	}
	got := make([]byte, 10)
	if n, err := x.file.ReadAt(got, info.Size()); n != 0 || !errors.Is(err, io.EOF) {
		x.fail("DATA MISMATCH: behind the end of %d bytes are %d more, %v", info.Size(), n, err)
	}
}

// run does operations with these weights.
func (x *fsx) run(operations int, weights map[string]int) {
	all := map[string]func(){"read": x.read, "write": x.write, "truncate": x.truncate, "map": x.mapped, "sync": x.sync, "reopen": x.reopen, "rename": x.rename, "size": x.size}
	var names []string
	for _, name := range []string{"read", "write", "truncate", "map", "sync", "reopen", "rename", "size"} {
		for range weights[name] {
			names = append(names, name)
		}
	}
	var err error
	x.name = "fsx"
	x.file, err = os.OpenFile(x.v.Path(x.name), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)
	x.check(err)
	for i := range operations {
		if i > 0 && i%100_000 == 0 {
			x.t.Logf("%d of %d operations", i, operations)
		}
		all[names[x.r.IntN(len(names))]]()
	}
	x.check(x.file.Close())
	if x.watched != nil {
		x.check(x.watched.Close())
	}
	x.stored()
	x.t.Logf("%d operations, %d times closed or synced and compared with the store", operations, x.compared)
}

func fsxSeed(t *testing.T) uint64 {
	t.Helper()
	seed := uint64(1)
	if s := os.Getenv("STRATA_FSX_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatalf("STRATA_FSX_SEED: %v", err)
		}
		seed = n
	}
	t.Logf("STRATA_FSX_SEED=%d", seed)
	return seed
}

// much is how much a test does; with -short a tenth of it.
func much(n int) int {
	if testing.Short() {
		return n / 10
	}
	return n
}

// STRATA_FSX_OPS and STRATA_FSX_SEED choose how many operations and which.
func TestFSX(t *testing.T) {
	operations := much(50_000)
	if s := os.Getenv("STRATA_FSX_OPS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatalf("STRATA_FSX_OPS: %v", err)
		}
		operations = n
	}
	x := &fsx{t: t, v: mount(t, coldfstest.Options{}), r: rand.New(rand.NewPCG(fsxSeed(t), 4)), max: 256 << 10, span: 32 << 10}
	x.run(operations, map[string]int{"read": 60, "write": 60, "truncate": 8, "map": 30, "sync": 1, "reopen": 1, "rename": 1, "size": 10})
}

// As above, on a volume that is read by the kernel itself where it can be: between, the file is opened to read alone.
func TestFSXOfWhatTheKernelReads(t *testing.T) {
	v := mount(t, coldfstest.Options{Config: immutable})
	x := &fsx{t: t, v: v, r: rand.New(rand.NewPCG(fsxSeed(t), 6)), max: 256 << 10, span: 32 << 10, watch: true}
	x.run(much(5000), map[string]int{"read": 60, "write": 60, "truncate": 8, "map": 30, "sync": 2, "reopen": 8, "rename": 1, "size": 10})
	if err := v.Unmount(); err != nil {
		t.Fatal(err)
	}
	if v.Count("strata_cold_passthrough_opens_total", "") == 0 {
		t.Error("the kernel has read nothing by itself")
	}
}

// Objects of several parts: what was written is sent, what wasn't is copied by the store.
func TestFSXOfLargeFiles(t *testing.T) {
	x := &fsx{t: t, v: mount(t, coldfstest.Options{}), r: rand.New(rand.NewPCG(fsxSeed(t), 5)), max: 48 << 20, span: 6 << 20}
	x.run(much(150), map[string]int{"read": 6, "write": 6, "truncate": 1, "map": 2, "sync": 2, "reopen": 1, "rename": 1, "size": 1})
}
