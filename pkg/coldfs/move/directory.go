package move

// The move of a directory: all is copied, then what was copied is removed. Each copy has in its metadata which version of the source it is of, and of which move. So whoever goes on with the move after a crash knows
// what is done, and doesn't write over a copy that was changed since.

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/strata-csi/strata/pkg/s3"
)

// copyOf is the metadata by which a copy is known: the move's id and the ETag of the source.
const copyOf = "strata-copy-of"

// maxPasses bounds how often the source is looked through for files that came meanwhile: who writes there all the time would keep the move from ending.
const maxPasses = 10

// Directory moves all objects below src to dst; both are prefixes that end with '/'. It isn't atomic: others see files at both places meanwhile. If it fails, or the engine ends, Resume goes on with it. s3.ErrConflict: dst isn't
// empty (its own marker, "dst/", may be there), or files came to be there meanwhile, which stay as they are, as do those of the source that should have been moved there. A file that comes to src meanwhile is moved or stays.
// ErrKeyTooLong: there is an object whose key would be too long at dst; nothing is moved then.
func (m *Mover) Directory(ctx context.Context, src, dst string) error {
	fail := func(err error) error { return fmt.Errorf("move %q to %q: %w", src, dst, err) }
	if err := m.sensible(src, dst); err != nil {
		return fail(err)
	}
	page, err := m.o.Bucket.List(ctx, s3.ListRequest{Prefix: dst, Max: 2})
	if err != nil {
		return fail(err)
	}
	for _, o := range page.Objects {
		if o.Key != dst {
			return fail(fmt.Errorf("%w: the destination isn't empty, it has %q", s3.ErrConflict, o.Key))
		}
	}
	if err := m.Fits(ctx, src, dst); err != nil {
		return fail(err)
	}
	r, err := m.record(ctx, src, dst)
	if err != nil {
		return fail(err)
	}
	m.hold(r.id)
	defer m.letGo(r.id)
	if err := m.carryOut(ctx, r); err != nil {
		return fail(err)
	}
	return nil
}

// sensible tells what is wrong with a move.
func (m *Mover) sensible(src, dst string) error {
	reserved := m.o.Prefix + ".strata/"
	for _, p := range []string{src, dst} {
		switch {
		case !strings.HasSuffix(p, "/"):
			return fmt.Errorf("%q is no directory: it must end with '/'", p)
		case !strings.HasPrefix(p, m.o.Prefix) || p == m.o.Prefix:
			return fmt.Errorf("%q isn't below the prefix %q of the volume", p, m.o.Prefix)
		case strings.HasPrefix(p, reserved):
			return fmt.Errorf("%q is reserved", p)
		}
	}
	if strings.HasPrefix(dst, src) {
		return fmt.Errorf("the destination %q is in the source %q", dst, src)
	}
	if strings.HasPrefix(src, dst) {
		return fmt.Errorf("the source %q is in the destination %q", src, dst)
	}
	return nil
}

// Fits looks through the source for keys that would be too long at the destination, before anything is moved: a move that can't end would be tried by every engine that starts. Directory
// does so itself; the error is that of Directory.
func (m *Mover) Fits(ctx context.Context, src, dst string) error {
	more := len(dst) - len(src)
	if more <= 0 {
		return nil
	}
	for r := (s3.ListRequest{Prefix: src}); ; {
		page, err := m.o.Bucket.List(ctx, r)
		if err != nil {
			return err
		}
		for _, o := range page.Objects {
			if n := len(o.Key) + more; n > s3.MaxKeyLength {
				return fmt.Errorf("%w: that of %q would have %d bytes, at most %d", ErrKeyTooLong, o.Key, n, s3.MaxKeyLength)
			}
		}
		if page.Next == "" {
			return nil
		}
		r.Token = page.Next
	}
}

// Resume ends all moves of directories that were begun and whose engine is dead. It waits for Options.Lease to find that out of another owner's. All are tried; the errors are joined.
func (m *Mover) Resume(ctx context.Context) error {
	var errs []error
	for r := (s3.ListRequest{Prefix: m.o.Prefix + directory}); ; {
		page, err := m.o.Bucket.List(ctx, r)
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		var mu sync.Mutex
		g := errgroup.Group{}
		g.SetLimit(m.o.Parallel)
		for _, o := range page.Objects {
			g.Go(func() error {
				if err := m.resume(ctx, o.Key); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
				return nil
			})
		}
		_ = g.Wait()
		if page.Next == "" {
			return errors.Join(errs...)
		}
		r.Token = page.Next
	}
}

func (m *Mover) resume(ctx context.Context, key string) error {
	r, err := m.read(ctx, key)
	if err != nil || r == nil || !m.hold(r.id) {
		return err
	}
	defer m.letGo(r.id)
	if r, err = m.takeOver(ctx, r); err != nil || r == nil {
		return err
	}
	m.o.Logger.Info("Going on with a move that was interrupted", "source", r.is.Source, "destination", r.is.Destination)
	if err := m.carryOut(ctx, r); err != nil {
		return fmt.Errorf("go on with the move of %q to %q: %w", r.is.Source, r.is.Destination, err)
	}
	return nil
}

