package blockcache

// What goes wrong below the cache: bytes that are lost or changed, files that others put in or take away, a disk that is full or fails.

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// onDataFile opens the only data file.
func onDataFile(t *testing.T, dir string, f func(*os.File)) {
	t.Helper()
	files := dataFiles(t, dir)
	if len(files) != 1 {
		t.Fatalf("data files %v", files)
	}
	file, err := os.OpenFile(files[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	f(file)
}

func TestBytesThatWereLostOrChangedAreMisses(t *testing.T) {
	const at = testBlock + 3*(testBlock/chunksPerBlock) + 5 // in chunk 3 of block 1
	for name, harm := range map[string]func(*os.File) error{
		"a bit":    func(f *os.File) error { return flip(f, at) },
		"a hole":   func(f *os.File) error { return fallocate(int(f.Fd()), 3, testBlock, testBlock) },
		"the end":  func(f *os.File) error { return f.Truncate(testBlock + 100) },
		"all":      func(f *os.File) error { return f.Truncate(0) },
		"exchange": exchange,
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := openCache(t, Options{Dir: dir})
			v := version("a", 1)
			o := openObject(t, c, v, 3*testBlock)
			mustPut(t, o, v, 0, 1, 2)
			onDataFile(t, dir, func(f *os.File) {
				if err := harm(f); err != nil {
					t.Fatal(err)
				}
			})
			// Who hasn't checked the bytes yet finds out. Another chunk of the same block may be right.
			other := openCache(t, Options{Dir: dir})
			ob := openObject(t, other, v, 3*testBlock)
			p := make([]byte, 100)
			if n := ob.ReadAt(p, at-5); n != 0 {
				t.Errorf("%d bytes at the place", n)
			}
			if s := other.Stats(); s.Corrupt+s.Errors == 0 {
				t.Errorf("stats %+v", s)
			}
			if ob.Has(1) || o.Has(1) {
				t.Error("the block is still there")
			}
			has(t, ob, v)
			mustPut(t, ob, v, 0, 1, 2)
			mustPut(t, ob, v, 0, 1, 2) // the first of them may have found that the file is of no use
			if got := has(t, o, v); len(got) != 3 {
				t.Errorf("blocks %v after all were put again", got)
			}
			inspect(t, c)
		})
	}
}

func flip(f *os.File, at int64) error {
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 1
	_, err := f.WriteAt(b[:], at)
	return err
}

// exchange puts bytes of another place of the same file there.
func exchange(f *os.File) error {
	b := make([]byte, testBlock)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	_, err := f.WriteAt(b, testBlock)
	return err
}

// lose makes the next Open think that the machine went down.
func lose(t *testing.T, dir string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(dir, indexName), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.WriteAt(make([]byte, 16), int64(unsafe.Offsetof(header{}.boot))); err != nil {
		t.Fatal(err)
	}
}

