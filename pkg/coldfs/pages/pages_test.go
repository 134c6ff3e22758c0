package pages

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/s3"
)

// store lists keys by the rules of ListObjectsV2.
type store struct {
	keys  []string
	size  int // of a page
	fail  error
	asked int
}

func (s *store) List(_ context.Context, r s3.ListRequest) (s3.Page, error) {
	s.asked++
	if s.fail != nil {
		return s3.Page{}, s.fail
	}
	slices.Sort(s.keys)
	var p s3.Page
	after, last, n := max(r.After, r.Token), "", 0
	for _, key := range s.keys {
		rest, ok := strings.CutPrefix(key, r.Prefix)
		if !ok || key <= after {
			continue
		}
		item := key
		head, _, dir := strings.Cut(rest, "/")
		if dir {
			item = r.Prefix + head + "/"
		}
		if item == last || item <= r.Token {
			continue
		}
		if size := s.size; n == size || r.Max > 0 && n == r.Max {
			p.Next = last
			return p, nil
		}
		n++
		if last = item; dir {
			p.Prefixes = append(p.Prefixes, item)
		} else {
			p.Objects = append(p.Objects, s3.Object{Key: key})
		}
	}
	return p, nil
}

func many(n int) []string {
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("p/f%04d", i))
	}
	return keys
}

func name(segment string) Name { return Name{Directory: 1, Prefix: "p/", Segment: segment} }

var always = time.Time{}.Add(time.Hour) // before everything

// lookup does what an engine does with a name; paged: a page has the answer.
func lookup(t *testing.T, p *Pages, s *store, n Name) (a Answer, paged bool) {
	t.Helper()
	if a, ok := p.Find(n, always); ok {
		return a, true
	}
	asked, ok := p.Ask(n, always)
	if !ok {
		return Answer{}, false
	}
	got, err := s.List(t.Context(), asked.Request)
	if err != nil {
		p.Drop(asked)
		return Answer{}, false
	}
	p.Keep(asked, got)
	return p.Find(n, always)
}

func TestAnswersAreTheStores(t *testing.T) {
	s := &store{size: 1000, keys: []string{"p/", "p/a", "p/b/x", "p/b/y", "p/c", "p/c-1", "p/c.d/x", "p/c/x", "p/z", "q/zz"}}
	var p Pages
	p.listed(1, "p/", "") // is never answered
	for segment, want := range map[string]string{"a": "a", "b": "/", "c": "c/", "c-1": "c-1", "c.d": "/", "z": "z", "zz": "", "aa": "", "0": "", "x": ""} {
		p.Clear()
		p.listed(1, "p/", "")
		a, ok := lookup(t, &p, s, name(segment))
		got := strings.TrimPrefix(a.Object.Key, "p/")
		if a.Dir {
			got += "/"
		}
		if !ok || got != want {
			t.Errorf("%q is %q (%v), want %q", segment, got, ok, want)
		}
	}
}

// Whatever page it is: what it says is what the store has.
func TestAPageSaysNothingBeyondItsEnds(t *testing.T) {
	s := &store{keys: []string{"p/a", "p/a-", "p/a-1", "p/a.b/x", "p/a/x", "p/b", "p/b!", "p/b0", "p/b/y", "p/c", "p/c/z", "p/d/1", "p/d/2", "p/e"}}
	all, err := (&store{keys: s.keys, size: 1000}).List(t.Context(), s3.ListRequest{Prefix: "p/", Delimiter: "/"})
	if err != nil {
		t.Fatal(err)
	}
	for s.size = 1; s.size < 12; s.size++ {
		for _, from := range []string{"a", "a-", "b", "b0", "c", "d", "e", "f"} {
			var p Pages
			p.listed(1, "p/", "")
			lookup(t, &p, s, name(from))
			said := 0
			for _, segment := range []string{"a", "a-", "a-1", "a.b", "b", "b!", "b0", "c", "d", "e", "0", "aa", "bb", "f", "~"} {
				a, ok := p.Find(name(segment), always)
				if !ok {
					continue
				}
				said++
				object := slices.ContainsFunc(all.Objects, func(o s3.Object) bool { return o.Key == "p/"+segment })
				if dir := slices.Contains(all.Prefixes, "p/"+segment+"/"); a.Dir != dir || (a.Object.Key != "") != object {
					t.Errorf("a page of %d from %q on says of %q: %+v", s.size, from, segment, a)
				}
			}
			if said == 0 && s.size > 4 {
				t.Errorf("a page of %d from %q on says nothing", s.size, from)
			}
		}
	}
}

