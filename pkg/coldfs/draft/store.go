package draft

// The store of all drafts of one engine: where they are staged, and what they may use together.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/s3"
)

var (
	// ErrNoRoom: the staged files may not grow (Options.Limit, Options.Reserve or the disk itself), and sending what is staged can't help.
	ErrNoRoom = errors.New("no room to stage writes")
	// ErrSent: the bytes were sent, their staged copy was given up for want of room, and they can't be read or changed in part before the next Commit.
	ErrSent = errors.New("the bytes are sent already")
	// ErrLost: parts that were sent and no longer staged are gone, because somebody ended the upload. The draft can't be committed any more.
	ErrLost = errors.New("the store has lost parts that were sent")
	// ErrTooLarge: the file would be larger than an object can be (s3.MaxObjectSize).
	ErrTooLarge = errors.New("larger than an object can be")
	// ErrClosed: the draft or its store was closed.
	ErrClosed = errors.New("the draft is closed")
	// ErrUnverified: the store's answer isn't that of the content that was sent.
	ErrUnverified = errors.New("the store has another content than was sent")
)

// Content reads one version of an object.
type Content interface {
	// ReadAt is as that of io.ReaderAt; s3.ErrConflict says that the version is gone.
	ReadAt(ctx context.Context, p []byte, off int64) (int, error)
	Close()
}

// Options say where drafts are staged and what all of a Store may use together. A zero field without a default is an error.
type Options struct {
	Bucket *s3.Bucket
	// Owner tells whose uploads these are: the id of the volume. An upload that a dead engine left is ended by the next one of the same owner, who may.
	Owner string
	// Dir is shared by the stores of a node; each has a directory of its own in it.
	Dir string
	// Limit is the most bytes that are staged at once (default 4 GiB, at least 64 MiB).
	Limit int64
	// Reserve is what stays free of the disk, in bytes.
	Reserve int64
	// Free makes n bytes beside the reserve free on the disk, where somebody keeps there what he can do without; false: it can't. nil: nobody does.
	Free func(n int64) bool
	// Uploads is how many parts and objects are sent or copied at once (default 16).
	Uploads int
	// Content opens an object for reading; nil: each read is a request.
	Content func(s3.Object) Content
	// NoConditions: the store doesn't obey conditions of writes (Conditional finds out). They are then looked at right before the write, which leaves a moment in which another
	// client's write can be lost.
	NoConditions bool
	// StorageClass and SSE are as in s3.WriteOptions.
	StorageClass string
	SSE          string
	Logger       klog.Logger
}

const (
	defaultLimit   = 4 << 30
	minLimit       = 64 << 20
	defaultUploads = 16
	closePatience  = 10 * time.Second
)

func (o *Options) complete() error {
	if o.Limit == 0 {
		o.Limit = defaultLimit
	}
	if o.Uploads == 0 {
		o.Uploads = defaultUploads
	}
	switch {
	case o.Bucket == nil:
		return errors.New("drafts: Options.Bucket is missing")
	case o.Owner == "":
		return errors.New("drafts: Options.Owner is missing")
	case o.Dir == "":
		return errors.New("drafts: Options.Dir is missing")
	case o.Limit < minLimit:
		return fmt.Errorf("drafts: a limit of %d bytes for staged files is too small: give at least %d", o.Limit, minLimit)
	case o.Reserve < 0:
		return fmt.Errorf("drafts: the reserve of the disk is %d bytes: give 0 or more", o.Reserve)
	case o.Uploads < 1:
		return fmt.Errorf("drafts: %d uploads at once: give 1 or more", o.Uploads)
	}
	if o.Free == nil {
		o.Free = func(int64) bool { return false }
	}
	if o.Content == nil {
		b := o.Bucket
		o.Content = func(object s3.Object) Content { return &direct{bucket: b, object: object} }
	}
	return nil
}

// Store makes drafts. Its methods may be called at the same time.
type Store struct {
	o    Options
	home *home

	slots      chan struct{} // one for each request that sends or copies
	ctx        context.Context
	stop       context.CancelFunc
	background sync.WaitGroup
	cleaned    chan struct{} // closed when what dead stores left is dealt with

	mu      sync.Mutex
	closed  bool
	drafts  map[*Draft]struct{}
	next    int
	queue   []job // parts that wait to be sent
	workers int
	changed chan struct{} // closed and replaced when room may have become free
	used    int64         // bytes staged
	room    int64         // what the disk had left above Reserve when it was asked, less what was staged since
	asked   int64         // bytes staged since it was asked

	counters counters
	// noCopies: the store lets this credential send parts, and not copy them.
	noCopies atomic.Bool
}

// NewStore makes a store, and removes what stores of processes that are dead left in Dir: their staged files at once, their uploads in the background.
func NewStore(o Options) (*Store, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	h, dead, err := settle(o.Dir, o.Owner, o.Logger)
	if err != nil {
		return nil, fmt.Errorf("drafts: %w", err)
	}
	s := &Store{
		o: o, home: h, slots: make(chan struct{}, o.Uploads), drafts: map[*Draft]struct{}{}, changed: make(chan struct{}),
		cleaned: make(chan struct{}),
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	s.background.Go(func() {
		defer close(s.cleaned)
		for _, d := range dead {
			s.bury(d)
		}
	})
	return s, nil
}

// Open makes a draft of an object. base is the version that it stands on, with its metadata, as Head told; nil: there is none, and Commit makes a new object even if nothing is written.
func (s *Store) Open(key string, base *s3.Object) (*Draft, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	s.next++
	name := strconv.Itoa(s.next)
	f, err := os.OpenFile(filepath.Join(s.home.dir, name), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("stage %q: %w", key, err)
	}
	d := &Draft{
		store: s, key: key, name: name, file: f, turn: make(chan struct{}, 1), wake: make(chan struct{}), gone: make(chan struct{}),
		chunks: map[int64]*chunk{}, parts: map[int]*part{}, sends: map[int]*send{}, token: newToken(),
	}
	d.ctx, d.stop = context.WithCancel(s.ctx)
	if base != nil {
		d.base = s.source(*base)
		d.size, d.baseLimit = base.Size, base.Size
		d.metadata = withoutToken(base.Metadata)
	} else {
		d.dirty = true
	}
	s.drafts[d] = struct{}{}
	return d, nil
}

// Close ends the store once its drafts are closed; one that isn't is closed by it, and what wasn't committed is thrown away.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	drafts := slices.Collect(maps.Keys(s.drafts))
	s.mu.Unlock()
	for _, d := range drafts {
		d.Close()
	}
	// What can't be ended now, the next store ends.
	patience := time.AfterFunc(closePatience, s.stop)
	s.background.Wait()
	patience.Stop()
	s.stop()
	s.home.leave()
}

// slot waits for the right to send or copy.
func (s *Store) slot(ctx context.Context) (release func(), err error) {
	select {
	case s.slots <- struct{}{}:
		return func() { <-s.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// job is a part that waits to be sent.
type job struct {
	draft *Draft
	part  int
}

// enqueue has a part sent in the background.
func (s *Store) enqueue(d *Draft, part int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.queue = append(s.queue, job{d, part})
	if s.workers < s.o.Uploads {
		s.workers++
		s.background.Go(s.work)
	}
}

func (s *Store) work() {
	for {
		s.slots <- struct{}{}
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.workers--
			s.mu.Unlock()
			<-s.slots
			return
		}
		j := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		j.draft.send(j.part)
		<-s.slots
	}
}