func TestWhatAMachineLeavesThatWentDown(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dir, file string){
		"nothing": func(*testing.T, string, string) {},
		"no file": func(t *testing.T, _, file string) { check(t, os.Remove(file)) },
		"bytes that no block has": func(t *testing.T, _, file string) {
			f, err := os.OpenFile(file, os.O_RDWR, 0)
			check(t, err)
			_, err = f.WriteAt(bytes.Repeat([]byte{1}, 3*testBlock), 4*testBlock)
			check(t, errors.Join(err, f.Close()))
		},
		"another size": func(t *testing.T, _, file string) { check(t, os.Truncate(file, 5*testBlock)) },
		"a file of no object": func(t *testing.T, _, file string) {
			check(t, os.WriteFile(file[:len(file)-4]+"0000", make([]byte, 1<<20), 0o600))
		},
		"a foreign file": func(t *testing.T, _, file string) { check(t, os.WriteFile(file+".txt", make([]byte, 1<<20), 0o600)) },
		"a directory instead": func(t *testing.T, _, file string) {
			check(t, os.Remove(file))
			check(t, os.MkdirAll(file+"/x/y", 0o700))
		},
		"a link instead": func(t *testing.T, _, file string) {
			check(t, os.Remove(file))
			check(t, os.Symlink("/etc/passwd", file))
		},
		"no data": func(t *testing.T, _, file string) { check(t, os.RemoveAll(filepath.Dir(file))) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := openCache(t, Options{Dir: dir})
			v := version("a", 1)
			const size = 8 * testBlock
			o := openObject(t, c, v, size)
			mustPut(t, o, v, 0, 1, 2)
			c.Close()
			o.Close()
			harm(t, dir, dataFiles(t, dir)[0])
			lose(t, dir)
			c = openCache(t, Options{Dir: dir})
			inspect(t, c)
			o, err := c.Object(v, size)
			check(t, err)
			want := 0
			if name == "nothing" || name[:6] == "a file" || name == "a foreign file" {
				want = 3
			}
			if got := has(t, o, v); len(got) != want {
				t.Errorf("blocks %v, want %d", got, want)
			}
			mustPut(t, o, v, 0, 1, 2, 3, 4, 5, 6, 7)
			if got := has(t, o, v); len(got) != 8 {
				t.Errorf("blocks %v after all were put again", got)
			}
			inspect(t, c)
			o.Close()
		})
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnIndexOfGarbage overwrites pages of the index, as when some reached the disk and some didn't, and worse.
func TestAnIndexOfGarbage(t *testing.T) {
	for round := range 20 {
		seed := rand.Uint64()
		r := rand.New(rand.NewPCG(seed, 0))
		dir := t.TempDir()
		c := openCache(t, workOptions(dir))
		for range 15 {
			check(t, workStep(c, r))
		}
		path := filepath.Join(dir, indexName)
		old, err := os.ReadFile(path)
		check(t, err)
		for range 15 {
			check(t, workStep(c, r))
		}
		c.Close()
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		check(t, err)
		for page := range int64(len(old)) / 4096 {
			at := page * 4096
			switch {
			case r.IntN(3) > 0:
			case round%2 == 0: // an older state of the page
				_, err = f.WriteAt(old[at:at+4096], at)
			case page > 0 || round%3 == 0: // anything
				b := make([]byte, 1+r.IntN(4096))
				for i := range b {
					bits := r.Uint32()
					b[i] = byte(bits & (bits >> 8)) // more zeros than ones, as in an index
				}
				_, err = f.WriteAt(b, at+r.Int64N(4097-int64(len(b))))
			}
			check(t, err)
		}
		check(t, f.Close())
		lose(t, dir)
		if c, err = Open(workOptions(dir)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		inspect(t, c)
		for range 40 {
			if err := workStep(c, r); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		inspect(t, c)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
		c.Close()
	}
}

func TestAForeignIndexIsReplaced(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, path string){
		"empty":     func(t *testing.T, path string) { check(t, os.Truncate(path, 0)) },
		"short":     func(t *testing.T, path string) { check(t, os.Truncate(path, 5000)) },
		"text":      func(t *testing.T, path string) { check(t, os.WriteFile(path, []byte("hello"), 0o600)) },
		"directory": func(t *testing.T, path string) { check(t, os.Remove(path)); check(t, os.MkdirAll(path+"/x", 0o700)) },
		"link":      func(t *testing.T, path string) { check(t, os.Remove(path)); check(t, os.Symlink("/etc/passwd", path)) },
		"missing":   func(t *testing.T, path string) { check(t, os.Remove(path)) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			c := openCache(t, Options{Dir: dir})
			v := version("a", 1)
			o := openObject(t, c, v, testBlock)
			mustPut(t, o, v, 0)
			check(t, os.WriteFile(filepath.Join(dir, "mine.txt"), nil, 0o600))
			harm(t, filepath.Join(dir, indexName))
			next := openCache(t, Options{Dir: dir})
			on := openObject(t, next, v, testBlock)
			if on.Has(0) {
				t.Error("a block of the old index")
			}
			mustPut(t, on, v, 0)
			inspect(t, next)
			if _, err := os.Stat(filepath.Join(dir, "mine.txt")); err != nil {
				t.Error(err)
			}
			// The cache of the old index does no harm: it may read what it has, and keeps no more.
			has(t, o, v)
			other := openObject(t, c, version("b", 1), testBlock)
			if putBlock(other, version("b", 1), 0) || !errors.Is(c.Health(), ErrFailing) {
				t.Errorf("the cache of the old index keeps a block: %v", c.Health())
			}
			if n := o.ReadAt(make([]byte, 10), 0); n != 0 {
				t.Error("and it is read after it knows")
			}
		})
	}
}

