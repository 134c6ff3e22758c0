package draft

// One file that is being written.
//
// The staged file is sparse and has each byte at its own place. What it has is told by the spans of the chunks; everything else is the base's below baseLimit, and zero from there on: a file that is cut
// and made longer again is zero there, whatever the base has.

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"sync"

	"github.com/strata-csi/strata/pkg/s3"
)

// Draft is a file that is being written. All methods may be called at the same time by many.
type Draft struct {
	store *Store
	key   string
	name  string // of the staged file
	file  *os.File
	ctx   context.Context // of what is sent in the background
	stop  context.CancelFunc
	turn  chan struct{} // held by the Commit that runs
	token string        // begins what this draft's objects are known by
	begin sync.Mutex    // held while an upload is begun

	mu   sync.RWMutex
	wake chan struct{} // closed and replaced when something has ended that is waited for

	base      *source // nil: there is no object
	known     string  // the token of the base, if it is the draft's own
	baseLimit int64   // bytes of the base that still show
	size      int64
	chunks    map[int64]*chunk // by offset / chunkSize
	parts     map[int]*part    // those with staged bytes, by number
	lastEnd   int64            // where the last write ended

	dirty    bool   // the content isn't the base's
	epoch    int64  // counts the cuts
	cuts     []*cut // that is being committed, and those of which nobody knows whether they were
	attempts int    // counts the writes of the object
	metadata map[string]string
	changes  int64 // counts changes of metadata
	stored   int64 // the change that the base has

	committing bool
	reading    []*segment    // what the running commit has yet to read
	sends      map[int]*send // what is being sent in the background, by part
	upload     *upload       // nil: none was begun
	uploads    int           // how many were begun
	closed     bool
	gone       chan struct{} // closed when Close has ended
}

// chunk is chunkSize bytes of the file.
type chunk struct {
	spans spans
	// dirty: bytes from..to differ from the base, as of epoch. Bytes beyond baseLimit always do.
	dirty    bool
	from, to int32
	epoch    int64
}

// part counts what is staged of a part.
type part struct {
	staged int64
	fresh  int64 // of it, what was staged since the last commit
	tried  bool  // it was sent in the background since then
	queued bool  // it waits for that
	err    error // of that
}

// Key is the key of the object.
func (d *Draft) Key() string { return d.key }

// Size is the size of the file in bytes.
func (d *Draft) Size() int64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.size
}

// Dirty tells whether there is something to commit.
func (d *Draft) Dirty() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.dirty || d.stored != d.changes
}

// Base is the object that the draft stands on; false: there is none yet.
func (d *Draft) Base() (s3.Object, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.base == nil {
		return s3.Object{}, false
	}
	return d.base.object, true
}

// SetMetadata replaces the metadata that the object gets with the next Commit. Names are in lower case.
func (d *Draft) SetMetadata(m map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !maps.Equal(d.metadata, m) {
		d.metadata = withoutToken(m)
		d.changes++
	}
}

// Metadata is what the object has or gets.
func (d *Draft) Metadata() map[string]string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return maps.Clone(d.metadata)
}

// wait unlocks d until something has ended. d.mu is held before and after.
func (d *Draft) wait(ctx context.Context) error {
	c := d.wake
	d.mu.Unlock()
	defer d.mu.Lock()
	select {
	case <-c:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// woken wakes all that wait. d.mu is held.
func (d *Draft) woken() {
	close(d.wake)
	d.wake = make(chan struct{})
}

// Close throws away what isn't committed, ends what is being sent, and waits for a Commit that runs.
func (d *Draft) Close() {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		<-d.gone
		return
	}
	d.closed = true
	defer close(d.gone)
	d.stop()
	d.woken()
	d.mu.Unlock()

	d.turn <- struct{}{}
	defer func() { <-d.turn }()
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.sends) > 0 {
		_ = d.wait(context.Background())
	}
	d.forget()
	if d.base != nil {
		d.base.release()
		d.base = nil
	}
	var gone int64
	for _, p := range d.parts {
		gone += p.staged
	}
	d.chunks, d.parts = nil, nil
	path := filepath.Join(d.store.home.dir, d.name)
	if err := errors.Join(d.file.Close(), os.Remove(path)); err != nil {
		d.store.o.Logger.Error(err, "A staged file can't be removed", "key", d.key)
	}
	d.store.mu.Lock()
	delete(d.store.drafts, d)
	d.store.mu.Unlock()
	d.store.give(gone)
}

// tokenName is the metadata by which a draft knows its own objects again, when the answer to a write was lost: a random name of the draft, and which of its writes it was.
const tokenName = "strata-commit"

func newToken() string { return rand.Text() }

func withoutToken(m map[string]string) map[string]string {
	m = maps.Clone(m)
	delete(m, tokenName)
	return m
}
