package pages

// What is listed anyway, for who reads a directory: who does that often looks at its names next.

import (
	"context"
	"sync"

	"github.com/strata-csi/strata/pkg/s3"
)

// Lister is what is asked of a bucket.
type Lister interface {
	List(ctx context.Context, r s3.ListRequest) (s3.Page, error)
}

// Recorder is a Lister for who reads one directory from its beginning.
type Recorder struct {
	pages     *Pages
	directory uint64
	lister    Lister

	mu    sync.Mutex
	token string // of the next page
	end   string // what that is behind
}

// Record lists with l and keeps the pages of one directory.
func (p *Pages) Record(directory uint64, l Lister) *Recorder {
	return &Recorder{pages: p, directory: directory, lister: l}
}

// List implements Lister.
func (r *Recorder) List(ctx context.Context, q s3.ListRequest) (s3.Page, error) {
	after := q.After
	if q.Token != "" {
		r.mu.Lock()
		after = r.end
		known := r.token == q.Token
		r.mu.Unlock()
		if !known { // where it begins isn't known
			return r.lister.List(ctx, q)
		}
	}
	a := r.pages.listed(r.directory, q.Prefix, after)
	got, err := r.lister.List(ctx, q)
	if err != nil {
		r.pages.Drop(a)
		return got, err
	}
	r.mu.Lock()
	r.token, r.end = got.Next, end(got)
	r.mu.Unlock()
	r.pages.Keep(a, got)
	return got, nil
}

// listed enters a page of a listing.
func (p *Pages) listed(id uint64, prefix, after string) *Asked {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.directory(id)
	d.likely, d.failure = true, 0
	return &Asked{page: p.begin(d, prefix, after)}
}
