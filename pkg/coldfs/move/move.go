package move

// A move of one object: a copy, its proof, and the end of the source.

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/s3"
)

// Options say whose objects are moved and how. A zero field without a default is an error, besides Prefix.
type Options struct {
	Bucket *s3.Bucket
	// Prefix begins all keys of the volume: "", or it ends with '/'. Intents are objects below it.
	Prefix string
	// Owner is the same after a restart, and nobody else's: an intent of it is taken over at once.
	Owner string
	// Parallel is how many files, and parts of files, are copied at once (default 16).
	Parallel int
	// PartSize is from which size on an object is copied in parts, and how large those are (default 256 MiB, at most s3.MaxCopySize).
	PartSize int64
	// Lease is after how long without a sign of life another owner's move counts as dead (default 1 min).
	Lease time.Duration
	// NoConditions: the store doesn't obey conditions of writes; they are looked at right before.
	NoConditions bool
	// StorageClass and SSE are as in s3.WriteOptions.
	StorageClass string
	SSE          string
	Logger       klog.Logger
}

const (
	defaultParallel = 16
	defaultPartSize = 256 << 20
	defaultLease    = time.Minute
)

// Mover moves objects. Its methods may be called at the same time.
type Mover struct {
	o     Options
	slots chan struct{}

	mu     sync.Mutex
	active map[string]bool // intents that this Mover works at
}

// New makes a Mover.
func New(o Options) (*Mover, error) {
	if o.Parallel == 0 {
		o.Parallel = defaultParallel
	}
	if o.PartSize == 0 {
		o.PartSize = defaultPartSize
	}
	if o.Lease == 0 {
		o.Lease = defaultLease
	}
	switch {
	case o.Bucket == nil:
		return nil, errors.New("moves: Options.Bucket is missing")
	case o.Owner == "":
		return nil, errors.New("moves: Options.Owner is missing")
	case o.Parallel < 1:
		return nil, fmt.Errorf("moves: %d copies at once: give 1 or more", o.Parallel)
	case o.PartSize < s3.MinPartSize || o.PartSize > s3.MaxCopySize:
		return nil, fmt.Errorf("moves: parts of %d bytes: give %d to %d", o.PartSize, s3.MinPartSize, int64(s3.MaxCopySize))
	}
	return &Mover{o: o, slots: make(chan struct{}, o.Parallel), active: map[string]bool{}}, nil
}

// ErrUnverified says that the copy isn't what was to be copied; its source stays.
var ErrUnverified = errors.New("the copy isn't the source")

// ErrKeyTooLong says that an object below a directory would have a key of more than s3.MaxKeyLength bytes where the directory is to be moved to.
var ErrKeyTooLong = errors.New("a key would be too long")

// File moves the version src of an object, with its metadata, to dst, and describes it there. The condition is dst's. s3.ErrConflict: it isn't met, or src was replaced, which then stays under its key as it is now;
// dst may have the older version by then. After a crash both may be there.
func (m *Mover) File(ctx context.Context, src s3.Object, dst string, condition s3.Condition) (s3.Object, error) {
	fail := func(err error) (s3.Object, error) {
		return s3.Object{}, fmt.Errorf("move %q to %q: %w", src.Key, dst, err)
	}
	if src.Key == dst {
		return fail(errors.New("source and destination are the same"))
	}
	now, err := m.o.Bucket.Head(ctx, src.Key)
	if err != nil {
		return fail(err)
	}
	if now.ETag != src.ETag {
		return fail(fmt.Errorf("%w: its ETag is %s, expected was %s", s3.ErrConflict, now.ETag, src.ETag))
	}
	o, err := m.copy(ctx, now, dst, now.Metadata, condition)
	if err != nil {
		return fail(err)
	}
	// A source that was replaced meanwhile isn't what was copied. Between this look and the end of it remains a moment: S3 has no conditional Delete that all stores know.
	switch now, err := m.o.Bucket.Head(ctx, src.Key); {
	case errors.Is(err, s3.ErrNotFound):
		return o, nil
	case err != nil:
		return fail(err)
	case now.ETag != src.ETag:
		return fail(fmt.Errorf("%w: it was replaced while it was copied, and stays", s3.ErrConflict))
	}
	if err := m.o.Bucket.Delete(ctx, src.Key); err != nil {
		return fail(err)
	}
	return o, nil
}

// Metadata gives the version src of an object other metadata, by a copy onto itself at any size, and describes what is there then. s3.ErrConflict: it was replaced.
func (m *Mover) Metadata(ctx context.Context, src s3.Object, metadata map[string]string) (s3.Object, error) {
	o, err := m.copy(ctx, src, src.Key, metadata, s3.Condition{IfMatch: src.ETag})
	if err != nil {
		return s3.Object{}, fmt.Errorf("set the metadata of %q: %w", src.Key, err)
	}
	return o, nil
}

