package draft

import (
	"context"
	"errors"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

func tight(o *Options) { o.Limit = minLimit }

// A file that is larger than all the room there is: what was sent is given up, and the writer waits for it.
func TestAFileLargerThanTheRoomIsWritten(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, tight)
	d := open(t, s, "k", nil)
	want := random(1, 200*mib)
	for off := 0; off < len(want); off += mib {
		write(t, d, want[off:off+mib], int64(off))
		if u := s.Stats().Used; u > minLimit {
			t.Fatalf("%d bytes are staged", u)
		}
	}
	if st := s.Stats(); st.Punched == 0 || st.Wasted != 0 {
		t.Errorf("%+v", st)
	}
	// What was given up can't be read or changed in part, but replaced as a whole.
	if _, err := d.ReadAt(t.Context(), make([]byte, 1), 0); !errors.Is(err, ErrSent) {
		t.Errorf("read: %v, want ErrSent", err)
	}
	if _, err := d.WriteAt(t.Context(), []byte("x"), 0); !errors.Is(err, ErrNoRoom) || !errors.Is(err, ErrSent) {
		t.Errorf("write: %v, want ErrNoRoom and ErrSent", err)
	}
	if err := d.Truncate(t.Context(), 100); !errors.Is(err, ErrSent) {
		t.Errorf("truncate: %v, want ErrSent", err)
	}
	first := random(2, firstPart)
	copy(want, first)
	if _, err := d.WriteAt(t.Context(), first, 0); err != nil {
		t.Errorf("the whole part: %v", err)
	}
	commit(t, d)
	r.wants(t, "k", want)
	// Now it can.
	copy(want[9*mib:], "x")
	write(t, d, []byte("x"), 9*mib)
	commit(t, d)
	r.wants(t, "k", want)
	truncate(t, d, 100)
	commit(t, d)
	r.wants(t, "k", want[:100])
}

func TestAReaderOfGivenUpBytesWaitsForTheCommitThatRuns(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, tight)
	d := open(t, s, "k", nil)
	want := random(3, 100*mib)
	write(t, d, want, 0)
	release, arrived := make(chan struct{}), make(chan struct{}, 1)
	match := complete
	match.If = func(s3test.Request) bool { arrived <- struct{}{}; return true }
	r.proxy.Add(s3test.Rule{Match: match, Times: 1, Fault: s3test.Delay(release)})
	done := make(chan error, 3)
	go func() {
		_, err := d.Commit(t.Context())
		done <- err
	}()
	<-arrived
	got := make([]byte, 100)
	go func() {
		_, err := d.ReadAt(t.Context(), got, 0)
		done <- err
	}()
	go func() {
		_, err := d.WriteAt(t.Context(), []byte("later"), mib)
		done <- err
	}()
	close(release)
	for range 3 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
	if string(got) != string(want[:100]) {
		t.Error("DATA MISMATCH: read otherwise")
	}
	copy(want[mib:], "later")
	commit(t, d)
	r.wants(t, "k", want)
}

func TestThereIsNoRoomOnlyWhenNothingCanBeSent(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, tight)
	// Eight files with a part each that is just not complete: nothing of them can be sent.
	var all []*Draft
	for range 8 {
		d := open(t, s, "k", nil)
		write(t, d, make([]byte, 8*mib-1), 0)
		all = append(all, d)
	}
	d := open(t, s, "other", nil)
	write(t, d, make([]byte, 8), 0)
	if _, err := d.WriteAt(t.Context(), []byte("x"), 8); !errors.Is(err, ErrNoRoom) {
		t.Errorf("got %v, want ErrNoRoom", err)
	}
	// What is an object has its bytes there.
	commit(t, all[0])
	write(t, d, random(1, mib), 8)
	// What is thrown away as well.
	all[1].Close()
	write(t, d, random(1, 8*mib), 8)
}

func TestAWriterWithoutRoomIsToldThatTheStoreDoesNotAnswer(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, tight)
	d := open(t, s, "k", nil)
	r.proxy.Add(s3test.Rule{Match: partSent, Fault: s3test.Status(503, "SlowDown")})
	want := random(4, 100*mib)
	var err error
	off := 0
	for off < len(want) && err == nil {
		if _, err = d.WriteAt(t.Context(), want[off:off+mib], int64(off)); err == nil {
			off += mib
		}
	}
	if !errors.Is(err, ErrNoRoom) || !errors.Is(err, s3.ErrUnavailable) {
		t.Fatalf("got %v, want ErrNoRoom and ErrUnavailable", err)
	}
	if off < 56*mib {
		t.Errorf("refused after %d bytes", off)
	}
	r.proxy.Clear()
	write(t, d, want[off:], int64(off))
	commit(t, d)
	r.wants(t, "k", want)
}

func TestAWriterThatWaitsForRoomObeysItsContext(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, tight)
	d := open(t, s, "k", nil)
	ctx, cancel := context.WithCancel(t.Context())
	match := partSent
	asked := make(chan struct{}, 100)
	match.If = func(s3test.Request) bool { asked <- struct{}{}; return true }
	r.proxy.Add(s3test.Rule{Match: match, Fault: s3test.Stall()})
	done := make(chan error)
	go func() {
		for off := int64(0); ; off += mib {
			if _, err := d.WriteAt(ctx, make([]byte, mib), off); err != nil {
				done <- err
				return
			}
		}
	}()
	<-asked
	until(t, "the room is used up", func() bool { return s.Stats().Used == minLimit })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// The parts that were sent are the only copy: when somebody ends the upload the file can't be saved, and Commit says so every time.
func TestPartsThatAreLostAreToldOf(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, tight)
	d := open(t, s, "k", nil)
	write(t, d, random(5, 100*mib), 0)
	until(t, "nothing is being sent", func() bool { return !d.sending() })
	for _, u := range r.uploads(t) {
		if err := r.b.Abort(t.Context(), u.Key, u.ID); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		// A server that refuses a part before it was sent may break the connection off before its answer is read.
		until(t, "it is said", func() bool {
			_, err := d.Commit(t.Context())
			if !errors.Is(err, ErrLost) && !errors.Is(err, s3.ErrUnavailable) {
				t.Fatalf("got %v, want ErrLost", err)
			}
			return errors.Is(err, ErrLost)
		})
	}
	if _, err := r.b.Head(t.Context(), "k"); !errors.Is(err, s3.ErrNotFound) {
		t.Errorf("there is an object: %v", err)
	}
}

// 64 open files are more parts than there is room for; each is written in turn.
func TestManyFilesShareTheRoom(t *testing.T) {
	r := newRemote(t)
	s := r.store(t, func(o *Options) { o.Limit = 2 * minLimit })
	const files = 12
	var all [files]*Draft
	var want [files][]byte
	for i := range files {
		all[i] = open(t, s, string(rune('a'+i)), nil)
		want[i] = random(uint64(i), 20*mib)
	}
	for off := 0; off < 20*mib; off += mib {
		for i, d := range all {
			write(t, d, want[i][off:off+mib], int64(off))
		}
	}
	for i, d := range all {
		commit(t, d)
		r.wants(t, d.Key(), want[i])
	}
}
