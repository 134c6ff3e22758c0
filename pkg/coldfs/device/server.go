// Package device reads the kernel's requests from a /dev/fuse and hands them to a file system of go-fuse, through its ProtocolServer.
//
// go-fuse's own server isn't used: it mounts by itself, keeps the INIT request to itself, and has one pool for everything. Here every kind of request has its own bound, so that
// requests that wait for a store that doesn't answer take no place from others, and what is over the bound waits as the few bytes it is. INTERRUPT and FORGET are never behind anything.
package device

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

const (
	// MaxWrite is the most bytes of one READ or WRITE, which is the kernel's own limit.
	MaxWrite = 1 << 20
	// readers is how many goroutines wait for the next request at once.
	readers = 2
	// bufferSize is what read(2) of a /dev/fuse needs: the longest WRITE with its headers, and some room.
	bufferSize = MaxWrite + 4096
)

// Options of a Server.
type Options struct {
	// Fuse is what is negotiated in INIT; mounting has been done by somebody else.
	Fuse fuse.MountOptions
	// SaveInit gets the INIT request before it is answered. Its error ends Start.
	SaveInit func(request []byte) error
	// Grace is how long a request goes on after its caller got a signal. Most finish by then, and programs don't expect EINTR of a file.
	Grace  time.Duration
	Limits Limits
	// Observe is told of every request that was answered; nil: nobody is.
	Observe func(operation string, errno int32, took time.Duration)
}

// Server answers the requests of one connection.
type Server struct {
	o        Options
	file     *os.File
	fd       int
	protocol *fuse.ProtocolServer

	mu       sync.Mutex
	reading  int
	classes  [classCount]class
	inflight map[uint64]*request
	ended    error // why nothing is read any more; errEnded: the mount is gone
	workers  sync.WaitGroup
	gone     chan struct{} // closed with ended

	requests    buffers
	passthrough bool
}

var errEnded = errors.New("the mount is gone")

// New makes a server for a mounted /dev/fuse. The file stays the caller's and must stay open until Serve has returned.
func New(file *os.File, fs fuse.RawFileSystem, o Options) *Server {
	o.Fuse.MaxWrite = MaxWrite
	s := &Server{o: o, file: file, fd: int(file.Fd()), protocol: fuse.NewProtocolServer(fs, &o.Fuse), inflight: map[uint64]*request{}, gone: make(chan struct{})}
	limits := o.Limits.byClass()
	for kind := range s.classes {
		s.classes[kind].limit = limits[kind]
	}
	// Each reader has a buffer, which a WRITE keeps. Should all WRITEs wait, for room on the disk, the readers wait too.
	s.requests.tokens = make(chan struct{}, readers+limits[classWrite])
	return s
}

// Start answers the INIT request, which is the first of a connection.
func (s *Server) Start(ctx context.Context) error {
	buffer := make([]byte, bufferSize)
	n, err := s.read(buffer)
	if err != nil {
		return fmt.Errorf("read the first request of the kernel: %w", err)
	}
	if op := opcodeOf(buffer[:n]); op != opInit {
		return fmt.Errorf("the first request of the kernel is %d, not INIT: the connection has been used", op)
	}
	if s.o.SaveInit != nil {
		if err := s.o.SaveInit(append([]byte(nil), buffer[:n]...)); err != nil {
			return err
		}
	}
	out := make([]byte, smallReply)
	answered, status := s.protocol.HandleRequest([][]byte{buffer[:n]}, [][]byte{out})
	if !status.Ok() || answered == 0 {
		return fmt.Errorf("the kernel's FUSE protocol: %v", status)
	}
	if errno := statusOf(out); errno != 0 {
		_ = s.write(out[:answered])
		return fmt.Errorf("the kernel's FUSE protocol is too old: %w", unix.Errno(-errno))
	}
	s.passthrough = agreed(out)&fuse.CAP_PASSTHROUGH != 0
	if err := s.write(out[:answered]); err != nil {
		return fmt.Errorf("answer the first request of the kernel: %w", err)
	}
	return ctx.Err()
}

// Passthrough tells, after Start, whether the kernel can read files of this mount from others.
func (s *Server) Passthrough() bool { return s.passthrough }

// agreed are the flags of the answer to INIT: struct fuse_init_out, flags and flags2.
func agreed(answer []byte) uint64 {
	return uint64(binary.NativeEndian.Uint32(answer[replyHeader+12:])) | uint64(binary.NativeEndian.Uint32(answer[replyHeader+32:]))<<32
}

// Serve answers requests until the mount is gone, and waits for those that run: nil. Gone tells the file system to end them.
func (s *Server) Serve() error {
	s.mu.Lock()
	s.spawn()
	s.mu.Unlock()
	<-s.gone
	if !errors.Is(s.ended, errEnded) {
		return s.ended // others may be reading still
	}
	s.workers.Wait()
	return nil
}

// Gone is closed when no more requests come.
func (s *Server) Gone() <-chan struct{} { return s.gone }

// end is called with the mutex held.
func (s *Server) end(err error) {
	if s.ended == nil {
		s.ended = err
		close(s.gone)
	}
}

// read reads one request.
func (s *Server) read(buffer []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, buffer)
		switch {
		case err == nil && n < headerSize:
			return 0, fmt.Errorf("a request of %d bytes", n)
		case err == nil:
			return n, nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN), errors.Is(err, unix.ENOENT): // ENOENT: its caller was faster to end it
		case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ECONNABORTED):
			return 0, errEnded
		default:
			return 0, err
		}
	}
}

// write writes one answer or notification. A request that the kernel has forgotten, and a mount that is gone, are no errors.
func (s *Server) write(answer []byte) error {
	for {
		_, err := unix.Write(s.fd, answer)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ENODEV):
			return nil
		default:
			return err
		}
	}
}

// buffers are the large buffers. There is a limit to them; the last that was returned is given first, so that no more of them are made than are needed at once.
type buffers struct {
	tokens chan struct{}
	mu     sync.Mutex
	free   [][]byte
}

func (b *buffers) get() []byte {
	b.tokens <- struct{}{}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.free); n > 0 {
		buffer := b.free[n-1]
		b.free = b.free[:n-1]
		return buffer
	}
	return make([]byte, bufferSize)
}

func (b *buffers) put(buffer []byte) {
	b.mu.Lock()
	b.free = append(b.free, buffer)
	b.mu.Unlock()
	<-b.tokens
}