func TestWhatWasChangedIsntAnswered(t *testing.T) {
	s := &store{size: 1000, keys: many(100)}
	fill := func() *Pages {
		p := &Pages{}
		p.listed(1, "p/", "")
		if _, ok := lookup(t, p, s, name("f0001")); !ok {
			t.Fatal("no page has the name")
		}
		return p
	}
	found := func(p *Pages, n Name, since time.Time) bool { _, ok := p.Find(n, since); return ok }
	t.Run("a name", func(t *testing.T) {
		p := fill()
		p.Changed(1, "f0005")
		if found(p, name("f0005"), always) || !found(p, name("f0006"), always) {
			t.Error("it is answered, or another isn't")
		}
		p.Changed(2, "f0006")
		if !found(p, name("f0006"), always) {
			t.Error("what was changed in another directory isn't answered here")
		}
	})
	t.Run("while the page is under way", func(t *testing.T) {
		p := &Pages{}
		p.listed(1, "p/", "")
		asked, ok := p.Ask(name("f0001"), always)
		if !ok {
			t.Fatal("no page is asked for")
		}
		p.Changed(1, "f0005")
		got, _ := s.List(t.Context(), asked.Request)
		p.Keep(asked, got)
		if found(p, name("f0005"), always) || !found(p, name("f0006"), always) {
			t.Error("it is answered, or another isn't")
		}
	})
	t.Run("everything while the page is under way", func(t *testing.T) {
		p := &Pages{}
		p.listed(1, "p/", "")
		asked, _ := p.Ask(name("f0001"), always)
		p.Clear()
		got, _ := s.List(t.Context(), asked.Request)
		p.Keep(asked, got)
		if found(p, name("f0005"), always) {
			t.Error("it is answered")
		}
	})
	t.Run("the place of the directory", func(t *testing.T) {
		if found(fill(), Name{Directory: 1, Prefix: "q/", Segment: "f0005"}, always) {
			t.Error("it is answered")
		}
	})
	t.Run("before it is shown", func(t *testing.T) {
		p := fill()
		if found(p, name("f0005"), time.Now()) {
			t.Error("what is too old is answered")
		}
		p.Expire(time.Now())
		if found(p, name("f0005"), always) {
			t.Error("what has expired is answered")
		}
	})
	t.Run("more names than are kept", func(t *testing.T) {
		p := fill()
		for i := range maxChanged + 1 {
			p.Changed(1, fmt.Sprint(i))
		}
		if found(p, name("f0005"), always) {
			t.Error("the page is there still")
		}
	})
	t.Run("an object that was asked for and is gone", func(t *testing.T) {
		p := fill()
		a, _ := p.Find(name("f0005"), always)
		p.Inspected(a, "p/f0006", s3.Object{}, time.Now())
		if found(p, name("f0006"), always) || !found(p, name("f0005"), always) {
			t.Error("it is answered, or another isn't")
		}
	})
}

// A store that mixes up the order is asked for each name.
func TestAStoreWithoutOrder(t *testing.T) {
	p := &Pages{}
	p.listed(1, "p/", "")
	asked, _ := p.Ask(name("a"), always)
	p.Keep(asked, s3.Page{Objects: []s3.Object{{Key: "p/c"}, {Key: "p/a"}}})
	if _, ok := p.Find(name("a"), always); ok {
		t.Error("its page is believed")
	}
}

func TestWhenPagesAreAskedFor(t *testing.T) {
	for _, c := range []struct {
		name   string
		keys   int
		listed bool
		of     func(i int) int // of which file the lookup i is
		// lookups, and of them how many no page answers; and pages
		lookups, misses, pages int
	}{
		{"two names", 100, false, func(i int) int { return i }, 2, 2, 0},
		{"all in order", 5000, false, func(i int) int { return i }, 5000, 2, 6},
		{"all in order after the directory was listed", 5000, true, func(i int) int { return i }, 5000, 0, 6},
		{"backwards", 300, false, func(i int) int { return 299 - i }, 64, 60, 4},
		{"far from each other", 50_000, false, func(i int) int { return i * 7919 % 50_000 }, 3000, 2949, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &store{size: 1000}
			for i := range c.keys {
				s.keys = append(s.keys, fmt.Sprintf("p/f%05d", i))
			}
			var p Pages
			if c.listed {
				p.Drop(p.listed(1, "p/", ""))
			}
			misses := 0
			for i := range c.lookups {
				if a, ok := lookup(t, &p, s, name(fmt.Sprintf("f%05d", c.of(i)))); !ok {
					misses++
				} else if a.Object.Key == "" {
					t.Fatalf("a page says that file %d isn't there", c.of(i))
				}
			}
			if misses != c.misses || s.asked != c.pages {
				t.Errorf("%d lookups had no page, want %d, and %d pages were asked for, want %d", misses, c.misses, s.asked, c.pages)
			}
		})
	}
}

