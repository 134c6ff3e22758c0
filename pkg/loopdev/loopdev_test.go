package loopdev

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const size = 16 << 20

func newFile(t *testing.T) *os.File {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("loop devices are root's; run the tests as root")
	}
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "image"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if err := unix.Fallocate(int(f.Fd()), 0, 0, size); err != nil {
		t.Fatal(err)
	}
	return f
}

func reopened(t *testing.T, f *os.File) *os.File {
	t.Helper()
	g, err := os.OpenFile(f.Name(), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = g.Close() })
	return g
}

func attached(t *testing.T, f *os.File, o Options) (Device, *os.File) {
	t.Helper()
	d, open, err := Attach(t.Context(), f, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = open.Close()
		if found, err := Find(f); err == nil && len(found) > 0 {
			if err := found[0].Detach(context.Background()); err != nil {
				t.Error(err)
			}
		}
	})
	return d, open
}

func devices(t *testing.T, f *os.File) []Device {
	t.Helper()
	found, err := Find(f)
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// goes waits for the kernel to take a device away.
func goes(t *testing.T, f *os.File) {
	t.Helper()
	for range 500 {
		if len(devices(t, f)) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("the device is still there: %v", devices(t, f))
}

func TestADeviceIsItsFile(t *testing.T) {
	f := newFile(t)
	d, open := attached(t, f, Options{})
	if n, err := d.Size(); err != nil || n != size {
		t.Errorf("size %d, %v", n, err)
	}
	if !d.DirectIO || d.Autoclear {
		t.Errorf("attached as %+v", d)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(open.Fd()), &st); err != nil {
		t.Fatal(err)
	}
	found, b, ok, err := Lookup(int(unix.Major(st.Rdev)), int(unix.Minor(st.Rdev)))
	if err != nil || !ok || found != d || b.Path != f.Name() || b.Deleted {
		t.Errorf("Lookup: %+v %+v %v %v", found, b, ok, err)
	}
	text := bytes.Repeat([]byte("x"), BlockSize)
	if _, err := open.WriteAt(text, size-BlockSize); err != nil {
		t.Fatal(err)
	}
	if err := open.Sync(); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, BlockSize)
	if _, err := f.ReadAt(got, size-BlockSize); err != nil || !bytes.Equal(got, text) {
		t.Errorf("the file doesn't have what the device was given: %v", err)
	}
	if n, err := unix.IoctlGetInt(int(open.Fd()), unix.BLKSSZGET); err != nil || n != BlockSize {
		t.Errorf("blocks of %d bytes, %v", n, err)
	}
	if err := f.Truncate(2 * size); err != nil {
		t.Fatal(err)
	}
	if err := d.FollowFile(); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Size(); err != nil || n != 2*size {
		t.Errorf("size %d, %v", n, err)
	}
}

func TestAFileHasOneDevice(t *testing.T) {
	f := newFile(t)
	d, open := attached(t, f, Options{})
	if _, _, err := Attach(t.Context(), reopened(t, f), Options{}); !errors.Is(err, ErrAttached) {
		t.Errorf("a second device: %v", err)
	}
	// The lock is the device's, not this process'.
	if err := errors.Join(open.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	g := reopened(t, f)
	if err := unix.Flock(int(g.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != unix.EWOULDBLOCK {
		t.Errorf("an attached file can be locked: %v", err)
	}
	if err := d.Detach(t.Context()); err != nil {
		t.Fatal(err)
	}
	d, open = attached(t, g, Options{})
	if err := errors.Join(open.Close(), d.Detach(t.Context()), d.Detach(t.Context())); err != nil {
		t.Errorf("detach, twice: %v", err)
	}
}

func TestManyWantADeviceOfOneFile(t *testing.T) {
	f := newFile(t)
	var wg sync.WaitGroup
	got := make(chan error, 8)
	for range 8 {
		g := reopened(t, f)
		wg.Go(func() {
			_, open, err := Attach(t.Context(), g, Options{})
			if err == nil {
				err = open.Close()
			} else if errors.Is(err, ErrAttached) {
				return
			}
			got <- err
		})
	}
	wg.Wait()
	close(got)
	n := 0
	for err := range got {
		if n++; err != nil {
			t.Error(err)
		}
	}
	found := devices(t, f)
	if n != 1 || len(found) != 1 {
		t.Errorf("%d got a device; there are %v", n, found)
	}
	for _, d := range found {
		if err := d.Detach(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

func TestManyFilesAtOnce(t *testing.T) {
	var wg sync.WaitGroup
	failed := make(chan error, 16)
	for range 16 {
		f := newFile(t)
		wg.Go(func() {
			d, open, err := Attach(t.Context(), f, Options{})
			if err == nil {
				err = errors.Join(open.Close(), d.Detach(t.Context()))
			}
			failed <- err
		})
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		if err != nil {
			t.Error(err)
		}
	}
}

func TestAutoclearGoesWithTheLastUser(t *testing.T) {
	f := newFile(t)
	d, open := attached(t, f, Options{Autoclear: true})
	if !d.Autoclear {
		t.Errorf("%+v", d)
	}
	second, err := d.Open()
	if err != nil {
		t.Fatal(err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	if found := devices(t, f); len(found) != 1 {
		t.Errorf("the device went while it was open: %v", found)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	goes(t, f)
}

// A device with autoclear is gone when it is closed, and its number is given out again: whoever detaches it late must not hit the next.
func TestDetachLeavesTheNextOwnerAlone(t *testing.T) {
	for range 20 { // until the number is the same, which it is mostly at once
		a, b := newFile(t), newFile(t)
		first, open, err := Attach(t.Context(), a, Options{Autoclear: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := open.Close(); err != nil {
			t.Fatal(err)
		}
		second, open, err := Attach(t.Context(), b, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := open.Close(); err != nil {
			t.Fatal(err)
		}
		if err := first.Detach(t.Context()); err != nil {
			t.Error(err)
		}
		found, err := Find(b)
		if err != nil || len(found) != 1 || found[0] != second {
			t.Fatalf("the next owner of %s has %v, %v", first.Path(), found, err)
		}
		if err := second.Detach(t.Context()); err != nil {
			t.Fatal(err)
		}
		if found, err := Find(b); err != nil || len(found) != 0 {
			t.Fatalf("left: %v, %v", found, err)
		}
		if first.Number == second.Number {
			return
		}
	}
	t.Error("no number was given out twice in 20 attempts")
}

func TestADeviceInUseIsBusy(t *testing.T) {
	f := newFile(t)
	d, open := attached(t, f, Options{})
	if err := d.Detach(t.Context()); !errors.Is(err, ErrBusy) {
		t.Errorf("detach of an open device: %v", err)
	}
	if _, err := open.ReadAt(make([]byte, BlockSize), 0); err != nil {
		t.Errorf("an open device after that: %v", err)
	}
	if err := open.Close(); err != nil {
		t.Fatal(err)
	}
	goes(t, f)
}

func TestWaitingEndsWithTheContext(t *testing.T) {
	f := newFile(t)
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, _, err := Attach(ctx, reopened(t, f), Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("attach of a locked file: %v", err)
	}
}

func TestSpaceIsNotGivenBack(t *testing.T) {
	f := newFile(t)
	d, open := attached(t, f, Options{})
	if err := d.RefuseDiscard(); err != nil {
		t.Fatal(err)
	}
	blocks := func() int64 {
		var s unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &s); err != nil {
			t.Fatal(err)
		}
		return s.Blocks * 512
	}
	extent := [2]uint64{0, size}
	if err := blockIoctl(open, unix.BLKDISCARD, &extent); err != unix.EOPNOTSUPP {
		t.Errorf("discard: %v", err)
	}
	if err := blockIoctl(open, unix.BLKZEROOUT, &extent); err != nil {
		t.Errorf("zeroing: %v", err)
	}
	_ = unix.Fallocate(int(open.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if n := blocks(); n < size {
		t.Errorf("of %d bytes %d are left", size, n)
	}
}

func TestARemovedFileIsFound(t *testing.T) {
	f := newFile(t)
	d, open := attached(t, f, Options{})
	if err := errors.Join(open.Close(), os.Remove(f.Name())); err != nil {
		t.Fatal(err)
	}
	found, err := FindDeleted(filepath.Dir(f.Name()), filepath.Base(f.Name()))
	if err != nil || len(found) != 1 || found[0].Number != d.Number {
		t.Errorf("%v, %v", found, err)
	}
	if found := devices(t, f); len(found) != 1 {
		t.Errorf("%v", found)
	}
}

func TestAMissingNodeIsMade(t *testing.T) {
	f := newFile(t)
	d, open := attached(t, f, Options{})
	if err := errors.Join(open.Close(), os.Remove(d.Path())); err != nil {
		t.Fatal(err)
	}
	if n, err := d.Size(); err != nil || n != size {
		t.Errorf("size %d, %v", n, err)
	}
	var s unix.Stat_t
	if err := unix.Stat(d.Path(), &s); err != nil || s.Mode&unix.S_IFMT != unix.S_IFBLK || s.Mode&0o077 != 0 {
		t.Errorf("the node is %o, %v", s.Mode, err)
	}
}

func TestOthersAreNoLoopDevices(t *testing.T) {
	for _, n := range [][2]int{{0, 5}, {8, 0}, {Major, 250000}} {
		if d, _, ok, err := Lookup(n[0], n[1]); ok || err != nil {
			t.Errorf("%v: %+v, %v", n, d, err)
		}
	}
}
