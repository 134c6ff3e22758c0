package move

// What is written down of the move of a directory, so that any engine of the volume can end it.
//
// An intent is an object. Its owner writes it again and again while it works: an intent that doesn't change for Options.Lease is a dead owner's. Who takes it over writes its own
// name into it, on the condition that it is what was seen; an owner that was only slow finds that out when it writes the next time, and stops. No clock is compared.

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/strata-csi/strata/pkg/s3"
)

// directory has the intents, below the volume's prefix.
const directory = ".strata/moves/"

// intent is the content of the object.
type intent struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Owner       string `json:"owner"`
	Beat        int    `json:"beat"` // counts the signs of life
}

// recorded is an intent that is written down.
type recorded struct {
	m  *Mover
	id string

	mu   sync.Mutex
	is   intent
	etag string
}

func (m *Mover) key(id string) string { return m.o.Prefix + directory + id + ".json" }

// record writes an intent down.
func (m *Mover) record(ctx context.Context, src, dst string) (*recorded, error) {
	r := &recorded{m: m, id: rand.Text(), is: intent{Source: src, Destination: dst, Owner: m.o.Owner}}
	if err := r.put(ctx, s3.Condition{IfAbsent: true}); err != nil {
		return nil, fmt.Errorf("write down what is to be moved: %w", err)
	}
	return r, nil
}

func (r *recorded) put(ctx context.Context, c s3.Condition) error {
	text, err := json.Marshal(r.is)
	if err != nil {
		return err
	}
	if r.m.o.NoConditions {
		if err := r.m.check(ctx, r.m.key(r.id), c); err != nil {
			return err
		}
		c = s3.Condition{}
	}
	o, err := r.m.o.Bucket.Put(ctx, r.m.key(r.id), bytes.NewReader(text), int64(len(text)), s3.WriteOptions{Condition: c})
	if err != nil {
		return err
	}
	r.etag = o.ETag
	return nil
}

// beat gives a sign of life.
func (r *recorded) beat(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.is.Beat++
	err := r.put(ctx, s3.Condition{IfMatch: r.etag})
	if errors.Is(err, s3.ErrConflict) {
		// It may be a sign of life of our own whose answer was lost.
		now, readErr := r.m.read(ctx, r.m.key(r.id))
		if readErr == nil && now != nil && now.is.Owner == r.is.Owner {
			r.etag = now.etag
			err = r.put(ctx, s3.Condition{IfMatch: r.etag})
		}
	}
	return err
}

// keep gives signs of life until ctx ends. When the intent is another's by now it ends ctx.
func (r *recorded) keep(ctx context.Context, cancel context.CancelCauseFunc) {
	tick := time.NewTicker(r.m.o.Lease / 4)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// A sign of life isn't broken off: it could be obeyed after the intent was removed.
		if err := r.beat(context.WithoutCancel(ctx)); errors.Is(err, s3.ErrConflict) || errors.Is(err, s3.ErrNotFound) {
			cancel(fmt.Errorf("another engine goes on with the move: %w", err))
			return
		} else if err != nil {
			r.m.o.Logger.Error(err, "A move can't give a sign of life; another engine may go on with it", "intent", r.m.key(r.id))
		}
	}
}

// done removes the intent.
func (r *recorded) done(ctx context.Context) error {
	if err := r.m.o.Bucket.Delete(ctx, r.m.key(r.id)); err != nil {
		return fmt.Errorf("remove what was written down of a move that has ended: %w", err)
	}
	return nil
}

// read reads an intent; nil: there is none any more, or it can't be understood.
func (m *Mover) read(ctx context.Context, key string) (*recorded, error) {
	o, err := m.o.Bucket.Head(ctx, key)
	if errors.Is(err, s3.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	body, err := m.o.Bucket.Get(ctx, key, o.ETag, 0, o.Size)
	if errors.Is(err, s3.ErrNotFound) || errors.Is(err, s3.ErrConflict) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	r := &recorded{m: m, id: strings.TrimSuffix(strings.TrimPrefix(key, m.o.Prefix+directory), ".json"), etag: o.ETag}
	if err := json.NewDecoder(body).Decode(&r.is); err != nil {
		if errors.Is(err, s3.ErrUnavailable) {
			return nil, err
		}
		return nil, fmt.Errorf("what is written down in %q is no move: %w", key, err)
	}
	if err := m.sensible(r.is.Source, r.is.Destination); err != nil {
		return nil, fmt.Errorf("what is written down in %q is no move: %w", key, err)
	}
	return r, nil
}

// takeOver makes an intent this Mover's own, once its owner is dead. It returns nil when somebody works at it.
func (m *Mover) takeOver(ctx context.Context, r *recorded) (*recorded, error) {
	if r.is.Owner != m.o.Owner {
		select {
		case <-time.After(m.o.Lease):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		now, err := m.read(ctx, m.key(r.id))
		if err != nil || now == nil || now.etag != r.etag {
			return nil, err
		}
		r = now
	}
	r.is.Owner = m.o.Owner
	r.is.Beat++
	if err := r.put(ctx, s3.Condition{IfMatch: r.etag}); errors.Is(err, s3.ErrConflict) || errors.Is(err, s3.ErrNotFound) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return r, nil
}

// hold marks an intent as worked at by this Mover; false: it is already.
func (m *Mover) hold(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.active[id] {
		return false
	}
	m.active[id] = true
	return true
}

func (m *Mover) letGo(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.active, id)
}
