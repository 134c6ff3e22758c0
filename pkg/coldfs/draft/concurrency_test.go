package draft

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// A commit is held up while it sends. What it has read stays as it was; other bytes can be written at once and are for the next commit.
func TestACommitIsOfOneMoment(t *testing.T) {
	for _, size := range []int{1000, 20 * mib} {
		r := newRemote(t)
		s := r.store(t, nil)
		d := open(t, s, "k", nil)
		want := random(1, size)
		write(t, d, want, 0)
		match := wholePut
		if size > firstPart {
			match = s3test.Match{Method: "PUT", Part: 3}
		}
		release, arrived := make(chan struct{}), make(chan struct{})
		var once sync.Once
		match.If = func(s3test.Request) bool { once.Do(func() { close(arrived) }); return true }
		r.proxy.Add(s3test.Rule{Match: match, Times: 1, Fault: s3test.Delay(release)})

		committed := make(chan error, 1)
		go func() {
			_, err := d.Commit(t.Context())
			committed <- err
		}()
		<-arrived
		write(t, d, []byte("behind"), int64(size)) // doesn't wait
		if size > firstPart {
			write(t, d, []byte("sent"), 0) // of a part that was sent
		}
		// Bytes that are being read wait.
		changed := make(chan error, 2)
		go func() {
			_, err := d.WriteAt(t.Context(), []byte("late"), int64(size)-4)
			changed <- err
		}()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { changed <- d.Truncate(ctx, int64(size)-2) }()
		cancel()
		if err := <-changed; !errors.Is(err, context.Canceled) {
			t.Errorf("truncate of bytes that are being read: %v", err)
		}
		close(release)
		if err := <-committed; err != nil {
			t.Fatal(err)
		}
		if err := <-changed; err != nil {
			t.Fatal(err)
		}
		r.wants(t, "k", want)
		if !d.Dirty() {
			t.Error("clean in spite of writes during the commit")
		}
		copy(want[size-4:], "late")
		if size > firstPart {
			copy(want, "sent")
		}
		want = append(want, "behind"...)
		commit(t, d)
		r.wants(t, "k", want)
	}
}

// Writers of regions of their own, readers, somebody who cuts and lengthens what lies behind, and somebody who commits. At the end all is there.
func TestManyUseOneDraftAtOnce(t *testing.T) {
	r := newRemote(t)
	const writers, region = 8, 5 * mib
	base := random(1, writers*region)
	s := r.store(t, nil)
	d := open(t, s, "k", r.put(t, "k", base))
	want := bytes.Clone(base)
	var writing, others sync.WaitGroup
	stop := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			g := rand.New(rand.NewPCG(5, uint64(w)))
			own := want[w*region : (w+1)*region]
			for step := range 150 {
				off := g.IntN(region - 64<<10)
				p := random(uint64(step*writers+w), 1+g.IntN(64<<10))
				if _, err := d.WriteAt(t.Context(), p, int64(w*region+off)); err != nil {
					t.Error(err)
					return
				}
				copy(own[off:], p)
				got := make([]byte, len(p))
				if _, err := d.ReadAt(t.Context(), got, int64(w*region+off)); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got, p) {
					t.Errorf("read back %v: %s", err, difference(got, p))
					return
				}
			}
		})
	}
	others.Go(func() {
		for end := int64(writers * region); ; {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := d.WriteAt(t.Context(), make([]byte, 1000), end); err != nil {
				t.Error(err)
			}
			if err := d.Truncate(t.Context(), end); err != nil {
				t.Error(err)
			}
		}
	})
	others.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := d.Commit(t.Context()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	writing.Wait()
	close(stop)
	others.Wait()
	commit(t, d)
	r.wants(t, "k", want)
	if n := s.Stats().Commits; n < 2 {
		t.Errorf("%d commits", n)
	}
}

