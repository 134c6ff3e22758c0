package draft

// Sending parts in the background, while the file is still written: what a sequential writer has passed, or, when there is no room, whatever is complete.

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/strata-csi/strata/pkg/s3"
)

// upload is the multipart upload that a draft's next object is made of.
type upload struct {
	id      string
	token   string
	record  string // its file
	change  int64  // of the metadata it has
	sent    map[int]*sentPart
	copies  []copied
	punched int // how many of sent are
	// restarted: the store didn't want the parts, and those that are staged were sent again.
	restarted bool
}

// sentPart is a part that the store has.
type sentPart struct {
	off, end int64
	part     s3.Part
	punched  bool // it isn't staged any more
}

// copied is a part that the store has made of the base.
type copied struct {
	off, end int64
	part     s3.Part
	etag     string // of the base
}

// send is a part that is being sent in the background.
type send struct {
	off, end int64
	cancel   context.CancelFunc
	stale    bool // it was written meanwhile
}

// sendPassed has parts sent that are complete and lie behind the writer, once. A file of a single part is for Commit, which sends it with one request.
func (d *Draft) sendPassed(from, to int64) {
	if d.committing {
		return
	}
	last := partAt(max(from, to-1))
	for n := max(1, partAt(from)-1); n <= last; n++ {
		p := d.parts[n]
		_, end := partRange(n)
		if p != nil && !p.tried && p.fresh == partSize(n) && end < d.size {
			d.queue(n, p)
		}
	}
}

func (d *Draft) queue(n int, p *part) {
	if !p.queued {
		p.tried, p.queued = true, true
		d.store.enqueue(d, n)
	}
}

// sendable tells whether the part can be sent now: it has changes, all of it lies within the file, and the store hasn't got it.
func (d *Draft) sendable(n int) bool {
	begin, end := partRange(n)
	p := d.parts[n]
	return !d.closed && !d.committing && p != nil && end <= d.size && d.sends[n] == nil && !d.hasSent(n) && d.isDirty(begin, end)
}

// hasSent tells whether the store has all of the part.
func (d *Draft) hasSent(n int) bool {
	begin, end := partRange(n)
	_, ok := d.have(n, begin, end)
	return ok
}

// have is the part with this number, if it was sent and has just these bytes.
func (d *Draft) have(number int, off, end int64) (s3.Part, bool) {
	if d.upload == nil {
		return s3.Part{}, false
	}
	s := d.upload.sent[number]
	if s == nil || s.off != off || s.end != end {
		return s3.Part{}, false
	}
	return s.part, true
}

// isDirty tells whether the bytes aren't the base's.
func (d *Draft) isDirty(from, to int64) bool {
	if to > d.baseLimit {
		return true
	}
	dirty := false
	each(from, to, func(i int64, a, b int32) {
		c := d.chunks[i]
		dirty = dirty || c != nil && c.dirty && c.from < b && a < c.to
	})
	return dirty
}

// pushSends has all parts sent that can be, besides the one that is being written and those whose sending has failed; it tells whether there are any.
func (d *Draft) pushSends() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	pushed := false
	current := partAt(max(0, d.lastEnd-1))
	for _, n := range slices.Sorted(maps.Keys(d.parts)) {
		if p := d.parts[n]; n != current && p.err == nil && d.sendable(n) {
			d.queue(n, p)
			pushed = true
		}
	}
	return pushed
}

// retrySends lets parts be sent again whose sending has failed.
func (d *Draft) retrySends() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.parts {
		p.err = nil
	}
}

// sendError is why parts that could be sent aren't.
func (d *Draft) sendError() error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, p := range d.parts {
		if p.err != nil {
			return p.err
		}
	}
	return nil
}

// sending tells whether something of the draft is on its way to the store.
func (d *Draft) sending() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.committing || len(d.sends) > 0
}

func (d *Draft) isSending(from, to int64) bool {
	for _, s := range d.sends {
		if s.off < to && from < s.end {
			return true
		}
	}
	return false
}

