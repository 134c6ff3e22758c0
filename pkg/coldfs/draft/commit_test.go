package draft

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

func TestASmallFileIsOneRequest(t *testing.T) {
	r := newRemote(t)
	d := open(t, r.store(t, nil), "k", nil)
	for _, size := range []int{0, 1, firstPart} {
		truncate(t, d, 0)
		want := random(uint64(size), size)
		write(t, d, want, 0)
		r.proxy.Forget()
		o := commit(t, d)
		r.wants(t, "k", want)
		if n := r.proxy.Count(s3test.Match{}); n > 1 {
			t.Errorf("%d bytes took %d requests", size, n)
		}
		if now := r.head(t, "k"); now.ETag != o.ETag || now.Size != o.Size {
			t.Errorf("Commit told %v, there is %v", o, now)
		}
		if d.Dirty() {
			t.Error("dirty after a commit")
		}
	}
	r.proxy.Forget()
	commit(t, d)
	if n := r.proxy.Count(s3test.Match{}); n > 0 {
		t.Errorf("a commit of nothing took %d requests", n)
	}
}

func TestPartsAreSentWhileTheFileIsWritten(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, nil)
	d := open(t, s, "k", nil)
	want := random(1, 50*mib)
	write(t, d, want, 0)
	until(t, "all parts but the last were sent", func() bool { return s.Stats().Uploaded == 48*mib })
	if _, err := r.b.Head(t.Context(), "k"); !errors.Is(err, s3.ErrNotFound) {
		t.Errorf("the object is seen before the commit: %v", err)
	}
	commit(t, d)
	r.wants(t, "k", want)
	if st := s.Stats(); st.Uploaded != 50*mib || st.Wasted != 0 || st.Copied != 0 {
		t.Errorf("sent more than was written: %+v", st)
	}
}

func TestAPartThatIsWrittenAgainIsSentAgain(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, nil)
	d := open(t, s, "k", nil)
	want := random(1, 20*mib)
	write(t, d, want, 0)
	until(t, "the parts were sent", func() bool { return s.Stats().Uploaded == 16*mib })
	copy(want[100:], "header")
	write(t, d, []byte("header"), 100)
	commit(t, d)
	r.wants(t, "k", want)
	if st := s.Stats(); st.Uploaded != 28*mib || st.Wasted != 8*mib {
		t.Errorf("%+v", st)
	}
}

func TestWhatWasNotTouchedIsCopiedByTheStore(t *testing.T) {
	r := newRemote(t)
	want := random(2, 100*mib)
	base := r.put(t, "k", want)
	s := r.store(t, nil)
	d := open(t, s, "k", base)
	copy(want[50*mib:], "new")
	write(t, d, []byte("new"), 50*mib)
	commit(t, d)
	r.wants(t, "k", want)
	if st := s.Stats(); st.Uploaded != 8*mib || st.Copied != 92*mib {
		t.Errorf("sent %d and copied %d bytes", st.Uploaded, st.Copied)
	}
}

// An append-only log whose every line is made durable sends each line once; the store copies the rest.
func TestALineAppendedToALogIsAllThatIsSent(t *testing.T) {
	r := newRemote(t)
	want := random(3, 30*mib)
	base := r.put(t, "log", want)
	s := r.store(t, nil)
	d := open(t, s, "log", base)
	line := []byte("a line of a log\n")
	for range 10 {
		write(t, d, line, d.Size())
		want = append(want, line...)
		commit(t, d)
	}
	r.wants(t, "log", want)
	if st := s.Stats(); st.Uploaded != int64(10*len(line)) || st.Used > int64(10*len(line)) {
		t.Errorf("10 lines of %d bytes: %+v", len(line), st)
	}
	if n := r.proxy.Count(partCopy); n != 10 {
		t.Errorf("10 lines took %d copies", n)
	}
}