func TestFilesTakenAwayUnderACache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cache")
	c := openCache(t, Options{Dir: dir})
	v := version("a", 1)
	o := openObject(t, c, v, 3*testBlock)
	mustPut(t, o, v, 0, 1)
	check(t, os.RemoveAll(dir))
	has(t, o, v)
	if putBlock(o, v, 2) || !errors.Is(c.Health(), ErrFailing) {
		t.Errorf("kept in a directory that is gone: %v", c.Health())
	}
	c.Trim()
	if _, _, err := o.Pin(); err == nil {
		t.Error("pinned")
	}
	next := openCache(t, Options{Dir: dir})
	mustPut(t, openObject(t, next, v, 3*testBlock), v, 0, 1, 2)
	inspect(t, next)
}

func TestAFileCutShortIsGivenUp(t *testing.T) {
	dir := t.TempDir()
	c := openCache(t, Options{Dir: dir})
	v := version("a", 1)
	o := openObject(t, c, v, 6*testBlock)
	mustPut(t, o, v, 0, 1, 2)
	onDataFile(t, dir, func(f *os.File) { check(t, f.Truncate(testBlock+10)) })
	putBlock(o, v, 5) // which would make the file long again
	has(t, o, v)
	for b := range int64(6) {
		putBlock(o, v, b)
	}
	if got := has(t, o, v); len(got) != 6 {
		t.Errorf("blocks %v", got)
	}
	inspect(t, c)
}

func TestATruncatedIndexIsNotTheEndOfTheProcess(t *testing.T) {
	for _, size := range []int64{0, headerSize} {
		for call, f := range map[string]func(*Cache, *Object, ID){
			"read":     func(_ *Cache, o *Object, _ ID) { o.ReadAt(make([]byte, 10), 0) },
			"put":      func(_ *Cache, o *Object, v ID) { putBlock(o, v, 2) },
			"trim":     func(c *Cache, _ *Object, _ ID) { c.o.Limit = 1 << 20; c.Trim() },
			"stats":    func(c *Cache, _ *Object, _ ID) { c.Stats() },
			"complete": func(_ *Cache, o *Object, _ ID) { o.Complete() },
			"pin":      func(_ *Cache, o *Object, _ ID) { _, _, _ = o.Pin() },
			"close":    func(c *Cache, _ *Object, _ ID) { c.Close() },
		} {
			t.Run(fmt.Sprint(call, size), func(t *testing.T) {
				dir := t.TempDir()
				c := openCache(t, Options{Dir: dir})
				v := version("a", 1)
				o := openObject(t, c, v, 3*testBlock)
				mustPut(t, o, v, 0, 1)
				check(t, os.Truncate(filepath.Join(dir, indexName), size))
				f(c, o, v)
				if putBlock(o, v, 2) || o.Complete() {
					t.Error("a block is kept without an index")
				}
				if !errors.Is(c.Health(), ErrFailing) {
					t.Error(c.Health())
				}
			})
		}
	}
}

// mount puts a file system of its own at a directory until the test ends.
func mount(t *testing.T, fstype string, size int64) string {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, "mnt")
	check(t, os.Mkdir(at, 0o700))
	if fstype == "tmpfs" {
		check(t, unix.Mount("tmpfs", at, "tmpfs", 0, fmt.Sprintf("size=%d", size)))
	} else {
		image := filepath.Join(dir, "image")
		check(t, os.WriteFile(image, nil, 0o600))
		check(t, os.Truncate(image, size))
		run(t, "mkfs."+fstype, "-q", "-m", "0", image)
		run(t, "mount", "-o", "loop", image, at)
	}
	t.Cleanup(func() { check(t, unix.Unmount(at, unix.MNT_DETACH)) })
	return at
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st unix.Statfs_t
	check(t, unix.Statfs(dir, &st))
	return int64(st.Bavail) * st.Bsize
}

