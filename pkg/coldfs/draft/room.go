package draft

// The room that staged files may take. A write waits here when there is none: for uploads, after which the staged copy of what was sent can be given up. It fails
// only when nothing is left that could be sent.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// askEvery is after how many staged bytes the disk is asked again for what it has free: others use it as well.
const askEvery = 64 << 20

// take reserves n bytes for a write to d. d isn't locked.
func (s *Store) take(ctx context.Context, d *Draft, n int64) error {
	if n == 0 {
		return ctx.Err()
	}
	for first := true; ; {
		s.mu.Lock()
		changed := s.changed
		full := s.fits(n)
		if full == nil {
			s.used += n
			s.room -= n
			s.asked += n
		}
		s.mu.Unlock()
		if full == nil {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		// What was read can be read again; sending a part before it is done may be for nothing.
		if errors.Is(full, errShort) && s.o.Free(n) {
			continue // unless others were faster
		}
		if first {
			d.retrySends()
		}
		first = false
		if s.reclaim(d, n) {
			continue
		}
		busy, err := s.busy(d)
		if !busy {
			return fmt.Errorf("write to %q: %w: %w", d.key, full, err)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// fits says why n more bytes can't be staged, or nil. s.mu is held.
func (s *Store) fits(n int64) error {
	if s.used+n > s.o.Limit {
		return fmt.Errorf("%w: %d bytes of at most %d are staged", ErrNoRoom, s.used, s.o.Limit)
	}
	if s.asked < askEvery && s.room >= n+askEvery {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(s.home.dir, &st); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNoRoom, s.home.dir, err)
	}
	free := int64(st.Bavail) * st.Bsize
	s.room, s.asked = free-s.o.Reserve, 0
	if s.room < n {
		return fmt.Errorf("%w: %w: %s has %d bytes free, %d are kept free", ErrNoRoom, errShort, s.home.dir, free, s.o.Reserve)
	}
	return nil
}

// errShort: the disk has less than is needed beside the reserve.
var errShort = errors.New("the disk is full")

// Room is nil, or why a write that needs room fails now: ErrNoRoom.
func (s *Store) Room() error {
	for {
		s.mu.Lock()
		s.asked = askEvery // the disk is asked
		full := s.fits(chunkSize)
		s.mu.Unlock()
		if !errors.Is(full, errShort) || !s.o.Free(chunkSize) {
			return full
		}
	}
}

// give returns n bytes.
func (s *Store) give(n int64) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.used -= n
	s.room += n
	s.mu.Unlock()
	s.progress()
}

// progress wakes those who wait for room.
func (s *Store) progress() {
	s.mu.Lock()
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
}

// others are all drafts, d first.
func (s *Store) others(d *Draft) []*Draft {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := slices.Collect(maps.Keys(s.drafts))
	if i := slices.Index(all, d); i > 0 {
		all[0], all[i] = all[i], all[0]
	}
	return all
}

// reclaim gives up what is staged without need, at least n bytes if there are so many: what the store has as an object, then the parts of d that were sent.
func (s *Store) reclaim(d *Draft, n int64) bool {
	n = max(n, chunkSize)
	var freed int64
	for _, x := range s.others(d) {
		if freed < n {
			freed += x.dropClean(n - freed)
		}
	}
	if freed == 0 {
		freed = d.dropSent(n)
	}
	return freed > 0
}

// busy tells whether something is on its way that makes room, and sets it going if need be; else why nothing is. Other drafts' parts are given up last: their writers may still want to change them.
func (s *Store) busy(d *Draft) (bool, error) {
	if d.sending() || d.pushSends() {
		return true, nil
	}
	for _, x := range s.others(d) {
		if x.sending() {
			return true, nil
		}
	}
	var errs []error
	for _, x := range s.others(d) {
		if x.dropSent(chunkSize) > 0 || x.pushSends() {
			return true, nil
		}
		errs = append(errs, x.sendError())
	}
	if err := errors.Join(errs...); err != nil {
		return false, err
	}
	return false, errors.New("no staged part is complete, so none can be sent")
}