func TestAFileThatIsCutAndMadeLongerIsZeroBetween(t *testing.T) {
	r := newRemote(t)
	for _, size := range []int64{100, 3 * mib, 20 * mib} {
		for _, written := range []bool{false, true} {
			want := random(4, int(size))
			d := open(t, r.store(t, nil), "k", r.put(t, "k", want))
			if written { // the old bytes are in the staged file, too
				write(t, d, want, 0)
			}
			truncate(t, d, size/2)
			truncate(t, d, size)
			clear(want[size/2:])
			if written {
				write(t, d, []byte("x"), size-1)
				want[size-1] = 'x'
			}
			got := make([]byte, size)
			if n, err := d.ReadAt(t.Context(), got, 0); n != int(size) || err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%d bytes: read %d, %v: %s", size, n, err, difference(got, want))
			}
			commit(t, d)
			r.wants(t, "k", want)
		}
	}
}

func TestALostUpdateIsAConflict(t *testing.T) {
	for _, size := range []int{100, 20 * mib} {
		r := newRemote(t)
		s := r.store(t, nil)
		for name, c := range map[string]struct {
			base   bool
			meddle func()
			stays  []byte
		}{
			"replaced": {true, func() { r.put(t, "k", []byte("theirs")) }, []byte("theirs")},
			"made":     {false, func() { r.put(t, "k", []byte("theirs")) }, []byte("theirs")},
			"removed": {true, func() {
				if err := r.b.Delete(t.Context(), "k"); err != nil {
					t.Fatal(err)
				}
			}, nil},
		} {
			if err := r.b.Delete(t.Context(), "k"); err != nil {
				t.Fatal(err)
			}
			var base *s3.Object
			if c.base {
				base = r.put(t, "k", random(5, 12*mib))
			}
			d := open(t, s, "k", base)
			write(t, d, random(6, size), 0)
			c.meddle()
			for range 2 {
				if _, err := d.Commit(t.Context()); !errors.Is(err, s3.ErrConflict) {
					t.Errorf("%d bytes, %s: %v, want a conflict", size, name, err)
				}
				if !d.Dirty() {
					t.Errorf("%d bytes, %s: clean after a failed commit", size, name)
				}
			}
			if c.stays != nil {
				r.wants(t, "k", c.stays)
			} else if _, err := r.b.Head(t.Context(), "k"); !errors.Is(err, s3.ErrNotFound) {
				t.Errorf("%d bytes, %s: the object is back: %v", size, name, err)
			}
			d.Close()
		}
		if n := s.Stats().Conflicts; n != 6 {
			t.Errorf("%d conflicts are counted, want 6", n)
		}
	}
}

func TestAFailedCommitCanBeTriedAgain(t *testing.T) {
	for _, size := range []int{100, 20 * mib} {
		for _, match := range []s3test.Match{partSent, begin, complete, wholePut} {
			r := newRemote(t)
			s := r.store(t, nil)
			d := open(t, s, "k", nil)
			want := random(7, size)
			r.proxy.Add(s3test.Rule{Match: match, Fault: s3test.Status(503, "SlowDown")})
			write(t, d, want, 0)
			if _, err := d.Commit(t.Context()); err == nil {
				if size > firstPart == (match.Method == "PUT" && match.Query == "") { // this size doesn't need such requests
					continue
				}
				t.Fatalf("%d bytes: committed in spite of the failure", size)
			} else if !errors.Is(err, s3.ErrUnavailable) {
				t.Errorf("%d bytes: %v", size, err)
			}
			if !d.Dirty() {
				t.Errorf("%d bytes: clean after a failed commit", size)
			}
			r.proxy.Clear()
			sent := s.Stats().Uploaded
			commit(t, d)
			r.wants(t, "k", want)
			if again := s.Stats().Uploaded - sent; match.Method == "POST" && match.Query == "uploadId" && again != 0 {
				t.Errorf("parts were sent again: %d bytes", again)
			}
			if left := r.uploads(t); len(left) > 0 {
				t.Errorf("uploads that were left: %v", left)
			}
		}
	}
}