// carryOut does the move and removes the intent, unless it may succeed later.
func (m *Mover) carryOut(ctx context.Context, r *recorded) error {
	work, cancel := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	keeper.Go(func() { r.keep(work, cancel) })
	err := m.passes(work, r)
	cause := context.Cause(work)
	cancel(nil)
	keeper.Wait()
	if err != nil && cause != nil && !errors.Is(err, s3.ErrConflict) {
		return errors.Join(err, cause)
	}
	if err != nil && !errors.Is(err, s3.ErrConflict) {
		return err
	}
	// A conflict stays one: files are in the way, and whose they are isn't for us to decide.
	return errors.Join(err, r.done(ctx))
}

// passes copies everything, then removes what is copied, until nothing is left. Files that stay because others are in their way are told of at the end.
func (m *Mover) passes(ctx context.Context, r *recorded) error {
	ensure := func(ctx context.Context, o s3.Object) error { return m.ensure(ctx, r, o) }
	if err := m.each(ctx, r.is.Source, ensure, nil); err != nil && !errors.Is(err, s3.ErrConflict) {
		return err
	}
	var err error
	for range maxPasses {
		removed := 0
		err = m.each(ctx, r.is.Source, ensure, &removed)
		if err != nil && !errors.Is(err, s3.ErrConflict) || removed == 0 {
			return err
		}
	}
	return err
}

// ensure sees to it that the version of a listed source is at the destination.
func (m *Mover) ensure(ctx context.Context, r *recorded, listed s3.Object) error {
	dst := r.is.Destination + strings.TrimPrefix(listed.Key, r.is.Source)
	if len(dst) > s3.MaxKeyLength {
		// It came after Directory had looked.
		return fmt.Errorf("%w: %q isn't moved, as its key would have %d bytes, at most %d", s3.ErrConflict, listed.Key, len(dst), s3.MaxKeyLength)
	}
	for range 5 {
		there, err := m.o.Bucket.Head(ctx, dst)
		condition := s3.Condition{IfAbsent: true}
		switch mine, is := strings.CutPrefix(there.Metadata[copyOf], r.id+" "); {
		case errors.Is(err, s3.ErrNotFound):
		case err != nil:
			return err
		case is && mine == listed.ETag:
			return nil
		case is || dst == r.is.Destination: // a copy of an older version, or the directory's own marker
			condition = s3.Condition{IfMatch: there.ETag}
		default:
			return fmt.Errorf("%w: %q isn't moved, as there is another %q", s3.ErrConflict, listed.Key, dst)
		}
		src, err := m.o.Bucket.Head(ctx, listed.Key)
		if errors.Is(err, s3.ErrNotFound) {
			return nil // removed by somebody, or moved by an engine that is dead
		}
		if err != nil {
			return err
		}
		metadata := maps.Clone(src.Metadata)
		if metadata == nil {
			metadata = map[string]string{}
		}
		metadata[copyOf] = r.id + " " + src.ETag
		switch _, err := m.copy(ctx, src, dst, metadata, condition); {
		case err == nil:
			return nil
		case errors.Is(err, s3.ErrConflict), errors.Is(err, s3.ErrNotFound), errors.Is(err, ErrUnverified):
			// The source or the destination has changed: look again.
		default:
			return err
		}
	}
	return fmt.Errorf("%w: %q or %q changes all the time", s3.ErrConflict, listed.Key, dst)
}

// each calls f for all objects below a prefix, page by page and many at once. removed: objects for which f succeeded are then removed and counted, unless they were replaced since they were listed. The first error that isn't a conflict
// ends it; of conflicts the first is returned at the end.
func (m *Mover) each(ctx context.Context, prefix string, f func(context.Context, s3.Object) error, removed *int) error {
	var conflict error
	for after := ""; ; {
		page, err := m.o.Bucket.List(ctx, s3.ListRequest{Prefix: prefix, After: after})
		if err != nil {
			return err
		}
		if len(page.Objects) == 0 {
			return conflict
		}
		before := after
		after = page.Objects[len(page.Objects)-1].Key
		var mu sync.Mutex
		done := map[string]string{}
		g, working := errgroup.WithContext(ctx)
		g.SetLimit(m.o.Parallel)
		for _, o := range page.Objects {
			g.Go(func() error {
				err := f(working, o)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					done[o.Key] = o.ETag
				case errors.Is(err, s3.ErrConflict):
					if conflict == nil {
						conflict = err
					}
				default:
					return err
				}
				return nil
			})
		}
		if err := g.Wait(); err != nil {
			return err
		}
		if removed != nil {
			n, err := m.remove(ctx, s3.ListRequest{Prefix: prefix, After: before}, page, done)
			*removed += n
			if err != nil {
				return err
			}
		}
		if page.Next == "" {
			return conflict
		}
	}
}

// remove removes the objects of a page whose versions are done. It lists the page again, by the request: what was replaced meanwhile stays for the next pass.
func (m *Mover) remove(ctx context.Context, request s3.ListRequest, page s3.Page, done map[string]string) (int, error) {
	now := map[string]string{}
	for last := page.Objects[len(page.Objects)-1].Key; ; {
		again, err := m.o.Bucket.List(ctx, request)
		if err != nil {
			return 0, err
		}
		for _, o := range again.Objects {
			now[o.Key] = o.ETag
			request.After = o.Key
		}
		if again.Next == "" || request.After >= last {
			break
		}
	}
	var keys []string
	for _, o := range page.Objects {
		if etag, ok := done[o.Key]; ok && now[o.Key] == etag {
			keys = append(keys, o.Key)
		}
	}
	if len(keys) == 0 {
		return 0, nil
	}
	return len(keys), m.o.Bucket.DeleteMany(ctx, keys)
}
