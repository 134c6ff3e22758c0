// Package pages answers what single names of a directory are from pages of its listing, while they are young enough.
//
// Who looks at many names of a directory one after the other would ask the store twice for each: for the object, and for what is below a directory of that name. A page of the listing says both for up to a thousand names. It is asked
// for where that is likely to pay: when names of the directory are asked for in quick succession, or after it was listed; and less and less often where pages were of no use, as to a program that looks at names of a huge directory at random.
//
// What this mount changes itself must be seen at once, so a name that was changed isn't answered from any page that was asked for before the change had ended (Changed).
package pages

import (
	"container/list"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/strata-csi/strata/pkg/s3"
)

const (
	// maxPages is how many are kept of all directories, maxOfOne of one. A page has up to 1,000 objects, about 200 KB.
	maxPages = 64
	maxOfOne = 16
	// maxDirectories is of how many directories it is known what pages were of use.
	maxDirectories = 1024
	// maxChanged is how many names of a page may be changed before it is dropped.
	maxChanged = 1024

	// quick is how many names are asked for, each within the life of a page after the one before it, until a page is asked for in the place of the last.
	quick = 3
	// firstSize is how many keys the first page of a directory has, when nothing says that it will be of use; others have what the store gives, which is 1,000.
	firstSize = 100
	// enough answers of a page have paid for it.
	enough = 4
	// maxFailures: after n pages in a row that didn't pay, the next one is asked for after quick<<n names.
	maxFailures = 8
	// maxAhead is how many objects are asked for at once.
	maxAhead = 32
)

// Name is a name in a directory: the key of its object is Prefix + Segment.
type Name struct {
	Directory uint64 // a number that no other directory ever has
	Prefix    string // "" or ends with '/'
	Segment   string
}

// Answer is what a page says of a name. With neither Dir nor a key in Object there was nothing, which doesn't count as an answer that was of use.
type Answer struct {
	Dir    bool      // there are keys below the name
	Object s3.Object // without metadata unless Known
	Known  bool
	// Asked is when the store was asked. What happened later may not be seen.
	Asked time.Time

	page  *page
	index int // of Object
}

// Pages are the pages of all directories of a mount. The zero value is ready, its methods may be called at once, and none waits for anything.
type Pages struct {
	mu          sync.Mutex
	directories map[uint64]*directory
	recent      list.List // of *directory, the last used first
	count       int       // pages of all
}

type directory struct {
	id      uint64
	element *list.Element
	pages   []*page // the last asked for first

	asks    bool      // a page is under way for who looks at names
	asked   int       // names in quick succession that no page answered
	last    time.Time // the last of them
	likely  bool      // the next page is likely to pay
	trial   *page     // the last page that was asked for by who looks at names; nil: it was judged
	failure int       // how many in a row didn't pay
}

// page is a part of a listing: all keys behind after and up to end.
type page struct {
	of      *directory
	prefix  string
	after   string
	end     string // "" when whole
	whole   bool   // it goes to the end of the listing
	got     s3.Page
	asked   time.Time
	ready   bool
	dropped bool
	hits    int
	changed map[string]bool // segments
	known   map[int]known   // objects that were asked for, by their index
	next    int             // the index behind those that were asked for last
	window  int
}

// known is an object with its metadata.
type known struct {
	object s3.Object
	asked  time.Time
}

// Find is what a page says that was asked for after since; false: none says anything of the name.
func (p *Pages) Find(n Name, since time.Time) (Answer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.directories[n.Directory]
	if d == nil {
		return Answer{}, false
	}
	for _, g := range d.pages {
		if a, ok := g.find(n, since); ok {
			if a.Dir || a.Object.Key != "" {
				g.hits++
			}
			return a, true
		}
	}
	return Answer{}, false
}

func (g *page) find(n Name, since time.Time) (Answer, bool) {
	key := n.Prefix + n.Segment
	below := key + "/"
	if !g.ready || g.prefix != n.Prefix || !g.asked.After(since) || g.changed[n.Segment] || key <= g.after || !g.whole && below > g.end {
		return Answer{}, false
	}
	a := Answer{Asked: g.asked, page: g}
	_, a.Dir = slices.BinarySearch(g.got.Prefixes, below)
	if i, ok := g.index(key); ok {
		a.Object, a.index = g.got.Objects[i], i
		if k, ok := g.known[i]; ok {
			a.Object, a.Asked, a.Known = k.object, k.asked, true
		}
	}
	return a, true
}

// index finds an object.
func (g *page) index(key string) (int, bool) {
	return slices.BinarySearchFunc(g.got.Objects, key, func(o s3.Object, key string) int { return strings.Compare(o.Key, key) })
}

// Asked is a page that is asked for.
type Asked struct {
	Request s3.ListRequest
	page    *page
	names   bool // by who looks at names
}

