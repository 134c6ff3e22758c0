package device

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// gated is a file system of files whose names are their node ids, and whose requests of each class wait at a gate.
type gated struct {
	fuse.RawFileSystem
	gates [classCount]chan struct{} // a request passes with each token; nil: all do

	mu   sync.Mutex
	at   [classCount]int // requests that are being answered
	most [classCount]int
}

func (g *gated) pass(class int) fuse.Status {
	g.mu.Lock()
	g.at[class]++
	g.most[class] = max(g.most[class], g.at[class])
	g.mu.Unlock()
	if gate := g.gates[class]; gate != nil {
		<-gate
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.at[class]--
	return fuse.OK
}

func (g *gated) attr(id uint64, out *fuse.Attr) {
	*out = fuse.Attr{Ino: id, Mode: unix.S_IFREG | 0o644, Nlink: 1, Size: 1 << 20}
	if id == fuse.FUSE_ROOT_ID {
		out.Mode = unix.S_IFDIR | 0o755
	}
}

func (g *gated) Lookup(_ <-chan struct{}, _ *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	id, err := strconv.ParseUint(name, 10, 64)
	if err != nil {
		return fuse.ENOENT
	}
	out.NodeId, out.Generation = id, 1
	g.attr(id, &out.Attr)
	return fuse.OK
}

func (g *gated) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	g.attr(in.NodeId, &out.Attr)
	return g.pass(classOther)
}

// Open makes each read(2) and write(2) a request.
func (g *gated) Open(_ <-chan struct{}, _ *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	out.OpenFlags = fuse.FOPEN_DIRECT_IO
	return fuse.OK
}

func (g *gated) Read(_ <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	status := g.pass(classRead)
	for i := range buf {
		buf[i] = byte(in.Offset >> 12)
	}
	return fuse.ReadResultData(buf), status
}

func (g *gated) Write(_ <-chan struct{}, _ *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	return uint32(len(data)), g.pass(classWrite)
}

func (g *gated) Fsync(<-chan struct{}, *fuse.FsyncIn) fuse.Status { return g.pass(classCommit) }
func (g *gated) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

// serve mounts a file system and serves it until the test ends.
func serve(t *testing.T, fs fuse.RawFileSystem, l Limits) (s *Server, dir string) {
	t.Helper()
	dir = t.TempDir()
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), "/dev/fuse")
	t.Cleanup(func() { _ = file.Close() })
	if err := unix.Mount("strata-test", dir, "fuse.strata-test", unix.MS_NOSUID|unix.MS_NODEV, fmt.Sprintf("fd=%d,rootmode=40000,user_id=0,group_id=0", fd)); err != nil {
		t.Fatal(err)
	}
	s = New(file, fs, Options{Limits: l, Grace: time.Second})
	ended := make(chan error, 1)
	if err := s.Start(t.Context()); err != nil {
		_ = unix.Unmount(dir, unix.MNT_DETACH)
		t.Fatal(err)
	}
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, dir
}

// await waits until something is so of a server, which it says when it isn't.
func await(t *testing.T, s *Server, what string, is func() bool) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		yes := is()
		s.mu.Unlock()
		if yes {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// Of each class so many are answered at once as are allowed; the rest waits, and the other classes don't wait for it.
func TestAClassWaitsForItselfAlone(t *testing.T) {
	const limit = 3
	calls := map[int]func(fd, k int) error{
		classRead: func(fd, k int) error {
			got := make([]byte, 4096)
			if _, err := unix.Pread(fd, got, int64(k)<<12); err != nil {
				return err
			}
			if got[0] != byte(k) || got[4095] != byte(k) {
				return fmt.Errorf("DATA MISMATCH: read %d, want %d", got[0], k)
			}
			return nil
		},
		classWrite:  func(fd, k int) error { _, err := unix.Pwrite(fd, make([]byte, 4096), int64(k)<<12); return err },
		classCommit: func(fd, _ int) error { return unix.Fsync(fd) },
		classOther:  func(fd, _ int) error { return unix.Fstat(fd, &unix.Stat_t{}) },
	}
	for name, class := range map[string]int{"read": classRead, "write": classWrite, "commit": classCommit, "other": classOther} {
		t.Run(name, func(t *testing.T) {
			callers := 12
			if class == classWrite {
				// A WRITE that waits keeps its buffer, and there are as many as may run and two for who reads: were more waiting, nobody would read.
				callers = limit + 1
			}
			g := &gated{RawFileSystem: fuse.NewDefaultRawFileSystem()}
			gate := make(chan struct{})
			g.gates[class] = gate
			s, dir := serve(t, g, Limits{Read: limit, Write: limit, Commit: limit, Other: limit})
			release := sync.OnceFunc(func() { close(gate) })
			t.Cleanup(release)
			// By system calls: os.OpenFile asks the kernel whether a file can be waited for, in a way that lets none of the goroutines run that would have to answer.
			// A file for each caller: the kernel lets one write or fsync of a file run at a time.
			var files []int
			for k := range callers + 1 {
				fd, err := unix.Open(fmt.Sprint(dir, "/", 10+k), unix.O_RDWR|unix.O_CLOEXEC, 0)
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = unix.Close(fd) }()
				files = append(files, fd)
			}
			failed := make(chan error, callers)
			for k, fd := range files[:callers] {
				go func() { failed <- calls[class](fd, k) }()
			}
			full := func() bool { return s.classes[class].running == limit && len(s.classes[class].waiting) > 0 }
			await(t, s, "requests wait for their turn", full)
			for other, call := range calls {
				if other == class {
					continue
				}
				if err := call(files[callers], 0); err != nil {
					t.Errorf("class %d while others wait: %v", other, err)
				}
			}
			s.mu.Lock()
			if !full() {
				t.Errorf("%d run and %d wait", s.classes[class].running, len(s.classes[class].waiting))
			}
			s.mu.Unlock()
			release()
			for range callers {
				if err := <-failed; err != nil {
					t.Error(err)
				}
			}
			g.mu.Lock()
			if g.most[class] != limit {
				t.Errorf("%d were answered at once, want %d", g.most[class], limit)
			}
			g.mu.Unlock()
			await(t, s, "all is answered", func() bool { return len(s.inflight) == 0 && s.classes[class].running == 0 })
			if len(s.classes[class].waiting) > 0 {
				t.Errorf("%d wait still", len(s.classes[class].waiting))
			}
		})
	}
}

func TestUsualLimits(t *testing.T) {
	if got, want := (Limits{Write: 5}).byClass(), [classCount]int{readers, 96, 5, 256, 256}; got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}