func TestASmallDisk(t *testing.T) {
	for _, fstype := range []string{"tmpfs", "ext4"} {
		t.Run(fstype, func(t *testing.T) {
			at := mount(t, fstype, 16<<20)
			const reserve = 4 << 20
			// A limit above what the disk has.
			c := openCache(t, Options{Dir: at + "/cache", Limit: 1 << 30, Reserve: reserve})
			v := version("a", 1)
			o := openObject(t, c, v, 1000*testBlock)
			for b := range int64(200) {
				mustPut(t, o, v, b)
				if n := free(t, at); n < reserve {
					t.Fatalf("%d bytes are free, the reserve is %d", n, reserve)
				}
			}
			if got := len(has(t, o, v)); got < 20 {
				t.Errorf("only %d blocks are kept", got)
			}
			inspect(t, c)
			// Others fill the disk: the cache gives way.
			other(t, at)
			c.Trim()
			if n := free(t, at); n < reserve {
				t.Errorf("%d bytes are free after the cache gave way", n)
			}
			mustPut(t, o, v, 500)
			// Everything: nothing is kept, nothing fails.
			for other(t, at) > 0 {
				c.Trim()
			}
			if putBlock(o, v, 501) || !errors.Is(c.Health(), ErrFull) {
				t.Errorf("kept on a full disk: %v", c.Health())
			}
			has(t, o, v)
			// A second process on the full disk.
			second := openCache(t, Options{Dir: at + "/cache", Limit: 1 << 30, Reserve: reserve})
			if putBlock(openObject(t, second, v, 1000*testBlock), v, 502) {
				t.Error("kept on a full disk")
			}
			if _, err := Open(Options{Dir: at + "/new", Limit: 1 << 30}); !errors.Is(err, ErrUnusable) {
				t.Errorf("a new cache on a full disk: %v", err)
			}
			check(t, os.Remove(at+"/other"))
			mustPut(t, o, v, 503)
			if err := c.Health(); err != nil {
				t.Error(err)
			}
			inspect(t, c)
		})
	}
}

// Others of the same disk, who keep its reserve too, get room that blocks have.
func TestBlocksGiveWay(t *testing.T) {
	at := mount(t, "ext4", 16<<20)
	const reserve = 4 << 20
	c := openCache(t, Options{Dir: at + "/cache", Limit: 1 << 30, Reserve: reserve})
	v := version("a", 1)
	o := openObject(t, c, v, 1000*testBlock)
	for b := range int64(200) {
		mustPut(t, o, v, b)
	}
	if n := free(t, at); n >= reserve+3<<20 {
		t.Fatalf("%d bytes are free already", n)
	}
	if !c.Free(3 << 20) {
		t.Error("nothing is given up")
	}
	if n := free(t, at); n < reserve+3<<20 {
		t.Errorf("%d bytes are free", n)
	}
	if len(has(t, o, v)) == 0 {
		t.Error("all is given up")
	}
	if c.Free(1 << 30) {
		t.Error("it is said that there is more room than the disk has")
	}
	if n := len(has(t, o, v)); n != 0 {
		t.Errorf("%d blocks are left", n)
	}
	if err := c.Health(); err != nil {
		t.Errorf("what others want is no trouble of the cache: %v", err)
	}
	mustPut(t, o, v, 500)
	inspect(t, c)
}

// other appends to another file of the disk until it is full, and returns by how much.
func other(t *testing.T, at string) (n int64) {
	t.Helper()
	f, err := os.OpenFile(at+"/other", os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	check(t, err)
	b := make([]byte, 64<<10)
	for {
		k, err := f.Write(b)
		n += int64(k)
		if err != nil {
			break
		}
	}
	check(t, f.Close())
	return n
}

func TestWithoutAReserveAFullDiskIsNoError(t *testing.T) {
	at := mount(t, "ext4", 16<<20)
	c := openCache(t, Options{Dir: at + "/cache", Limit: 1 << 30})
	v := version("a", 1)
	o := openObject(t, c, v, 1000*testBlock)
	for b := range int64(200) {
		putBlock(o, v, b)
	}
	if got := len(has(t, o, v)); got < 50 || c.Stats().Errors != 0 {
		t.Errorf("%d blocks, %+v", got, c.Stats())
	}
	inspect(t, c)
}

// shutdown ends an ext4 as a failing disk does, without what hasn't been written yet: EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h).
func shutdown(t *testing.T, at string) {
	t.Helper()
	f, err := os.Open(at)
	check(t, err)
	defer func() { _ = f.Close() }()
	flags := uint32(2)
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), 0x8004587d, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		t.Fatal(errno)
	}
}