// copy copies a version with new metadata and proves it.
func (m *Mover) copy(ctx context.Context, src s3.Object, dst string, metadata map[string]string, condition s3.Condition) (s3.Object, error) {
	// Not every store knows conditions of a copy's destination.
	if err := m.check(ctx, dst, condition); err != nil {
		return s3.Object{}, err
	}
	o := s3.WriteOptions{Condition: condition, Metadata: maps.Clone(metadata), StorageClass: m.o.StorageClass, SSE: m.o.SSE}
	if m.o.NoConditions {
		o.Condition = s3.Condition{}
	}
	var made s3.Object
	var err error
	if src.Size <= m.o.PartSize {
		made, err = m.whole(ctx, src, dst, o)
	} else {
		made, err = m.inParts(ctx, src, dst, o)
		if errors.Is(err, s3.ErrDenied) && src.Size <= s3.MaxCopySize { // radosgw 16 lets a session copy objects, and not parts
			if err = m.check(ctx, dst, condition); err == nil {
				made, err = m.whole(ctx, src, dst, o)
			}
		}
	}
	if err != nil {
		return s3.Object{}, err
	}
	got, err := m.o.Bucket.Head(ctx, dst)
	if err != nil {
		return s3.Object{}, err
	}
	if got.ETag != made.ETag || got.Size != src.Size {
		return s3.Object{}, fmt.Errorf("%w: made was ETag %s of %d bytes, there is %s of %d bytes", ErrUnverified, made.ETag, src.Size, got.ETag, got.Size)
	}
	return got, nil
}

// check looks whether a condition of the destination is met now.
func (m *Mover) check(ctx context.Context, dst string, condition s3.Condition) error {
	if condition == (s3.Condition{}) {
		return nil
	}
	now, err := m.o.Bucket.Head(ctx, dst)
	switch {
	case errors.Is(err, s3.ErrNotFound) && condition.IfMatch == "":
		return nil
	case errors.Is(err, s3.ErrNotFound):
		return fmt.Errorf("%w: there is no %q", s3.ErrConflict, dst)
	case err != nil:
		return err
	case condition.IfAbsent:
		return fmt.Errorf("%w: there is a %q of %d bytes", s3.ErrConflict, dst, now.Size)
	case now.ETag != condition.IfMatch:
		return fmt.Errorf("%w: the ETag of %q is %s, expected was %s", s3.ErrConflict, dst, now.ETag, condition.IfMatch)
	}
	return nil
}

// slot waits for the right to copy.
func (m *Mover) slot(ctx context.Context) (release func(), err error) {
	select {
	case m.slots <- struct{}{}:
		return func() { <-m.slots }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *Mover) whole(ctx context.Context, src s3.Object, dst string, o s3.WriteOptions) (s3.Object, error) {
	release, err := m.slot(ctx)
	if err != nil {
		return s3.Object{}, err
	}
	defer release()
	if src.Size == 0 {
		// There is nothing to copy, and versitygw doesn't copy the marker of a directory.
		return m.o.Bucket.Put(ctx, dst, bytes.NewReader(nil), 0, o)
	}
	made, err := m.o.Bucket.Copy(ctx, src.Key, src.ETag, dst, o)
	if errors.Is(err, s3.ErrInvalid) && o.Condition != (s3.Condition{}) {
		// The store doesn't know the condition; it was looked at before.
		o.Condition = s3.Condition{}
		made, err = m.o.Bucket.Copy(ctx, src.Key, src.ETag, dst, o)
	}
	return made, err
}

// partSize is that of the parts of an object of n bytes.
func (m *Mover) partSize(n int64) int64 {
	return max(m.o.PartSize, (n+s3.MaxParts-1)/s3.MaxParts)
}

// inParts copies a large object by several requests at once.
func (m *Mover) inParts(ctx context.Context, src s3.Object, dst string, o s3.WriteOptions) (made s3.Object, err error) {
	b := m.o.Bucket
	id, err := b.CreateUpload(ctx, dst, o)
	if err != nil {
		return s3.Object{}, err
	}
	defer func() {
		if err != nil {
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			err = errors.Join(err, b.Abort(end, dst, id))
		}
	}()
	size := m.partSize(src.Size)
	parts := make([]s3.Part, (src.Size+size-1)/size)
	g, copying := errgroup.WithContext(ctx)
	g.SetLimit(m.o.Parallel)
	for i := range parts {
		g.Go(func() error {
			release, err := m.slot(copying)
			if err != nil {
				return err
			}
			defer release()
			off := int64(i) * size
			parts[i], err = b.CopyPart(copying, dst, id, i+1, src.Key, src.ETag, off, min(size, src.Size-off))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return s3.Object{}, err
	}
	return b.Complete(ctx, dst, id, parts, o.Condition)
}
