package pages

// Metadata, which no page has: where it is needed, the objects that follow are asked for at the same time, the more the longer somebody goes through a page in order.

import (
	"time"

	"github.com/strata-csi/strata/pkg/s3"
)

// Ahead are the objects whose metadata is to be asked for when that of an answer's is: its own first, and up to most-1 of those behind it.
func (p *Pages) Ahead(a Answer, most int) []s3.Object {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := a.page
	if a.index == g.next {
		g.window = min(2*g.window, maxAhead)
	} else {
		g.window = 1
	}
	objects := []s3.Object{a.Object}
	at := a.index + 1
	for ; at < len(g.got.Objects) && len(objects) < min(g.window, most); at++ {
		if _, ok := g.known[at]; !ok {
			objects = append(objects, g.got.Objects[at])
		}
	}
	g.next = at
	return objects
}

// Inspected keeps an object of the page of an answer with its metadata, for which the store was asked at a time. Without a key: it is gone.
func (p *Pages) Inspected(a Answer, key string, o s3.Object, asked time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	g := a.page
	i, ok := g.index(key)
	switch {
	case !ok || g.dropped:
	case o.Key == "":
		g.changed[key[len(g.prefix):]] = true
	default:
		g.known[i] = known{o, asked}
	}
}