// send sends a part, if that still makes sense.
func (d *Draft) send(n int) {
	d.mu.Lock()
	if p := d.parts[n]; p != nil {
		p.queued = false
	}
	if !d.sendable(n) {
		d.mu.Unlock()
		d.store.progress()
		return
	}
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	s := &send{cancel: cancel}
	s.off, s.end = partRange(n)
	d.sends[n] = s
	b := d.body(ctx, s.off, s.end)
	d.mu.Unlock()

	u, err := d.begun(ctx)
	var got s3.Part
	if err == nil {
		got, err = d.store.o.Bucket.UploadPart(ctx, d.key, u.id, n, b.reader(s.off, s.end), s.end-s.off)
		err = b.failure(err)
	}
	b.close()

	d.mu.Lock()
	delete(d.sends, n)
	if err == nil {
		d.store.counters.uploaded.Add(s.end - s.off)
	}
	switch {
	case s.stale || d.closed:
		if err == nil {
			d.store.counters.wasted.Add(s.end - s.off)
		}
	case err != nil:
		if p := d.parts[n]; p != nil {
			p.err = err
		}
		d.store.o.Logger.V(2).Info("A part isn't sent in the background; Commit sends it", "key", d.key, "part", n, "cause", err)
	default:
		u.sent[n] = &sentPart{off: s.off, end: s.end, part: got}
	}
	d.woken()
	d.mu.Unlock()
	d.store.progress()
}

// begun is the draft's upload, which it begins if there is none.
func (d *Draft) begun(ctx context.Context) (*upload, error) {
	d.begin.Lock()
	defer d.begin.Unlock()
	d.mu.Lock()
	if d.upload != nil || d.closed && ctx.Err() != nil {
		defer d.mu.Unlock()
		return d.upload, ctx.Err()
	}
	d.uploads++
	u := &upload{
		token:  fmt.Sprintf("%s-u%d", d.token, d.uploads),
		record: filepath.Join(d.store.home.dir, fmt.Sprintf("%s-%d%s", d.name, d.uploads, recordSuffix)),
		change: d.changes, sent: map[int]*sentPart{},
	}
	o := d.writeOptions(u.token, s3.Condition{})
	d.mu.Unlock()

	var err error
	if u.id, err = d.store.o.Bucket.CreateUpload(ctx, d.key, o); err != nil {
		return nil, err
	}
	if err := d.store.writeRecord(u.record, d.key, u.id); err != nil {
		d.store.o.Logger.Error(err, "An upload isn't recorded: if the engine is killed now, it stays", "key", d.key)
	}
	d.mu.Lock()
	d.upload = u
	d.mu.Unlock()
	return u, nil
}

// writeOptions are those of the draft's next object. d.mu is held.
func (d *Draft) writeOptions(token string, c s3.Condition) s3.WriteOptions {
	m := map[string]string{tokenName: token}
	for k, v := range d.metadata {
		m[k] = v
	}
	return s3.WriteOptions{Condition: c, Metadata: m, StorageClass: d.store.o.StorageClass, SSE: d.store.o.SSE}
}

// unsend notes that bytes were changed: what the store was sent of them is worth nothing. d.mu is held.
func (d *Draft) unsend(from, to int64) {
	for _, s := range d.sends {
		if s.off < to && from < s.end {
			s.stale = true
			s.cancel()
		}
	}
	u := d.upload
	if u == nil || from >= to {
		return
	}
	// Commit may have sent the last part under the number behind its own (see tail in cut.go).
	first, last := max(1, partAt(from)-1), partAt(to-1)+1
	if last-first > len(u.sent) {
		first, last = 1, 0
		for n, s := range u.sent {
			if s.off < to && from < s.end {
				u.unsend(n, d)
			}
		}
	}
	for n := first; n <= last; n++ {
		if s := u.sent[n]; s != nil && s.off < to && from < s.end {
			u.unsend(n, d)
		}
	}
	u.copies = slices.DeleteFunc(u.copies, func(c copied) bool { return c.off < to && from < c.end })
}

func (u *upload) unsend(n int, d *Draft) {
	s := u.sent[n]
	if s.punched {
		u.punched--
	}
	d.store.counters.wasted.Add(s.end - s.off)
	delete(u.sent, n)
}

// dropSent gives up the staged copy of parts that were sent, from the first on, about n bytes.
func (d *Draft) dropSent(n int64) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	// An upload that may be complete already may not be the only place of anything.
	if d.upload == nil || d.committing || d.closed || slices.ContainsFunc(d.cuts, func(c *cut) bool { return c.upload == d.upload }) {
		return 0
	}
	var freed int64
	for _, number := range slices.Sorted(maps.Keys(d.upload.sent)) {
		s := d.upload.sent[number]
		begin, end := partRange(number)
		if freed >= n {
			break
		}
		if s.punched || s.off != begin || s.end != end || d.isSending(begin, end) {
			continue
		}
		if got := d.drop(begin, end); got > 0 {
			freed += got
			s.punched = true
			d.upload.punched++
		}
	}
	d.store.counters.punched.Add(freed)
	return freed
}

// forget ends the draft's upload in the background. d.mu is held.
func (d *Draft) forget() {
	u := d.upload
	if u == nil {
		return
	}
	d.upload = nil
	d.store.background.Go(func() { d.store.endRecorded(u.record) })
}