// One page at a time: who comes meanwhile asks for his name alone.
func TestOnePageAtATime(t *testing.T) {
	p := &Pages{}
	p.listed(1, "p/", "")
	first, ok := p.Ask(name("a"), always)
	if !ok {
		t.Fatal("no page is asked for")
	}
	p.listed(1, "p/", "")
	if _, ok := p.Ask(name("b"), always); ok {
		t.Error("a second one is asked for")
	}
	p.Drop(first)
	if _, ok := p.Ask(name("b"), always); !ok {
		t.Error("after it failed no other one is asked for")
	}
}

func TestNamesThatNoKeyIsRightBefore(t *testing.T) {
	for _, segment := range []string{"a!", "a ", "a\x7f\x01", strings.Repeat("x", s3.MaxKeyLength), "\xff"} {
		p := &Pages{}
		p.listed(1, "p/", "")
		if _, ok := p.Ask(name(segment), always); ok {
			t.Errorf("%q: a page is asked for", segment)
		}
	}
}

// However much is looked at, what is kept is bounded.
func TestBounds(t *testing.T) {
	p := &Pages{}
	for id := range uint64(3 * maxDirectories) {
		for range maxOfOne + 2 {
			p.Keep(p.listed(id, "p/", ""), s3.Page{})
		}
		if n := len(p.directories[id].pages); n > maxOfOne {
			t.Fatalf("%d pages of one directory", n)
		}
	}
	kept := 0
	for _, d := range p.directories {
		kept += len(d.pages)
	}
	if len(p.directories) > maxDirectories || kept > maxPages || kept != p.count || p.recent.Len() != len(p.directories) {
		t.Errorf("%d pages of %d directories are kept, and counted as %d of %d", kept, len(p.directories), p.count, p.recent.Len())
	}
}

func TestMetadataIsAskedForAhead(t *testing.T) {
	s := &store{size: 1000, keys: many(200)}
	p := &Pages{}
	p.listed(1, "p/", "")
	var counts []int
	for i := range 100 {
		a, ok := lookup(t, p, s, name(fmt.Sprintf("f%04d", i)))
		if !ok {
			t.Fatalf("no page has file %d", i)
		}
		if a.Known {
			if a.Object.ETag != "known" {
				t.Fatalf("file %d is %+v", i, a.Object)
			}
			continue
		}
		objects := p.Ahead(a, maxAhead)
		counts = append(counts, len(objects))
		if objects[0].Key != a.Object.Key {
			t.Fatalf("for %s, first %s is asked for", a.Object.Key, objects[0].Key)
		}
		for _, o := range objects {
			o.ETag = "known"
			p.Inspected(a, o.Key, o, time.Now())
		}
	}
	if want := []int{1, 2, 4, 8, 16, 32, 32, 32}; !slices.Equal(counts, want) {
		t.Errorf("asked for at once were %v, want %v", counts, want)
	}
	// Somebody who jumps gets what he asks for alone.
	for _, i := range []int{180, 150, 199} {
		a, ok := p.Find(name(fmt.Sprintf("f%04d", i)), always)
		if !ok {
			t.Fatalf("no page has file %d", i)
		}
		if n := len(p.Ahead(a, maxAhead)); n != 1 {
			t.Errorf("for file %d, %d objects are asked for", i, n)
		}
	}
}

// A directory that somebody has read is known, page by page.
func TestRecorder(t *testing.T) {
	s := &store{size: 30, keys: many(100)}
	p := &Pages{}
	r := p.Record(1, s)
	for q := (s3.ListRequest{Prefix: "p/", Delimiter: "/"}); ; {
		got, err := r.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if got.Next == "" {
			break
		}
		q.Token = got.Next
	}
	for i := range 100 {
		a, ok := p.Find(name(fmt.Sprintf("f%04d", i)), always)
		// The last of a page says nothing: a directory of its name would be on the next one.
		if last := i%30 == 29 && i != 99; ok == last || ok && a.Object.Key != fmt.Sprintf("p/f%04d", i) {
			t.Errorf("file %d is %+v, %v", i, a, ok)
		}
	}
	// Where a page begins that somebody comes back to by an old token isn't known.
	before := p.count
	if _, err := r.List(t.Context(), s3.ListRequest{Prefix: "p/", Delimiter: "/", Token: "p/f0029"}); err != nil || p.count != before {
		t.Errorf("%v, and %d pages, want %d", err, p.count, before)
	}
	s.fail = errors.New("no")
	if _, err := r.List(t.Context(), s3.ListRequest{Prefix: "p/", Delimiter: "/"}); !errors.Is(err, s.fail) || p.count != before {
		t.Errorf("%v, and %d pages, want %d", err, p.count, before)
	}
}
