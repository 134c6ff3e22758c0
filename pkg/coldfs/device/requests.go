package device

// How requests are told apart, bounded, and ended early.

import (
	"cmp"
	"encoding/binary"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The opcodes that are treated specially (linux/fuse.h, enum fuse_opcode).
const (
	opForget      = 2
	opSymlink     = 6
	opRead        = 15
	opWrite       = 16
	opRelease     = 18
	opFsync       = 20
	opGetxattr    = 22
	opListxattr   = 23
	opFlush       = 25
	opInit        = 26
	opReaddir     = 28
	opReleasedir  = 29
	opFsyncdir    = 30
	opInterrupt   = 36
	opDestroy     = 38
	opIoctl       = 39
	opBatchForget = 42
	opReaddirplus = 44
	headerSize    = 40 // struct fuse_in_header
	replyHeader   = 16 // struct fuse_out_header
	smallReply    = 8 << 10
)

// The classes of requests: each kind waits for its own kind alone.
const (
	classNow    = iota // answered by who read it
	classRead          // has a large answer
	classWrite         // holds a large buffer
	classCommit        // may wait for an upload; mostly it has nothing to do
	classOther         // may wait for the store
	classCount
)

// Limits are how many requests of a class run at once; 0: as many as is usual. Large buffers are the memory of a busy engine; the others cost a goroutine each.
type Limits struct {
	Read   int // 96: each has a large answer
	Write  int // 32: each holds a large buffer, those that wait too
	Commit int // 256: close(), fsync() and the end of a handle, which may wait for an upload
	Other  int // 256: the rest, which may wait for the store
}

// byClass are the limits with the usual ones where there is none.
func (l Limits) byClass() [classCount]int {
	return [classCount]int{
		classNow: readers, classRead: cmp.Or(l.Read, 96), classWrite: cmp.Or(l.Write, 32), classCommit: cmp.Or(l.Commit, 256), classOther: cmp.Or(l.Other, 256),
	}
}

type class struct {
	limit, running int
	waiting        []*request
}

// request is one request that isn't answered yet.
type request struct {
	unique uint64
	opcode uint32
	class  int
	in     []byte
	large  []byte // the buffer that in is part of; nil: in is its own
	begun  time.Time
	// By the server's mutex:
	running bool
	grace   *time.Timer // runs since it was interrupted
}

func opcodeOf(in []byte) uint32 { return binary.NativeEndian.Uint32(in[4:]) }
func uniqueOf(in []byte) uint64 { return binary.NativeEndian.Uint64(in[8:]) }
func statusOf(out []byte) int32 { return int32(binary.NativeEndian.Uint32(out[4:])) }

func classOf(opcode uint32) int {
	switch opcode {
	case opForget, opBatchForget, opInterrupt, opDestroy:
		return classNow
	case opRead:
		return classRead
	case opWrite:
		return classWrite
	case opFlush, opFsync, opRelease, opReleasedir, opFsyncdir:
		return classCommit
	}
	return classOther
}

// canBeInterrupted: what is being written to the store is finished once it was begun. A close() or fsync() that a signal ended would be
// an error for a program that did nothing wrong; how long it takes is bounded by the client of the store.
func (r *request) canBeInterrupted() bool { return r.class != classCommit && r.class != classWrite }

// spawn starts a worker. The mutex is held.
func (s *Server) spawn() {
	s.workers.Add(1)
	s.reading++
	go s.worker()
}

// worker reads requests and answers them, as one of the readers that the server counts when it begins.
func (s *Server) worker() {
	defer s.workers.Done()
	for {
		buffer := s.requests.get()
		n, err := s.read(buffer)
		s.mu.Lock()
		s.reading--
		if err != nil {
			s.end(err)
		}
		if s.ended != nil {
			s.mu.Unlock()
			s.requests.put(buffer)
			return
		}
		r := s.admit(buffer, n)
		if r != nil && s.reading == 0 {
			s.spawn() // somebody reads while this one is answered
		}
		s.mu.Unlock()
		for r != nil {
			s.answer(r)
			r = s.next(r)
		}
		s.mu.Lock()
		if s.reading >= readers || s.ended != nil {
			s.mu.Unlock()
			return
		}
		s.reading++
		s.mu.Unlock()
	}
}

// admit makes a request of what was read; nil: it waits for its turn. The mutex is held.
func (s *Server) admit(buffer []byte, n int) *request {
	r := &request{opcode: opcodeOf(buffer), unique: uniqueOf(buffer), begun: time.Now()}
	r.class = classOf(r.opcode)
	if r.class == classWrite || r.class == classNow {
		r.in, r.large = buffer[:n], buffer
	} else {
		r.in = append([]byte(nil), buffer[:n]...)
		s.requests.put(buffer)
	}
	if r.class == classNow {
		return r
	}
	s.inflight[r.unique] = r
	if c := &s.classes[r.class]; c.running < c.limit {
		c.running++
		r.running = true
		return r
	}
	s.classes[r.class].waiting = append(s.classes[r.class].waiting, r)
	return nil
}

// next ends a request and gives its place to one that waits; nil: none does.
func (s *Server) next(r *request) *request {
	if r.large != nil {
		s.requests.put(r.large)
	}
	if r.class == classNow {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inflight, r.unique)
	if r.grace != nil {
		r.grace.Stop()
	}
	c := &s.classes[r.class]
	if len(c.waiting) == 0 {
		c.running--
		return nil
	}
	following := c.waiting[0]
	c.waiting[0] = nil
	c.waiting = c.waiting[1:]
	following.running = true
	return following
}

// answer lets the file system answer a request.
func (s *Server) answer(r *request) {
	if r.opcode == opInterrupt {
		s.interrupt(r)
		return
	}
	out, free := replyBuffer(replySize(r))
	defer free()
	n, status := s.protocol.HandleRequest([][]byte{r.in}, [][]byte{out})
	if n == 0 && !status.Ok() {
		n = refuse(out, r.unique, int32(status))
	}
	errno := int32(0)
	if n > 0 {
		errno = -statusOf(out)
		if err := s.write(out[:n]); err != nil {
			// The kernel takes no such answer; its caller must not wait for ever.
			_ = s.write(out[:refuse(out, r.unique, int32(unix.EIO))])
		}
	}
	if s.o.Observe != nil {
		s.o.Observe(operation(r.opcode), errno, time.Since(r.begun))
	}
}

// replies are buffers for answers, by size. Most READs are of the kernel's readahead, which is 128 KiB where nobody has changed it.
var replies = [...]struct {
	size int
	pool sync.Pool
}{{size: smallReply}, {size: smallReply + 128<<10}, {size: smallReply + MaxWrite}}

// replyBuffer is a buffer of at least size bytes; it holds what was in it before.
func replyBuffer(size int) (buffer []byte, free func()) {
	for i := range replies {
		if r := &replies[i]; size <= r.size {
			b, ok := r.pool.Get().(*[]byte)
			if !ok {
				made := make([]byte, r.size)
				b = &made
			}
			return *b, func() { r.pool.Put(b) }
		}
	}
	return make([]byte, size), func() {}
}

// replySize is how large the answer to a request can be.
func replySize(r *request) int {
	at := 0
	switch r.opcode {
	case opRead, opReaddir, opReaddirplus: // struct fuse_read_in: fh, offset, size
		at = headerSize + 16
	case opGetxattr, opListxattr: // struct fuse_getxattr_in: size
		at = headerSize
	case opIoctl: // struct fuse_ioctl_in: fh, flags, cmd, arg, in_size, out_size
		at = headerSize + 28
	}
	if at == 0 || len(r.in) < at+4 {
		return smallReply
	}
	return smallReply + int(min(binary.NativeEndian.Uint32(r.in[at:]), MaxWrite))
}

// refuse writes an answer that is an error.
func refuse(out []byte, unique uint64, errno int32) int {
	binary.NativeEndian.PutUint32(out, replyHeader)
	binary.NativeEndian.PutUint32(out[4:], uint32(-errno))
	binary.NativeEndian.PutUint64(out[8:], unique)
	return replyHeader
}

// interrupt is told that the caller of a request got a signal. One that waits for its turn, or runs still after the grace, is ended.
func (s *Server) interrupt(r *request) {
	if len(r.in) < headerSize+8 {
		return
	}
	target := binary.NativeEndian.Uint64(r.in[headerSize:])
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.inflight[target]
	switch {
	case t == nil:
		// Another reader may be about to admit it: the kernel asks again, unless it has been answered.
		out := make([]byte, replyHeader)
		_ = s.write(out[:refuse(out, r.unique, int32(unix.EAGAIN))])
	case t.grace == nil && t.canBeInterrupted():
		in := append([]byte(nil), r.in...)
		t.grace = time.AfterFunc(s.o.Grace, func() { s.cancel(t, in) })
	}
}

// cancel ends a request; in is the INTERRUPT that asked for it.
func (s *Server) cancel(t *request, in []byte) {
	s.mu.Lock()
	if s.inflight[t.unique] != t {
		s.mu.Unlock()
		return
	}
	if t.running {
		s.mu.Unlock()
		// This closes the channel that the file system was given. A request that isn't quite begun is asked again.
		out := make([]byte, smallReply)
		if n, _ := s.protocol.HandleRequest([][]byte{in}, [][]byte{out}); n > 0 && -statusOf(out) == int32(unix.EAGAIN) {
			time.AfterFunc(s.o.Grace, func() { s.cancel(t, in) })
		}
		return
	}
	delete(s.inflight, t.unique)
	c := &s.classes[t.class]
	for i, w := range c.waiting {
		if w == t {
			c.waiting = append(c.waiting[:i:i], c.waiting[i+1:]...)
			break
		}
	}
	s.mu.Unlock()
	out := make([]byte, replyHeader)
	_ = s.write(out[:refuse(out, t.unique, int32(unix.EINTR))])
	if t.large != nil {
		s.requests.put(t.large)
	}
}

// operation is the name of an opcode, for metrics.
func operation(opcode uint32) string {
	if name, ok := operations[opcode]; ok {
		return name
	}
	return strconv.Itoa(int(opcode))
}

var operations = map[uint32]string{
	1: "lookup", opForget: "forget", 3: "getattr", 4: "setattr", 5: "readlink", opSymlink: "symlink", 8: "mknod", 9: "mkdir", 10: "unlink", 11: "rmdir", 12: "rename", 13: "link",
	14: "open", opRead: "read", opWrite: "write", 17: "statfs", opRelease: "release", opFsync: "fsync", 21: "setxattr", opGetxattr: "getxattr", opListxattr: "listxattr", 24: "removexattr",
	opFlush: "flush", 27: "opendir", opReaddir: "readdir", opReleasedir: "releasedir", opFsyncdir: "fsyncdir", 34: "access", 35: "create", opDestroy: "destroy", opIoctl: "ioctl",
	opBatchForget: "forget", 43: "fallocate", opReaddirplus: "readdirplus", 45: "rename", 46: "lseek", 47: "copy_file_range", 50: "syncfs", 51: "tmpfile", 52: "statx",
}