// The answer to the write is lost, every time and without a chance to look. What was done is found out later, with writes in between.
func TestACommitWhoseAnswerWasLostIsKnownAgain(t *testing.T) {
	for _, size := range []int{100, 20 * mib} {
		for _, change := range []string{"nothing", "write", "append", "cut"} {
			r := newRemote(t)
			s := r.store(t, nil)
			d := open(t, s, "k", nil)
			want := random(8, size)
			write(t, d, want, 0)
			match := wholePut
			if size > firstPart {
				match = complete
			}
			lost := r.proxy.Add(s3test.Rule{Match: match, Fault: s3test.LoseAnswer()})
			r.proxy.Add(s3test.Rule{Match: headed, Fault: s3test.Status(503, "SlowDown")})
			for range 2 {
				if _, err := d.Commit(t.Context()); !errors.Is(err, s3.ErrUnavailable) || !d.Dirty() {
					t.Fatalf("%d bytes: %v, dirty %v", size, err, d.Dirty())
				}
			}
			if lost.Hits() == 0 {
				t.Fatal("nothing was lost")
			}
			r.wants(t, "k", want)
			switch change {
			case "write":
				write(t, d, []byte("later"), 50)
				copy(want[50:], "later")
			case "append":
				write(t, d, []byte("later"), int64(size))
				want = append(want, "later"...)
			case "cut":
				truncate(t, d, 30)
				want = want[:30]
			}
			r.proxy.Clear()
			commit(t, d)
			r.wants(t, "k", want)
			if d.Dirty() {
				t.Errorf("%d bytes, %s: dirty after a commit", size, change)
			}
			got := make([]byte, len(want))
			if n, _ := d.ReadAt(t.Context(), got, 0); n != len(want) || !bytes.Equal(got, want) {
				t.Errorf("%d bytes, %s: the draft reads otherwise: %s", size, change, difference(got[:n], want))
			}
		}
	}
}

func TestAConflictThatIsNoneIsTriedAgain(t *testing.T) {
	for _, size := range []int{100, 20 * mib} {
		r := newRemote(t)
		d := open(t, r.store(t, nil), "k", nil)
		want := random(9, size)
		write(t, d, want, 0)
		r.proxy.Add(s3test.Rule{Match: complete, Times: 1, Fault: s3test.Status(412, "PreconditionFailed")})
		r.proxy.Add(s3test.Rule{Match: wholePut, Times: 1, Fault: s3test.Status(412, "PreconditionFailed")})
		commit(t, d)
		r.wants(t, "k", want)
	}
}

func TestAnUploadThatSomebodyEndedIsMadeAgain(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, nil)
	d := open(t, s, "k", nil)
	want := random(10, 40*mib)
	write(t, d, want, 0)
	until(t, "parts were sent", func() bool { return s.Stats().Uploaded == 32*mib })
	for _, u := range r.uploads(t) {
		if err := r.b.Abort(t.Context(), u.Key, u.ID); err != nil {
			t.Fatal(err)
		}
	}
	// A server that refuses a part before it was sent may break the connection off before its answer is read.
	until(t, "it is committed", func() bool {
		_, err := d.Commit(t.Context())
		if err != nil && !errors.Is(err, s3.ErrUnavailable) {
			t.Fatal(err)
		}
		return err == nil
	})
	r.wants(t, "k", want)
}

func TestAWrongETagOfAPartOrObjectDoesNoHarm(t *testing.T) {
	for _, size := range []int{100, 20 * mib} {
		r := newRemote(t)
		d := open(t, r.store(t, nil), "k", nil)
		want := random(11, size)
		r.proxy.Add(s3test.Rule{Match: s3test.Match{Method: "PUT"}, Times: 1, Fault: s3test.WrongETag("0123456789abcdef0123456789abcdef")})
		write(t, d, want, 0)
		commit(t, d)
		r.wants(t, "k", want)
		copy(want, "more")
		write(t, d, []byte("more"), 0)
		commit(t, d)
		r.wants(t, "k", want)
	}
}