func TestADraftCanBeClosedAtAnyTime(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, nil)
	for i := range 10 {
		d := open(t, s, "k", nil)
		var all sync.WaitGroup
		for w := range 4 {
			all.Go(func() {
				for off := int64(w); ; off += 3 * mib {
					if _, err := d.WriteAt(t.Context(), make([]byte, 2*mib), off); err != nil {
						if !errors.Is(err, ErrClosed) {
							t.Error(err)
						}
						return
					}
				}
			})
		}
		all.Go(func() {
			for {
				if _, err := d.Commit(t.Context()); errors.Is(err, ErrClosed) || errors.Is(err, s3.ErrConflict) {
					return // the object is of the draft before
				} else if err != nil {
					t.Error(err)
					return
				}
			}
		})
		until(t, "something was written", func() bool { return d.Size() > int64(i)*10*mib })
		d.Close()
		all.Wait()
	}
	until(t, "nothing is staged", func() bool { return s.Stats().Used == 0 })
	s.Close()
	if left := r.uploads(t); len(left) > 0 {
		t.Errorf("uploads that were left: %v", left)
	}
}

func TestManySmallWritesMakeFewPieces(t *testing.T) {
	r := newRemote(t)
	want := random(2, 10*mib)
	s := r.store(t, nil)
	d := open(t, s, "k", r.put(t, "k", want[:6*mib]))
	clear(want[6*mib:])
	g := rand.New(rand.NewPCG(6, 7))
	for i := range 3000 {
		off := g.IntN(len(want))
		want[off] = byte(i)
		write(t, d, []byte{byte(i)}, int64(off))
	}
	truncate(t, d, int64(len(want)))
	d.mu.Lock()
	for i, c := range d.chunks {
		if len(c.spans) > maxSpans+1 {
			t.Errorf("chunk %d has %d spans", i, len(c.spans))
		}
	}
	d.mu.Unlock()
	commit(t, d)
	r.wants(t, "k", want)
}

func TestACommitObeysItsContextAndCanBeTriedAgain(t *testing.T) {
	for _, size := range []int{1000, 20 * mib} {
		for _, match := range []s3test.Match{partSent, complete, wholePut, begin} {
			r := newRemote(t)
			d := open(t, r.store(t, nil), "k", nil)
			want := random(3, size)
			arrived := make(chan struct{}, 100)
			is := match.If
			match.If = func(q s3test.Request) bool {
				if is != nil && !is(q) {
					return false
				}
				arrived <- struct{}{}
				return true
			}
			r.proxy.Add(s3test.Rule{Match: match, Fault: s3test.Stall()})
			write(t, d, want, 0)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() {
				_, err := d.Commit(ctx)
				done <- err
			}()
			select {
			case <-arrived:
				cancel()
				if err := <-done; !errors.Is(err, context.Canceled) || !d.Dirty() {
					t.Errorf("%d bytes: %v, dirty %v", size, err, d.Dirty())
				}
			case err := <-done: // this size doesn't need such requests
				if err != nil {
					t.Error(err)
				}
			}
			cancel()
			// What is sent in the background stands still too, until the proxy lets go of it.
			d.mu.Lock()
			for _, s := range d.sends {
				s.cancel()
			}
			d.mu.Unlock()
			r.proxy.Clear()
			commit(t, d)
			r.wants(t, "k", want)
		}
	}
}

func TestUploadsAtOnceAreBounded(t *testing.T) {
	r := newRemote(t)
	const drafts, uploads = 6, 3
	s := r.store(t, func(o *Options) { o.Uploads = uploads })
	want := random(4, 40*mib)
	var all sync.WaitGroup
	for i := range drafts {
		d := open(t, s, string(rune('a'+i)), nil)
		all.Go(func() {
			for off := 0; off < len(want); off += mib {
				if _, err := d.WriteAt(t.Context(), want[off:off+mib], int64(off)); err != nil {
					t.Error(err)
				}
			}
			if _, err := d.Commit(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range drafts {
		r.wants(t, string(rune('a'+i)), want)
	}
	// Besides those each draft may begin or complete its upload.
	if n := r.proxy.MostAtOnce(); n > uploads+drafts {
		t.Errorf("%d requests ran at once", n)
	}
}
