package draft

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

var (
	steps = flag.Int("steps", 300, "how many random operations a model test does; with -short a fifth")
	seed  = flag.Uint64("seed", 1, "of the model tests")
)

// model does random operations to a draft and to a slice of bytes, and compares what is read and what is committed.
type model struct {
	t     *testing.T
	r     *remote
	g     *rand.Rand
	s     *Store
	d     *Draft
	want  []byte // what the draft has
	saved []byte // what the store has for certain; nil: no object
	log   []string
	// faults: requests may fail.
	faults bool
}

const largest = 20 * mib

func (m *model) fail(format string, args ...any) {
	m.t.Helper()
	m.t.Fatalf("seed %d, after %v: %s", *seed, m.log[max(0, len(m.log)-12):], fmt.Sprintf(format, args...))
}

func (m *model) note(format string, args ...any) { m.log = append(m.log, fmt.Sprintf(format, args...)) }

// place is where an operation begins: mostly where parts, chunks or the file end.
func (m *model) place() int {
	edges := []int{0, len(m.want), len(m.want), firstPart, 2 * firstPart, s3.MinPartSize, m.g.IntN(len(m.want) + 1), m.g.IntN(largest)}
	return min(max(0, edges[m.g.IntN(len(edges))]+m.g.IntN(7)-3), largest)
}

func (m *model) length() int {
	switch m.g.IntN(40) {
	case 0:
		return m.g.IntN(10 * mib)
	case 1, 2, 3:
		return m.g.IntN(mib)
	}
	return m.g.IntN(10_000)
}

func (m *model) resize(n int) {
	if n > len(m.want) {
		m.want = append(m.want, make([]byte, n-len(m.want))...)
	}
	m.want = m.want[:n:n]
}

func (m *model) write() {
	off, n := m.place(), m.length()
	n = min(n, largest-off)
	p := random(m.g.Uint64(), n)
	m.note("write %d+%d", off, n)
	if got, err := m.d.WriteAt(m.t.Context(), p, int64(off)); err != nil || got != n {
		m.fail("wrote %d: %v", got, err)
	}
	if n > 0 {
		m.resize(max(len(m.want), off+n))
		copy(m.want[off:], p)
	}
}

func (m *model) truncate() {
	size := m.place()
	m.note("truncate %d", size)
	if err := m.d.Truncate(m.t.Context(), int64(size)); err != nil {
		m.fail("%v", err)
	}
	m.resize(size)
}

func (m *model) read() {
	off, n := m.place(), m.length()
	m.note("read %d+%d", off, n)
	p := make([]byte, n)
	got, err := m.d.ReadAt(m.t.Context(), p, int64(off))
	if m.faults && errors.Is(err, s3.ErrUnavailable) {
		return
	}
	if err != nil && !errors.Is(err, io.EOF) {
		m.fail("%v", err)
	}
	want := m.want[min(off, len(m.want)):min(off+n, len(m.want))]
	if !bytes.Equal(p[:got], want) {
		m.fail("read at %d: %s", off, difference(p[:got], want))
	}
}

func (m *model) check() {
	if size := m.d.Size(); size != int64(len(m.want)) {
		m.fail("the size is %d, want %d", size, len(m.want))
	}
}

// commit commits; it may fail where there are faults, and is then tried again without.
func (m *model) commit() {
	m.note("commit of %d", len(m.want))
	_, err := m.d.Commit(m.t.Context())
	if err != nil {
		m.note("which failed: %v", err)
		if !m.d.Dirty() {
			m.fail("clean after a failed commit")
		}
		if !m.faults || !errors.Is(err, s3.ErrUnavailable) {
			m.fail("a commit failed for another reason than the faults")
		}
		return
	}
	if m.d.Dirty() {
		m.fail("dirty after a commit")
	}
	m.saved = bytes.Clone(m.want)
	if got := m.r.content(m.t, "k"); !bytes.Equal(got, m.saved) {
		m.fail("the object isn't what was committed: %s", difference(got, m.saved))
	}
}

