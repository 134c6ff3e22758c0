package blockcache

// What every test uses: content that tells object, version and offset, and a look at the whole index.

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if mode := os.Getenv(helperMode); mode != "" {
		if err := helper(mode); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const testBlock = MinBlockSize

func version(key string, n int) ID {
	return ID{Endpoint: "https://s3.example", Bucket: "b", Key: key, ETag: fmt.Sprint("etag-", n)}
}

// fill writes what a version has at off: every 8 bytes are a number that no other place has.
func fill(p []byte, v ID, off int64) {
	i := v.hash(0, 0)
	word := func(at int64) uint64 {
		x := i.a ^ uint64(at/8)*0x9e3779b97f4a7c15
		x ^= x >> 29
		return x*0xbf58476d1ce4e5b9 | 1 // never zeros
	}
	for len(p) > 0 {
		if off%8 == 0 && len(p) >= 8 {
			binary.LittleEndian.PutUint64(p, word(off))
			p, off = p[8:], off+8
			continue
		}
		p[0] = byte(word(off) >> (off % 8 * 8))
		p, off = p[1:], off+1
	}
}

// differs is the first place at which p isn't what a version has at off, or -1.
func differs(p []byte, v ID, off int64) int {
	want := make([]byte, len(p))
	fill(want, v, off)
	if bytes.Equal(p, want) {
		return -1
	}
	for i := range p {
		if p[i] != want[i] {
			return i
		}
	}
	return -1
}

func openCache(t testing.TB, o Options) *Cache {
	t.Helper()
	if o.BlockSize == 0 {
		o.BlockSize = testBlock
	}
	if o.Limit == 0 {
		o.Limit = 64 << 20
	}
	if o.TrimEvery == 0 {
		o.TrimEvery = time.Hour
	}
	c, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func openObject(t testing.TB, c *Cache, v ID, size int64) *Object {
	t.Helper()
	o, err := c.Object(v, size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(o.Close)
	return o
}

func putBlock(o *Object, v ID, block int64) bool {
	b := make([]byte, o.length(uint32(block)))
	fill(b, v, block*o.c.o.BlockSize)
	return o.Put(block, b)
}

func mustPut(t testing.TB, o *Object, v ID, blocks ...int64) {
	t.Helper()
	for _, b := range blocks {
		if !putBlock(o, v, b) {
			t.Fatalf("block %d isn't kept: %v", b, o.c.Health())
		}
	}
}

// has lists the blocks that can be read, after comparing every byte of them.
func has(t testing.TB, o *Object, v ID) (blocks []int64) {
	t.Helper()
	for b := range o.blocks {
		p := make([]byte, o.length(uint32(b)))
		n := o.ReadAt(p, b*o.c.o.BlockSize)
		if i := differs(p[:n], v, b*o.c.o.BlockSize); i >= 0 {
			t.Fatalf("DATA MISMATCH: block %d is wrong at %d", b, i)
		}
		if n == len(p) {
			blocks = append(blocks, b)
		}
	}
	return blocks
}

// diskUse is what a directory takes of the disk, as du counts it.
func diskUse(t testing.TB, dir string) (n int64) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		var st unix.Stat_t
		if err == nil {
			err = unix.Lstat(path, &st)
		}
		if errors.Is(err, syscall.ENOENT) {
			return nil
		}
		n += st.Blocks * 512
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// dataFiles are the paths of the data files.
func dataFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, dataName+"*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// inspect compares all that is derived in the index with its slots, and the slots with the files.
func inspect(t testing.TB, c *Cache) {
	t.Helper()
	err := c.change(func() error {
		x, h := c.x, c.x.head
		used, writing := x.indexRoom(), uint64(0)
		bytes, listed := map[uint16]uint64{}, map[uint32]bool{}
		slots, present, names := map[id]uint32{}, map[id]uint64{}, map[string]bool{}
		free := 0
		for n := uint32(1); uint64(n) < h.fresh; n++ {
			s := &x.slots[n]
			if s.state() == stateFree {
				free++
				continue
			}
			if at, _ := x.find(s.id(), s.block.Load()); at != n {
				return fmt.Errorf("slot %d isn't found, but %d", n, at)
			}
			if s.state() == stateRecord {
				names[s.id().String()] = true
				continue
			}
			r := x.room(s.length.Load())
			used += r
			bytes[s.owner] += r
			slots[s.id()]++
			switch s.state() {
			case stateWriting:
				writing += r
			case statePresent:
				present[s.id()]++
			}
		}
		for i := range x.owners {
			o := &x.owners[i]
			if o.bytes != bytes[uint16(i)] {
				return fmt.Errorf("owner %d has %d bytes, its blocks %d", i, o.bytes, bytes[uint16(i)])
			}
			newer := uint32(0)
			for n := o.head; n != 0; n = x.slots[n].older {
				if listed[n] || x.slots[n].newer != newer || int(x.slots[n].owner) != i {
					return fmt.Errorf("slot %d is wrong in the list of owner %d", n, i)
				}
				listed[n], newer = true, n
			}
			if o.tail != newer {
				return fmt.Errorf("the list of owner %d ends at %d, not at %d", i, o.tail, newer)
			}
		}
		count := 0
		for n := h.free; n != 0; n = x.slots[n].next.Load() {
			count++
		}
		var total uint32
		for i, n := range slots {
			total += n
			rec, _ := x.find(i, recordBlock)
			if rec == 0 || x.slots[rec].length.Load() != n || x.slots[rec].used.Load() != present[i] {
				return fmt.Errorf("the record of %v is wrong", i)
			}
		}
		if len(names) != len(slots) || int(total) != len(listed) || count != free || h.used.Load() != used || h.writing != writing {
			return fmt.Errorf("records %d of %d objects, %d of %d blocks listed, %d of %d free slots, used %d of %d, writing %d of %d",
				len(names), len(slots), len(listed), total, count, free, h.used.Load(), used, h.writing, writing)
		}
		for _, f := range dataFiles(t, c.o.Dir) {
			if !names[filepath.Base(f)] {
				return fmt.Errorf("%s has no record", f)
			}
			delete(names, filepath.Base(f))
		}
		if len(names) != 0 {
			return fmt.Errorf("no files of %v", names)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := diskUse(t, c.o.Dir); n > c.o.Limit {
		t.Fatalf("%d bytes on the disk, limit %d", n, c.o.Limit)
	}
}

func TestABlockIsReadAsItWasPut(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, Options{Dir: dir})
	const size = 3*testBlock + 12345
	v := version("a", 1)
	o := openObject(t, c, v, size)
	mustPut(t, o, v, 0, 1, 3)
	for _, r := range []struct{ off, n, want int64 }{
		{0, 1, 1},
		{0, 2 * testBlock, 2 * testBlock},
		{5, 2 * testBlock, 2*testBlock - 5}, // up to the block that isn't there
		{4095, 8193, 8193},
		{testBlock - 1, 2, 2},
		{2 * testBlock, 10, 0},
		{3 * testBlock, size, 12345}, // up to the end
		{size - 1, 10, 1},
		{size, 10, 0},
		{size + 100, 10, 0},
		{-1, 10, 0},
	} {
		p := make([]byte, r.n)
		n := o.ReadAt(p, r.off)
		if int64(n) != r.want {
			t.Errorf("read %d bytes at %d: %d, want %d", r.n, r.off, n, r.want)
		}
		if i := differs(p[:n], v, r.off); i >= 0 {
			t.Errorf("DATA MISMATCH: read at %d: wrong byte at %d", r.off, i)
		}
	}
	if o.Complete() {
		t.Error("complete without a block")
	}
	other := openObject(t, c, version("a", 2), size)
	if n := other.ReadAt(make([]byte, 10), 0); n != 0 {
		t.Error("another version has the bytes")
	}
	if n := openObject(t, c, v, size-1).ReadAt(make([]byte, 10), 0); n != 0 {
		t.Error("another size has the bytes")
	}
	mustPut(t, o, v, 2)
	if !o.Complete() || !o.Has(2) {
		t.Error("not complete with all blocks")
	}
	mustPut(t, o, v, 2) // again
	inspect(t, c)
	s := c.Stats()
	if s.Puts != 4 || s.BytesKept != size || s.Misses == 0 || s.Hits == 0 || s.Used <= size || s.Refused != 0 {
		t.Errorf("stats %+v", s)
	}

	// Another process finds it all, and checks what it reads.
	c2 := openCache(t, Options{Dir: dir})
	o2 := openObject(t, c2, v, size)
	if got := has(t, o2, v); len(got) != 4 {
		t.Errorf("the second cache has blocks %v", got)
	}
}

func TestOptions(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		o    Options
		want error
	}{
		"no directory":        {Options{Limit: 1}, ErrInvalid},
		"no limit":            {Options{Dir: "x"}, ErrInvalid},
		"negative reserve":    {Options{Dir: "x", Limit: 1, Reserve: -1}, ErrInvalid},
		"odd block":           {Options{Dir: "x", Limit: 1, BlockSize: 3 << 20}, ErrInvalid},
		"small block":         {Options{Dir: "x", Limit: 1, BlockSize: 4096}, ErrInvalid},
		"share of no volume":  {Options{Dir: "x", Limit: 1, Share: 1}, ErrInvalid},
		"a file":              {Options{Dir: file, Limit: 1}, ErrUnusable},
		"below a file":        {Options{Dir: file + "/x", Limit: 1}, ErrUnusable},
		"not a cache's place": {Options{Dir: "/proc", Limit: 1}, ErrUnusable},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Open(c.o); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
	c := openCache(t, Options{Dir: t.TempDir()})
	for _, v := range []struct {
		id   ID
		size int64
	}{{version("a", 1), -1}, {ID{Key: "a"}, 1}, {version("a", 1), 1 << 50}} {
		if _, err := c.Object(v.id, v.size); !errors.Is(err, ErrInvalid) {
			t.Errorf("%+v: %v", v, err)
		}
	}
}

func TestTheOldestBlockGoes(t *testing.T) {
	dir := t.TempDir()
	index := indexRoom(slotsFor(1<<20), step(slotsFor(1<<20)))
	c := openCache(t, Options{Dir: dir, Limit: int64(index) + 4*(testBlock+4096)})
	v := version("a", 1)
	o := openObject(t, c, v, 100*testBlock)
	mustPut(t, o, v, 0, 1, 2, 3)
	if o.ReadAt(make([]byte, 1), 0) != 1 {
		t.Fatal("no block 0")
	}
	mustPut(t, o, v, 4)
	if got := fmt.Sprint(has(t, o, v)); got != "[0 2 3 4]" {
		t.Errorf("blocks %s; 1 was used longest ago", got)
	}
	for b := range int64(100) {
		mustPut(t, o, v, b)
		inspect(t, c)
	}
	if got := fmt.Sprint(has(t, o, v)); got != "[96 97 98 99]" {
		t.Errorf("blocks %s", got)
	}
	// The blocks of one-block objects go with their files.
	for i := range 20 {
		v := version("small", i)
		o := openObject(t, c, v, 1000)
		mustPut(t, o, v, 0)
		inspect(t, c)
	}
	if n := c.Stats().Evictions; n < 97 {
		t.Errorf("%d evictions", n)
	}
}

func TestAVolumeKeepsToItsShare(t *testing.T) {
	dir := t.TempDir()
	a := openCache(t, Options{Dir: dir, Volume: "a", Share: 4 * (testBlock + 4096)})
	b := openCache(t, Options{Dir: dir, Volume: "b"})
	none := openCache(t, Options{Dir: dir, Volume: "c", Share: -1})
	v, w := version("a", 1), version("b", 1)
	ob := openObject(t, b, w, 100*testBlock)
	mustPut(t, ob, w, 0, 1, 2, 3, 4, 5)
	oa := openObject(t, a, v, 100*testBlock)
	for i := range int64(20) {
		mustPut(t, oa, v, i)
	}
	if got := fmt.Sprint(has(t, oa, v)); got != "[16 17 18 19]" {
		t.Errorf("blocks of a: %s", got)
	}
	if got := fmt.Sprint(has(t, ob, w)); got != "[0 1 2 3 4 5]" {
		t.Errorf("blocks of b: %s", got)
	}
	on := openObject(t, none, v, 100*testBlock)
	if putBlock(on, v, 0) || none.Health() != nil || none.Stats().Refused != 1 {
		t.Errorf("a volume without a share keeps a block: %v", none.Health())
	}
	if got := has(t, on, v); len(got) != 4 {
		t.Errorf("a volume without a share finds %v", got)
	}
	a.Close() // and again: the entry is found
	again := openCache(t, Options{Dir: dir, Volume: "a", Share: 4 * (testBlock + 4096)})
	mustPut(t, openObject(t, again, v, 100*testBlock), v, 50)
	if got := fmt.Sprint(has(t, on, v)); got != "[17 18 19 50]" {
		t.Errorf("blocks of a: %s", got)
	}
	inspect(t, b)
}

func TestPinnedFilesLoseNothing(t *testing.T) {
	dir := t.TempDir()
	index := indexRoom(slotsFor(1<<20), step(slotsFor(1<<20)))
	limit := int64(index) + 8*(testBlock+4096)
	c := openCache(t, Options{Dir: dir, Limit: limit})
	v := version("pinned", 1)
	const size = 4*testBlock - 100
	o := openObject(t, c, v, size)
	mustPut(t, o, v, 0, 1, 2)
	if _, _, err := o.Pin(); !errors.Is(err, ErrIncomplete) {
		t.Fatalf("pinned without block 3: %v", err)
	}
	mustPut(t, o, v, 3)

	second := openCache(t, Options{Dir: dir, Limit: limit})
	o2 := openObject(t, second, v, size)
	if _, _, err := o2.Pin(); !errors.Is(err, ErrIncomplete) {
		t.Fatalf("pinned unchecked: %v", err)
	}
	if err := o2.Check(context.Background()); err != nil {
		t.Fatal(err)
	}
	f, release, err := o2.Pin()
	if err != nil {
		t.Fatal(err)
	}
	dup, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	kept := os.NewFile(uintptr(dup), "kept")
	defer func() { _ = kept.Close() }()

	w := version("other", 1)
	ow := openObject(t, c, w, 100*testBlock)
	whole := func(f *os.File) {
		t.Helper()
		p := make([]byte, size)
		if _, err := f.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		if i := differs(p, v, 0); i >= 0 {
			t.Fatalf("DATA MISMATCH: the pinned file is wrong at %d", i)
		}
	}
	for b := range int64(50) {
		mustPut(t, ow, w, b)
		whole(f)
	}
	if info, err := f.Stat(); err != nil || info.Size() != size {
		t.Errorf("size %v, %v", info, err)
	}
	if got := len(has(t, ow, w)); got != 4 {
		t.Errorf("%d blocks of the other object, there is room for 4", got)
	}
	if _, err := f.Write([]byte{1}); err == nil {
		t.Error("the pinned file can be written")
	}
	release()
	for b := range int64(20) {
		mustPut(t, ow, w, b) // the copy of the descriptor still pins it
	}
	whole(kept)
	_ = kept.Close()
	o2.Idle() // who reads it keeps it too
	for b := range int64(20) {
		mustPut(t, ow, w, 50+b)
	}
	if got := has(t, o, v); len(got) != 0 {
		t.Errorf("blocks %v of the released file", got)
	}
	inspect(t, c)
}

// A mapping of what the kernel opened in the place of a pinned file outlives the pin. Its bytes must stay, and go when it goes.
func TestAMappingKeepsWhatWasPinned(t *testing.T) {
	index := indexRoom(slotsFor(1<<20), step(slotsFor(1<<20)))
	c := openCache(t, Options{Dir: t.TempDir(), Limit: int64(index) + 4*(testBlock+4096)})
	v, w := version("mapped", 1), version("other", 1)
	const size = 2 * testBlock
	o, ow := openObject(t, c, v, size), openObject(t, c, w, 100*testBlock)
	mustPut(t, o, v, 0, 1)
	f, release, err := o.Pin()
	if err != nil {
		t.Fatal(err)
	}
	again, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	mapping, err := unix.Mmap(int(again.Fd()), 0, size, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	_ = again.Close()
	release()
	for b := range int64(20) {
		mustPut(t, ow, w, b)
		if i := differs(mapping, v, 0); i >= 0 {
			t.Fatalf("DATA MISMATCH: after %d blocks the mapping is wrong at %d", b+1, i)
		}
	}
	if got := len(has(t, ow, w)); got != 2 {
		t.Errorf("%d blocks of the other object, there is room for 2", got)
	}
	if err := unix.Munmap(mapping); err != nil {
		t.Fatal(err)
	}
	for b := range int64(20) {
		mustPut(t, ow, w, 20+b)
	}
	if got := has(t, o, v); len(got) != 0 {
		t.Errorf("blocks %v of what nobody has mapped any more", got)
	}
	inspect(t, c)
}

// Who closes a file in the middle of its blocks being put costs none of them.
func TestIdleWhileBlocksArePut(t *testing.T) {
	c := openCache(t, Options{Dir: t.TempDir()})
	v := version("a", 1)
	o := openObject(t, c, v, 200*testBlock)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
				o.Idle()
			}
		}
	}()
	for b := range int64(200) {
		mustPut(t, o, v, b)
	}
	close(stop)
	<-stopped
	if err := c.Health(); err != nil {
		t.Error(err)
	}
	if got := len(has(t, o, v)); got != 200 {
		t.Errorf("%d blocks of 200", got)
	}
}

func TestAllPinnedMeansFull(t *testing.T) {
	index := indexRoom(slotsFor(1<<20), step(slotsFor(1<<20)))
	c := openCache(t, Options{Dir: t.TempDir(), Limit: int64(index) + 4*(testBlock+4096)})
	v, w := version("a", 1), version("b", 1)
	o := openObject(t, c, v, 4*testBlock)
	mustPut(t, o, v, 0, 1, 2, 3)
	_, release, err := o.Pin()
	if err != nil {
		t.Fatal(err)
	}
	other := openObject(t, c, w, testBlock)
	if putBlock(other, w, 0) || !errors.Is(c.Health(), ErrFull) {
		t.Errorf("kept beside a pinned file that fills the cache: %v", c.Health())
	}
	release()
	mustPut(t, other, w, 0)
	if err := c.Health(); err != nil {
		t.Error(err)
	}
}

func TestTwoBlockSizes(t *testing.T) {
	dir := t.TempDir()
	const limit = 8 << 20
	a := openCache(t, Options{Dir: dir, Limit: limit, BlockSize: testBlock})
	b := openCache(t, Options{Dir: dir, Limit: limit, BlockSize: 4 * testBlock})
	v := version("a", 1)
	oa, ob := openObject(t, a, v, 64*testBlock), openObject(t, b, v, 64*testBlock)
	for i := range int64(16) {
		mustPut(t, ob, v, i)
		mustPut(t, oa, v, 4*i, 4*i+1, 4*i+2, 4*i+3)
		inspect(t, a)
	}
	if len(has(t, oa, v)) == 0 || len(has(t, ob, v)) == 0 {
		t.Error("no blocks of one of the sizes")
	}
}

func TestClosing(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, Options{Dir: dir})
	v := version("a", 1)
	o, err := c.Object(v, 2*testBlock)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	mustPut(t, o, v, 0, 1) // an open object goes on
	_, release, err := o.Pin()
	if err != nil {
		t.Fatal(err)
	}
	o.Close()
	release()
	if _, err := c.Object(v, 1); err == nil {
		t.Error("an object of a closed cache")
	}
	c.Close()
	if s := c.Stats(); s.Puts != 2 || s.Used != 0 {
		t.Errorf("stats %+v", s)
	}
	if got := has(t, openObject(t, openCache(t, Options{Dir: dir}), v, 2*testBlock), v); len(got) != 2 {
		t.Errorf("blocks %v after the cache was opened again", got)
	}
	if files := dataFiles(t, dir); len(files) != 1 || strings.Contains(files[0], "etag") {
		t.Errorf("files %v", files)
	}
}