func TestMetadataThatComeLateAreStoredWithTheObject(t *testing.T) {
	for _, size := range []int{100, 20 * mib} {
		r := newRemote(t)
		s := r.store(t, nil)
		d := open(t, s, "k", nil)
		d.SetMetadata(map[string]string{"mode": "33188"})
		want := random(12, size)
		write(t, d, want, 0)
		if size > firstPart {
			until(t, "parts were sent", func() bool { return s.Stats().Uploaded == 16*mib })
		}
		check := func(m map[string]string) {
			t.Helper()
			o := commit(t, d)
			got := r.head(t, "k")
			if o.ETag != got.ETag {
				t.Errorf("Commit told ETag %s, it is %s", o.ETag, got.ETag)
			}
			maps.DeleteFunc(got.Metadata, func(k, _ string) bool { return strings.HasPrefix(k, "strata-") })
			if !maps.Equal(got.Metadata, m) || !maps.Equal(o.Metadata, m) {
				t.Errorf("%d bytes: metadata are %v, told were %v, want %v", size, got.Metadata, o.Metadata, m)
			}
			r.wants(t, "k", want)
		}
		d.SetMetadata(map[string]string{"mode": "33188", "mtime": "1"})
		check(map[string]string{"mode": "33188", "mtime": "1"})
		r.proxy.Forget()
		d.SetMetadata(map[string]string{"mtime": "2"})
		if !d.Dirty() {
			t.Error("clean with new metadata")
		}
		check(map[string]string{"mtime": "2"})
		if n := r.proxy.Count(s3test.Match{Method: "PUT"}); n != 1 {
			t.Errorf("new metadata alone took %d writes", n)
		}
		d.Close()
		// Content that is written later keeps them.
		d = open(t, s, "k", r.head(t, "k"))
		copy(want, "x")
		write(t, d, []byte("x"), 0)
		check(map[string]string{"mtime": "2"})
	}
}

func TestAStoreThatIgnoresConditionsIsAskedBefore(t *testing.T) {
	for _, size := range []int{100, 20 * mib} {
		r := newRemote(t)
		r.proxy.Add(s3test.Rule{Match: s3test.Match{If: func(q s3test.Request) bool {
			return q.Header.Get("If-Match") != "" && q.Method != "GET" || q.Header.Get("If-None-Match") != ""
		}}, Fault: s3test.Status(501, "NotImplemented")})
		s := r.store(t, func(o *Options) { o.NoConditions = true })
		d := open(t, s, "k", nil)
		want := random(13, size)
		write(t, d, want, 0)
		commit(t, d)
		write(t, d, []byte("x"), 0)
		want[0] = 'x'
		commit(t, d)
		r.wants(t, "k", want)

		r.put(t, "k", []byte("theirs"))
		write(t, d, []byte("y"), 0)
		if _, err := d.Commit(t.Context()); !errors.Is(err, s3.ErrConflict) {
			t.Errorf("replaced: %v, want a conflict", err)
		}
		r.wants(t, "k", []byte("theirs"))
		d = open(t, s, "k", nil)
		if _, err := d.Commit(t.Context()); !errors.Is(err, s3.ErrConflict) {
			t.Errorf("made: %v, want a conflict", err)
		}
	}
}