// Ask tells whether a page is to be asked for, as no page that was asked for after since says anything of a name: then it is to be kept or dropped. At most one is under way for each directory.
func (p *Pages) Ask(n Name, since time.Time) (*Asked, bool) {
	after, ok := before(n)
	if !ok {
		return nil, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.directory(n.Directory)
	if d.asks {
		return nil, false
	}
	if !d.last.After(since) {
		d.asked, d.failure = 0, max(0, d.failure-1)
	}
	d.last = time.Now()
	d.asked++
	d.judge()
	size := 0
	switch {
	case d.likely:
	case d.asked < quick<<d.failure:
		return nil, false
	default:
		size = firstSize
	}
	d.asks, d.asked, d.likely = true, 0, false
	g := p.begin(d, n.Prefix, after)
	d.trial = g
	return &Asked{Request: s3.ListRequest{Prefix: n.Prefix, Delimiter: "/", After: after, Max: size}, page: g, names: true}, true
}

// judge looks back at the last page that was asked for.
func (d *directory) judge() {
	g := d.trial
	if g == nil {
		return
	}
	d.trial = nil
	if g.ready && g.hits >= min(enough, max(1, len(g.got.Objects)+len(g.got.Prefixes))) {
		d.failure, d.likely = 0, true
		return
	}
	d.failure = min(d.failure+1, maxFailures)
}

// before is a key right before that of a name, as far as one can be written: what is between them takes room in the page, and harms nothing else.
func before(n Name) (string, bool) {
	last, size := utf8.DecodeLastRuneInString(n.Segment)
	// XML can't have most control characters, and a space may be lost.
	if last == utf8.RuneError || last <= '!' || last == '\ue000' {
		return "", false
	}
	key := n.Prefix + n.Segment[:len(n.Segment)-size] + string(last-1) + highest
	return key, len(key) <= s3.MaxKeyLength
}

// highest is behind all that keys have, mostly: a letter of the last plane, for private use.
const highest = "\U0010fffd"

// begin enters a page that is about to be asked for, so that it notices what is changed from now on.
func (p *Pages) begin(d *directory, prefix, after string) *page {
	g := &page{of: d, prefix: prefix, after: after, asked: time.Now(), changed: map[string]bool{}, known: map[int]known{}, next: -1}
	d.pages = slices.Insert(d.pages, 0, g)
	p.count++
	for len(d.pages) > maxOfOne {
		p.drop(d.pages[len(d.pages)-1])
	}
	for e := p.recent.Back(); p.count > maxPages && e != nil; e = e.Prev() {
		for _, old := range slices.Backward(slices.Clone(e.Value.(*directory).pages)) {
			if p.count > maxPages && old != g {
				p.drop(old)
			}
		}
	}
	return g
}

// Keep keeps what was asked for.
func (p *Pages) Keep(a *Asked, got s3.Page) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.done()
	g := a.page
	if g.dropped {
		return
	}
	// A store that doesn't keep the order can't be believed that what isn't there is nowhere.
	if !slices.IsSortedFunc(got.Objects, func(x, y s3.Object) int { return strings.Compare(x.Key, y.Key) }) || !slices.IsSorted(got.Prefixes) {
		p.drop(g)
		return
	}
	g.got, g.whole, g.ready, g.end = got, got.Next == "", true, end(got)
}

// end is the last key or prefix of a page.
func end(got s3.Page) string {
	last := ""
	if n := len(got.Objects); n > 0 {
		last = got.Objects[n-1].Key
	}
	if n := len(got.Prefixes); n > 0 {
		last = max(last, got.Prefixes[n-1])
	}
	return last
}

// Drop ends what was asked for in vain.
func (p *Pages) Drop(a *Asked) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a.done()
	p.drop(a.page)
}

func (a *Asked) done() {
	if a.names {
		a.page.of.asks = false
	}
}

func (p *Pages) drop(g *page) {
	if g.dropped {
		return
	}
	g.dropped = true
	d := g.of
	d.pages = slices.DeleteFunc(d.pages, func(x *page) bool { return x == g })
	p.count--
}

// directory finds or makes what is known of a directory.
func (p *Pages) directory(id uint64) *directory {
	d := p.directories[id]
	if d != nil {
		p.recent.MoveToFront(d.element)
		return d
	}
	if p.directories == nil {
		p.directories = map[uint64]*directory{}
	}
	d = &directory{id: id}
	d.element = p.recent.PushFront(d)
	p.directories[id] = d
	if len(p.directories) > maxDirectories {
		p.forget(p.recent.Back().Value.(*directory))
	}
	return d
}

func (p *Pages) forget(d *directory) {
	for _, g := range slices.Clone(d.pages) {
		p.drop(g)
	}
	p.recent.Remove(d.element)
	delete(p.directories, d.id)
}

// Changed is told when this mount has changed a name, or has found that it isn't what was shown.
func (p *Pages) Changed(directory uint64, segment string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.directories[directory]
	if d == nil {
		return
	}
	for _, g := range slices.Clone(d.pages) {
		g.changed[segment] = true
		if len(g.changed) > maxChanged {
			p.drop(g)
		}
	}
}

// Clear is told when more was changed than can be said by name.
func (p *Pages) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.directories {
		for _, g := range slices.Clone(d.pages) {
			p.drop(g)
		}
	}
}

// Expire drops all pages that were asked for before a time.
func (p *Pages) Expire(before time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, d := range p.directories {
		for _, g := range slices.Clone(d.pages) {
			if g.ready && g.asked.Before(before) {
				p.drop(g)
			}
		}
	}
}
