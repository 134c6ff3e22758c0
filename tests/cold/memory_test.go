package cold

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/tests/harness"
)

// memoryBound is what an engine may have resident, in bytes, whatever is done with 64 open files.
const memoryBound = 256 << 20

// TestSixtyFourOpenFilesTakeLittleMemory: readers in order, readers at random and writers, all at once.
func TestSixtyFourOpenFilesTakeLittleMemory(t *testing.T) {
	f := newFixture(t)
	const objects, size, written = 6, 20 << 20, 4 << 20
	v := f.volume("many", 1<<30)
	for i := range objects {
		key := fmt.Sprintf("%sread-%d", v.GetVolumeContext()["prefix"], i)
		_, err := f.bucket.Put(call(t), key, io.NewSectionReader(pattern(i), 0, size), size, s3.WriteOptions{})
		must(t, err)
	}
	dir := f.a.Mount(v, "many", harness.RWX)
	pid := engine(t, f.a, "many").PID

	type open struct {
		*os.File
		do func(*os.File) error
	}
	var files []open
	for i := range 64 {
		n := i % objects
		name, flags, do := fmt.Sprintf("read-%d", n), os.O_RDONLY, func(file *os.File) error { return inOrder(file, pattern(n), size) }
		switch i % 3 {
		case 1:
			do = func(file *os.File) error { return atRandom(file, pattern(n), size, uint64(i)) }
		case 2:
			name, flags = fmt.Sprintf("written-%d", i), os.O_RDWR|os.O_CREATE|os.O_EXCL
			do = func(file *os.File) error { return fillWith(file, pattern(i), written) }
		}
		file, err := os.OpenFile(filepath.Join(dir, name), flags, 0o644)
		must(t, err)
		files = append(files, open{file, do})
	}
	errs := make([]error, len(files))
	var wg sync.WaitGroup
	for i, file := range files {
		wg.Go(func() { errs[i] = file.do(file.File) })
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	for _, file := range files {
		must(t, file.Close())
	}
	peak := peakMemory(t, pid)
	t.Logf("peak: %d MiB", peak>>20)
	if peak > memoryBound {
		t.Errorf("the engine had %d MiB resident, at most %d are right", peak>>20, memoryBound>>20)
	}
	for i := 2; i < len(files); i += 3 {
		o, err := f.bucket.Head(call(t), fmt.Sprintf("%swritten-%d", v.GetVolumeContext()["prefix"], i))
		if must(t, err); o.Size != written {
			t.Errorf("%s has %d bytes", o.Key, o.Size)
		}
	}
	f.a.Unmount(v, "many")
	f.remove(v)
}

// pattern is endless content in which each 8 bytes tell where they are and whose.
type pattern int

func (p pattern) ReadAt(b []byte, off int64) (int, error) {
	for i := range b {
		at := off + int64(i)
		var word [8]byte
		binary.LittleEndian.PutUint64(word[:], uint64(at/8)*2654435761+uint64(p))
		b[i] = word[at%8]
	}
	return len(b), nil
}

func (p pattern) check(got []byte, off int64) error {
	want := make([]byte, len(got))
	_, _ = p.ReadAt(want, off)
	if string(got) != string(want) {
		return fmt.Errorf("DATA MISMATCH: %d bytes at %d aren't what was written", len(got), off)
	}
	return nil
}

func inOrder(file *os.File, p pattern, size int64) error {
	b := make([]byte, 256<<10)
	for off := int64(0); off < size; off += int64(len(b)) {
		if _, err := io.ReadFull(file, b); err != nil {
			return err
		}
		if off%(4<<20) == 0 { // looking at all would take longer than reading
			if err := p.check(b, off); err != nil {
				return fmt.Errorf("%s: %w", file.Name(), err)
			}
		}
	}
	return nil
}

func atRandom(file *os.File, p pattern, size int64, seed uint64) error {
	r, b := rand.New(rand.NewPCG(seed, 1)), make([]byte, 4096)
	for range 100 {
		off := r.Int64N(size - int64(len(b)))
		if _, err := file.ReadAt(b, off); err != nil {
			return err
		}
		if err := p.check(b, off); err != nil {
			return fmt.Errorf("%s: %w", file.Name(), err)
		}
	}
	return nil
}

// fillWith writes a file, syncs it in the middle, and reads a part again.
func fillWith(file *os.File, p pattern, size int64) error {
	b := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(b)) {
		_, _ = p.ReadAt(b, off)
		if _, err := file.Write(b); err != nil {
			return err
		}
		if off == size/2 {
			if err := file.Sync(); err != nil {
				return err
			}
		}
	}
	if _, err := file.ReadAt(b[:4096], 8192); err != nil {
		return err
	}
	return p.check(b[:4096], 8192)
}

// peakMemory is the most that a process has had resident, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	for line := range strings.Lines(string(status)) {
		var kib int64
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