func TestWhetherAStoreObeysConditionsIsFoundOut(t *testing.T) {
	r := newRemote(t)
	for _, c := range []struct {
		rule *s3test.Rule
		want bool
	}{
		{nil, true},
		{&s3test.Rule{Match: s3test.Match{Method: "POST"}, Skip: 1, Fault: s3test.Status(501, "NotImplemented")}, false},
		{&s3test.Rule{Match: s3test.Match{Method: "PUT"}, Skip: 2, Fault: s3test.Status(501, "NotImplemented")}, false},
	} {
		r.proxy.Clear()
		if c.rule != nil {
			r.proxy.Add(*c.rule)
		}
		got, err := Conditional(t.Context(), r.faulty, "probe")
		if err != nil || got != c.want {
			t.Errorf("found %v, %v; want %v", got, err, c.want)
		}
	}
	r.proxy.Clear()
	r.proxy.Add(s3test.Rule{Fault: s3test.Status(503, "SlowDown")})
	if _, err := Conditional(t.Context(), r.faulty, "probe"); !errors.Is(err, s3.ErrUnavailable) {
		t.Errorf("a store that doesn't answer: %v", err)
	}
	if page, err := r.b.List(t.Context(), s3.ListRequest{}); err != nil || len(page.Objects) > 0 {
		t.Errorf("left are %v, %v", page.Objects, err)
	}
	if left := r.uploads(t); len(left) > 0 {
		t.Errorf("uploads that were left: %v", left)
	}
}

func TestManyCallersOfCommitShareOne(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, nil)
	d := open(t, s, "k", nil)
	write(t, d, []byte("x"), 0)
	errs := make(chan error)
	for range 20 {
		go func() {
			_, err := d.Commit(t.Context())
			errs <- err
		}()
	}
	for range 20 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if n := s.Stats().Commits; n != 1 {
		t.Errorf("%d commits were made", n)
	}
}

func TestAMismatchOfSizesIsNoSuccess(t *testing.T) {
	for _, o := range []s3.Object{{ETag: "e", Size: 1}, {Size: 2}} {
		if err := verify(o, 2); !errors.Is(err, ErrUnverified) {
			t.Errorf("%+v: %v", o, err)
		}
	}
	if err := verify(s3.Object{ETag: "e", Size: 2}, 2); err != nil {
		t.Error(err)
	}
}

func TestTheTokenIsNotTheCallersBusiness(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, nil)
	d := open(t, s, "k", nil)
	write(t, d, []byte("x"), 0)
	o := commit(t, d)
	d = open(t, s, "k", r.head(t, "k"))
	for _, m := range []map[string]string{o.Metadata, d.Metadata()} {
		if names := slices.Collect(maps.Keys(m)); len(names) > 0 {
			t.Errorf("names are %v", names)
		}
	}
}

// The object was replaced by a commit that doesn't know it: a read of what isn't staged finds that out.
func TestAReadBehindACommitWhoseAnswerWasLostReadsTheNewObject(t *testing.T) {
	r := newRemote(t)
	want := random(14, 20*mib)
	d := open(t, r.store(t, nil), "k", r.put(t, "k", want))
	write(t, d, []byte("new"), 0)
	copy(want, "new")
	r.proxy.Add(s3test.Rule{Match: complete, Fault: s3test.LoseAnswer()})
	r.proxy.Add(s3test.Rule{Match: headed, Fault: s3test.Status(503, "SlowDown")})
	if _, err := d.Commit(t.Context()); !errors.Is(err, s3.ErrUnavailable) {
		t.Fatal(err)
	}
	got := make([]byte, mib)
	if _, err := d.ReadAt(t.Context(), got, 10*mib); !errors.Is(err, s3.ErrUnavailable) || errors.Is(err, s3.ErrConflict) {
		t.Errorf("as long as nobody can ask: %v", err)
	}
	r.proxy.Clear()
	if _, err := d.ReadAt(t.Context(), got, 10*mib); err != nil || !bytes.Equal(got, want[10*mib:11*mib]) {
		t.Errorf("%v: %s", err, difference(got, want[10*mib:11*mib]))
	}
	if d.Dirty() {
		t.Error("dirty, although the commit was found to be done")
	}
}
