// Package listing turns the pages of ListObjectsV2 into the entries of a directory, in bounded memory whatever the directory holds.
//
// An entry has a number that stays as long as the directory is open, so that a program can go back to it (telldir, seekdir). The last pages are kept whole; of older ones only a hash of each name, and they are listed again
// if somebody goes back there: what was removed meanwhile is a gap, what was added isn't shown, nothing is shown twice.
//
// An object d and a directory d/ are both wanted at the name d. Between them in the listing can stand any number of keys ("d-1", "d.txt"), so an object is held back until no directory of its name can follow. The objects that
// are held back at once are each a prefix of the next, so they are few.
package listing

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/strata-csi/strata/pkg/coldfs/names"
	"github.com/strata-csi/strata/pkg/s3"
)

// Lister is what is asked of a bucket.
type Lister interface {
	List(ctx context.Context, r s3.ListRequest) (s3.Page, error)
}

// Options say what is listed.
type Options struct {
	Lister Lister
	// Prefix of the keys of the directory: "" or it ends with '/'.
	Prefix string
	// Hide names segments that aren't shown; nil: all are.
	Hide func(segment string) bool
	// First are entries that come first and take the place of listed ones of the same name: files that aren't in the store yet.
	First []Entry
	// KeptPages is how many pages are kept whole; 0: 16.
	KeptPages int
}

// Entry is one entry of a directory.
type Entry struct {
	Name string
	Dir  bool
	// Object is what the listing says of a file; without Key in an entry of Options.First.
	Object s3.Object
	// Beside: a directory of the same segment is beside the object.
	Beside bool
	// Asked is when the listing was asked for: what happened later may not be in it.
	Asked time.Time
}

// Directory is one open directory. Its methods may be called at once.
type Directory struct {
	o    Options
	skip map[string]bool // names of First
	seed maphash.Seed

	mu     chan struct{} // holds a token while nobody uses what follows; waiting obeys the context
	pages  []*page
	kept   []*page // those with entries, the longest kept first
	held   []held
	token  string
	last   string // the last key or prefix that was listed
	ended  bool
	count  uint64 // entries by now
	hidden int
	ahead  *ahead
}

type page struct {
	first   uint64   // number of the first entry
	hashes  []uint64 // of all names
	entries []Entry  // nil: listed again if needed
	after   string   // what is listed again comes behind this key ...
	end     string   // ... and isn't behind this one
}

// held is an object that a directory of the same name may follow.
type held struct {
	entry   Entry
	segment string
	after   string // the key before it
}

// ahead is a page that is asked for before it is needed.
type ahead struct {
	done  chan struct{}
	asked time.Time
	page  s3.Page
	err   error
}

// Open begins to list; nothing is asked yet.
func Open(o Options) *Directory {
	if o.KeptPages == 0 {
		o.KeptPages = 16
	}
	d := &Directory{o: o, skip: map[string]bool{}, seed: maphash.MakeSeed(), mu: make(chan struct{}, 1)}
	d.mu <- struct{}{}
	if len(o.First) > 0 {
		p := &page{entries: o.First} // never dropped
		for _, e := range o.First {
			d.skip[e.Name] = true
			p.hashes = append(p.hashes, d.hash(e.Name))
		}
		d.pages, d.count = []*page{p}, uint64(len(o.First))
	}
	return d
}

// Hidden is how many keys have no name that could be shown, by now.
func (d *Directory) Hidden() int {
	<-d.mu
	defer d.unlock()
	return d.hidden
}

func (d *Directory) unlock() { d.mu <- struct{}{} }