func TestAFailingDisk(t *testing.T) {
	at := mount(t, "ext4", 32<<20)
	c := openCache(t, Options{Dir: at + "/cache", Limit: 8 << 20})
	v := version("a", 1)
	o := openObject(t, c, v, 1000*testBlock)
	mustPut(t, o, v, 0, 1, 2)
	shutdown(t, at)
	has(t, o, v)
	for b := range int64(100) {
		if putBlock(o, v, 3+b) {
			t.Fatal("kept on a disk that failed")
		}
	}
	if !errors.Is(c.Health(), ErrFailing) {
		t.Error(c.Health())
	}
	has(t, o, v)
	if _, err := Open(Options{Dir: at + "/cache", Limit: 8 << 20}); !errors.Is(err, ErrUnusable) {
		t.Errorf("opened on a disk that failed: %v", err)
	}
}

func TestAReadOnlyDisk(t *testing.T) {
	at := mount(t, "tmpfs", 16<<20)
	c := openCache(t, Options{Dir: at + "/cache"})
	c.Close()
	check(t, unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if _, err := Open(Options{Dir: at + "/cache", Limit: 8 << 20}); !errors.Is(err, ErrUnusable) || !errors.Is(err, unix.EROFS) {
		t.Errorf("opened read-only: %v", err)
	}
}

// TestBytesThatNeverReachedTheDisk takes the disk away while blocks are put, and looks at what it has when it comes back.
func TestBytesThatNeverReachedTheDisk(t *testing.T) {
	for round := range 6 {
		dir := t.TempDir()
		image, at := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
		check(t, os.Mkdir(at, 0o700))
		check(t, os.WriteFile(image, nil, 0o600))
		check(t, os.Truncate(image, 64<<20))
		run(t, "mkfs.ext4", "-q", image)
		run(t, "mount", "-o", "loop", image, at)
		o := workOptions(at + "/cache")
		proc := start(t, "work", o.Dir, 2*round+1)
		if !proc.steps(30) {
			t.Fatal("the helper failed")
		}
		if round%2 == 0 { // some of it reaches the disk
			fd, err := unix.Open(at, unix.O_RDONLY, 0)
			check(t, err)
			check(t, unix.Syncfs(fd))
			check(t, unix.Close(fd))
		}
		if !proc.steps(30) {
			t.Fatal("the helper failed")
		}
		if round%3 == 2 { // the index alone reaches the disk
			f, err := os.OpenFile(filepath.Join(o.Dir, indexName), os.O_RDWR, 0)
			check(t, err)
			check(t, f.Sync())
			check(t, f.Close())
		}
		shutdown(t, at)
		proc.kill()
		check(t, unix.Unmount(at, 0))
		run(t, "mount", "-o", "loop", image, at)
		c, err := Open(o)
		check(t, err)
		inspect(t, c)
		corrupt := c.Stats().Corrupt
		found := 0
		for n := range workVersions {
			v, size := workVersion(n)
			o, err := c.Object(v, size)
			check(t, err)
			found += len(has(t, o, v))
			o.Close()
		}
		corrupt = c.Stats().Corrupt - corrupt
		t.Logf("%d blocks were there, %d only half", found, corrupt)
		if round == 5 && corrupt == 0 {
			t.Error("the index was written and the bytes weren't, but nobody found out")
		}
		if round%2 == 0 && found == 0 {
			t.Error("nothing of what had reached the disk")
		}
		inspect(t, c)
		c.Close()
		check(t, unix.Unmount(at, 0))
	}
}