// reopen throws away what isn't committed and begins anew on what is there.
func (m *model) reopen() {
	m.note("reopen")
	m.d.Close()
	o, err := m.r.b.Head(m.t.Context(), "k")
	switch {
	case errors.Is(err, s3.ErrNotFound):
		if m.saved != nil {
			m.fail("the object is gone")
		}
		m.d, m.want = open(m.t, m.s, "k", nil), nil
	case err != nil:
		m.fail("%v", err)
	default:
		m.d, m.want = open(m.t, m.s, "k", &o), m.r.content(m.t, "k")
	}
}

func (m *model) run() {
	n := *steps
	if testing.Short() {
		n /= 5
	}
	for range n {
		switch x := m.g.IntN(100); {
		case x < 60:
			m.write()
		case x < 68:
			m.truncate()
		case x < 90:
			m.read()
		case x < 97:
			m.commit()
		case x < 98:
			m.pressure()
		default:
			// An uncertain commit may be done after all: who begins anew begins on what is there.
			m.reopen()
		}
		m.check()
	}
	m.r.proxy.Clear()
	m.faults = false
	m.commit()
	if m.saved == nil {
		m.fail("the last commit failed")
	}
	m.note("all of it")
	got := make([]byte, len(m.want))
	if n, err := m.d.ReadAt(m.t.Context(), got, 0); err != nil && !errors.Is(err, io.EOF) || !bytes.Equal(got[:n], m.want) {
		m.fail("%v: %s", err, difference(got[:n], m.want))
	}
}

// pressure does what a want of room does, besides giving up what was sent.
func (m *model) pressure() {
	m.note("pressure")
	if m.g.IntN(2) == 0 {
		m.d.dropClean(1 << 40)
	} else {
		m.d.pushSends()
	}
}

func newModel(t *testing.T) *model {
	r := newRemote(t)
	m := &model{t: t, r: r, g: rand.New(rand.NewPCG(*seed, 1)), s: r.store(t, nil)}
	m.d = open(t, m.s, "k", nil)
	return m
}

func TestRandomOperationsAreThoseOfAFile(t *testing.T) {
	newModel(t).run()
}

// The same through a network and a store that fail: a commit that says it has succeeded has, and one that says it hasn't can be tried again.
func TestRandomOperationsThroughFaultsAreThoseOfAFile(t *testing.T) {
	m := newModel(t)
	m.faults = true
	for _, rule := range []s3test.Rule{
		{Match: s3test.Match{Method: "PUT"}, Chance: 0.03, Fault: s3test.Reset()},
		{Match: s3test.Match{Method: "PUT"}, Chance: 0.05, Fault: s3test.LoseAnswer()},
		{Match: s3test.Match{Method: "PUT"}, Chance: 0.02, Fault: s3test.Status(412, "PreconditionFailed")},
		{Match: s3test.Match{Method: "PUT"}, Chance: 0.03, Fault: s3test.CorruptRequest(1000)},
		{Match: s3test.Match{Method: "POST"}, Chance: 0.2, Fault: s3test.LoseAnswer()},
		{Match: s3test.Match{Method: "POST"}, Chance: 0.1, Fault: s3test.Status(503, "SlowDown")},
		{Match: s3test.Match{Method: "POST"}, Chance: 0.05, Fault: s3test.Status(412, "PreconditionFailed")},
		{Match: s3test.Match{Method: "POST"}, Chance: 0.05, Fault: s3test.ErrorInside("InternalError")},
		{Match: s3test.Match{Method: "POST"}, Chance: 0.05, Fault: s3test.ErrorInsteadOf("InternalError")},
		{Match: s3test.Match{Method: "HEAD"}, Chance: 0.3, Fault: s3test.Status(500, "InternalError")},
		{Match: s3test.Match{Method: "GET"}, Chance: 0.05, Fault: s3test.Truncate(1000)},
	} {
		m.r.proxy.Add(rule)
	}
	m.run()
}