// From returns entries from number n on: at least one, unless the directory ends there: none; and at most so many. Numbers of entries that are gone are left out.
func (d *Directory) From(ctx context.Context, n uint64, most int) (entries []Numbered, err error) {
	select {
	case <-d.mu:
		defer d.unlock()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	for {
		for n >= d.count {
			if d.ended {
				return nil, nil
			}
			if err := d.more(ctx); err != nil {
				return nil, err
			}
		}
		p := d.pageOf(n)
		if p.entries == nil {
			if err := d.again(ctx, p); err != nil {
				return nil, err
			}
		}
		for i := n - p.first; i < uint64(len(p.entries)) && len(entries) < most; i++ {
			if entries == nil {
				entries = make([]Numbered, 0, min(most, len(p.entries)-int(i)))
			}
			if p.entries[i].Name != "" {
				entries = append(entries, Numbered{p.first + i, p.entries[i]})
			}
		}
		if len(entries) > 0 {
			return entries, nil
		}
		n = p.first + uint64(len(p.hashes))
	}
}

// Numbered is an entry with its number.
type Numbered struct {
	Number uint64
	Entry
}

func (d *Directory) pageOf(n uint64) *page {
	low, high := 0, len(d.pages)-1
	for low < high {
		middle := (low + high + 1) / 2
		if d.pages[middle].first <= n {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return d.pages[low]
}

func (d *Directory) hash(name string) uint64 { return maphash.String(d.seed, name) }

// more lists the next page. A page may add no entry.
func (d *Directory) more(ctx context.Context) error {
	got, asked, err := d.next(ctx)
	if err != nil {
		return err
	}
	p := &page{first: d.count, after: d.last}
	if len(d.held) > 0 {
		p.after = d.held[0].after
	}
	emit := func(e Entry) {
		if !d.skip[e.Name] {
			p.entries = append(p.entries, e)
			p.hashes = append(p.hashes, d.hash(e.Name))
		}
	}
	merge(got, func(key string, o *s3.Object) {
		d.release(key, emit)
		d.take(key, o, asked, emit)
		d.last = key
	})
	d.token = got.Next
	if got.Next == "" {
		d.ended = true
		d.release("", emit)
	}
	p.end = d.last
	if len(p.entries) > 0 {
		d.pages = append(d.pages, p)
		d.count += uint64(len(p.entries))
		d.keep(p)
	}
	return nil
}

// take shows a key or holds it back.
func (d *Directory) take(key string, o *s3.Object, asked time.Time, emit func(Entry)) {
	rest, ok := strings.CutPrefix(key, d.o.Prefix)
	segment, dir := strings.CutSuffix(rest, "/")
	if !ok || o != nil && rest == "" || d.o.Hide != nil && d.o.Hide(segment) {
		return // the directory's own marker, or nothing that is shown
	}
	if !dir {
		d.held = append(d.held, held{Entry{Object: *o, Asked: asked}, segment, d.last})
		return
	}
	// The object of the same name, if there is one, is the last that is held.
	if n := len(d.held); n > 0 && d.held[n-1].segment == segment {
		d.held[n-1].entry.Beside = true
		d.show(d.held[n-1], emit)
		d.held = d.held[:n-1]
	}
	if name, ok := names.Of(segment); ok {
		emit(Entry{Name: name, Dir: true, Asked: asked})
	} else {
		d.hidden++
	}
}

// release shows the objects that no directory of their name can follow behind key; "": all.
func (d *Directory) release(key string, emit func(Entry)) {
	for len(d.held) > 0 {
		h := d.held[len(d.held)-1]
		if key != "" && key <= d.o.Prefix+h.segment+"/" {
			return
		}
		d.show(h, emit)
		d.held = d.held[:len(d.held)-1]
	}
}

func (d *Directory) show(h held, emit func(Entry)) {
	name, ok := names.Of(h.segment)
	if h.entry.Beside {
		name, ok = names.OfBeside(h.segment)
	}
	if !ok {
		d.hidden++
		return
	}
	h.entry.Name = name
	emit(h.entry)
}

// keep drops the entries of the page that was kept the longest, if there are too many.
func (d *Directory) keep(p *page) {
	d.kept = append(d.kept, p)
	if len(d.kept) > d.o.KeptPages {
		d.kept[0].entries = nil
		d.kept = slices.Delete(d.kept, 0, 1)
	}
}

// again lists what a page held. Only names that it had are taken.
func (d *Directory) again(ctx context.Context, p *page) error {
	wanted := make(map[uint64]int, len(p.hashes))
	for i, h := range p.hashes {
		wanted[h] = i
	}
	entries := make([]Entry, len(p.hashes))
	place := func(name string, ok bool, e Entry) {
		if i, had := wanted[d.hash(name)]; ok && had {
			e.Name = name
			entries[i] = e
		}
	}
	r := s3.ListRequest{Prefix: d.o.Prefix, Delimiter: "/", After: p.after}
	for done := false; !done; {
		asked := time.Now()
		got, err := d.o.Lister.List(ctx, r)
		if err != nil {
			return err
		}
		merge(got, func(key string, o *s3.Object) {
			done = done || key > p.end
			segment, dir := strings.CutSuffix(strings.TrimPrefix(key, d.o.Prefix), "/")
			switch {
			case done || key <= p.after:
			case dir:
				name, ok := names.Of(segment)
				place(name, ok, Entry{Dir: true, Asked: asked})
			default:
				name, ok := names.OfBeside(segment)
				place(name, ok, Entry{Object: *o, Beside: true, Asked: asked})
				name, ok = names.Of(segment)
				place(name, ok, Entry{Object: *o, Asked: asked})
			}
		})
		r.Token, r.After = got.Next, ""
		done = done || got.Next == ""
	}
	p.entries = entries
	d.keep(p)
	return nil
}

// merge goes through a page in the order of the keys.
func merge(p s3.Page, each func(key string, o *s3.Object)) {
	i := 0
	for j := range p.Objects {
		for ; i < len(p.Prefixes) && p.Prefixes[i] < p.Objects[j].Key; i++ {
			each(p.Prefixes[i], nil)
		}
		each(p.Objects[j].Key, &p.Objects[j])
	}
	for ; i < len(p.Prefixes); i++ {
		each(p.Prefixes[i], nil)
	}
}

// next is the next page, which may have been asked for already. From the second page on the one behind it is asked for at once: who reads so far
// mostly reads on.
func (d *Directory) next(ctx context.Context) (s3.Page, time.Time, error) {
	r := s3.ListRequest{Prefix: d.o.Prefix, Delimiter: "/", Token: d.token}
	a := d.ahead
	if a != nil {
		select {
		case <-a.done:
		case <-ctx.Done():
			return s3.Page{}, time.Time{}, context.Cause(ctx)
		}
		d.ahead = nil
	}
	if a == nil || a.err != nil {
		a = &ahead{asked: time.Now()}
		if a.page, a.err = d.o.Lister.List(ctx, r); a.err != nil {
			return s3.Page{}, time.Time{}, a.err
		}
	}
	if d.token != "" && a.page.Next != "" {
		r.Token = a.page.Next
		b := &ahead{done: make(chan struct{}), asked: time.Now()}
		d.ahead = b
		// Who interrupts this call doesn't mean the page behind it; the client bounds how long it takes.
		ctx := context.WithoutCancel(ctx)
		go func() {
			defer close(b.done)
			b.page, b.err = d.o.Lister.List(ctx, r)
		}()
	}
	return a.page, a.asked, nil
}
