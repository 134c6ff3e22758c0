package listing

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/names"
	"github.com/strata-csi/strata/pkg/s3"
)

// keys is a bucket that can hold what the servers for tests can't, such as d beside d/. It lists by the rules of ListObjectsV2.
type keys struct {
	all  []string // in order
	size int      // of a page
	fail error
}

func (k *keys) add(key string) {
	if i, found := slices.BinarySearch(k.all, key); !found {
		k.all = slices.Insert(k.all, i, key)
	}
}

func (k *keys) remove(key string) {
	if i, found := slices.BinarySearch(k.all, key); found {
		k.all = slices.Delete(k.all, i, i+1)
	}
}

func (k *keys) List(_ context.Context, r s3.ListRequest) (s3.Page, error) {
	if k.fail != nil {
		return s3.Page{}, k.fail
	}
	var p s3.Page
	after := r.After
	if r.Token != "" {
		after = r.Token
	}
	n, last := 0, ""
	for _, key := range k.all {
		rest, ok := strings.CutPrefix(key, r.Prefix)
		if !ok || key <= after {
			continue
		}
		item := key
		head, _, dir := strings.Cut(rest, r.Delimiter)
		if dir {
			item = r.Prefix + head + r.Delimiter
		}
		// A token goes on behind a whole common prefix, StartAfter doesn't.
		if item == last || r.Token != "" && item <= after {
			continue
		}
		if n++; n > k.size {
			p.Next = last
			return p, nil
		}
		if last = item; dir {
			p.Prefixes = append(p.Prefixes, item)
		} else {
			p.Objects = append(p.Objects, s3.Object{Key: key, Size: int64(len(key)), ETag: "e"})
		}
	}
	return p, nil
}

func all(t *testing.T, d *Directory) []Numbered {
	t.Helper()
	var entries []Numbered
	for n := uint64(0); ; {
		got, err := d.From(t.Context(), n, 1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(got) == 0 {
			return entries
		}
		// Not all of what is given is taken at once.
		got = got[:1+len(got)/2]
		entries = append(entries, got...)
		n = got[len(got)-1].Number + 1
	}
}

func show(entries []Numbered) string {
	var shown []string
	for _, e := range entries {
		name := e.Name
		if e.Dir {
			name += "/"
		}
		if e.Beside {
			name += "|"
		}
		shown = append(shown, name)
	}
	slices.Sort(shown)
	return strings.Join(shown, " ")
}

func TestEntries(t *testing.T) {
	long := strings.Repeat("x", 256)
	for _, c := range []struct {
		name   string
		keys   []string
		first  []Entry
		want   string
		hidden int
	}{
		{"nothing", nil, nil, "", 0},
		{"files and directories", []string{"p/a", "p/b/c", "p/b/d", "p/c", "q"}, nil, "a b/ c", 0},
		{"the marker of the directory", []string{"p/", "p/a"}, nil, "a", 0},
		{"the marker of another", []string{"p/d/"}, nil, "d/", 0},
		{"an object beside a directory", []string{"p/d", "p/d/x"}, nil, "%%d%| d/", 0},
		{"others between them", []string{"p/d", "p/d-", "p/d-/y", "p/d-1", "p/d.txt", "p/d/x", "p/d0"}, nil, "%%d%| %%d-%| d-/ d-1 d.txt d/ d0", 0},
		{"segments that are no names", []string{"p//x", "p/./x", "p/..", "p/%%"}, nil, "%%%25%25 %%%2E%2E %%%2E/ %%/", 0},
		{"names that are too long", []string{"p/" + long, "p/" + long + "y/z", "p/a"}, nil, "a", 2},
		{"hidden ones", []string{"p/.strata/owner.json", "p/.strata", "p/.strata2"}, nil, ".strata2", 0},
		{"a file that is in the store by now", []string{"p/a", "p/new"}, []Entry{{Name: "new"}, {Name: "other"}}, "a new other", 0},
	} {
		slices.Sort(c.keys)
		for size := 1; size < 5; size++ {
			d := Open(Options{Lister: &keys{all: c.keys, size: size}, Prefix: "p/", First: c.first, Hide: func(s string) bool { return s == ".strata" }})
			if got := show(all(t, d)); got != c.want {
				t.Errorf("%s, %d a page: got %s, want %s", c.name, size, got, c.want)
			}
			if got := d.Hidden(); got != c.hidden {
				t.Errorf("%s, %d a page: %d keys are hidden, want %d", c.name, size, got, c.hidden)
			}
		}
	}
}

// Whatever the bucket holds: every key is shown at exactly one name, and no name twice.
func TestRandomBuckets(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 2))
		b := &keys{size: 1 + r.IntN(6)}
		for range r.IntN(40) {
			key := ""
			for range 1 + r.IntN(5) {
				key += []string{"a", "b", "-", "/", "0", "%", "."}[r.IntN(7)]
			}
			b.add("p/" + key)
		}
		want := map[string]bool{}
		for _, key := range b.all {
			segment, _, dir := strings.Cut(strings.TrimPrefix(key, "p/"), "/")
			name, _ := names.Of(segment)
			if dir {
				want[name+"/"] = true
			} else if slices.ContainsFunc(b.all, func(o string) bool { return strings.HasPrefix(o, key+"/") }) {
				name, _ = names.OfBeside(segment)
				want[name+"|"] = true
			} else {
				want[name] = true
			}
		}
		var shown []string
		for name := range want {
			shown = append(shown, name)
		}
		slices.Sort(shown)
		got := all(t, Open(Options{Lister: b, Prefix: "p/", KeptPages: 1 + r.IntN(3)}))
		if show(got) != strings.Join(shown, " ") {
			t.Fatalf("seed %d: got %s\nwant %s\nof %q", seed, show(got), strings.Join(shown, " "), b.all)
		}
		for i := 1; i < len(got); i++ {
			if got[i].Number <= got[i-1].Number {
				t.Fatalf("seed %d: number %d comes behind %d", seed, got[i].Number, got[i-1].Number)
			}
		}
	}
}

// A number means the same entry as long as the directory is open, whatever happens to the others.
func TestNumbersStay(t *testing.T) {
	for seed := range uint64(100) {
		r := rand.New(rand.NewPCG(seed, 3))
		b := &keys{size: 7}
		for i := range 200 {
			b.add(fmt.Sprintf("f%03d", i))
			if i%10 == 0 {
				b.add(fmt.Sprintf("f%03d/x", i))
				b.add(fmt.Sprintf("f%03d-y", i))
			}
		}
		d := Open(Options{Lister: b, KeptPages: 2, First: []Entry{{Name: "new"}}})
		before := map[string]uint64{}
		for _, e := range all(t, d) {
			before[e.Name] = e.Number
		}
		for range 50 {
			b.remove(b.all[r.IntN(len(b.all))])
			b.add(fmt.Sprintf("f%03d+", r.IntN(200)))
		}
		left := map[string]bool{"new": true}
		for _, e := range all(t, Open(Options{Lister: b})) {
			left[e.Name] = true
		}
		from := uint64(r.IntN(len(before)))
		shown := map[string]bool{}
		for n := from; ; {
			got, err := d.From(t.Context(), n, 1000)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) == 0 {
				break
			}
			for _, e := range got {
				if number, had := before[e.Name]; !had || number != e.Number {
					t.Fatalf("seed %d: %s has number %d, and had %d, %v", seed, e.Name, e.Number, number, had)
				}
				shown[e.Name] = true
			}
			n = got[len(got)-1].Number + 1
		}
		for name, number := range before {
			if number >= from && left[name] && !shown[name] {
				t.Fatalf("seed %d: %s with number %d is missing from %d on", seed, name, number, from)
			}
		}
		if len(d.kept) > 2 {
			t.Fatalf("%d pages are kept", len(d.kept))
		}
	}
}

func TestAnErrorIsToldAndTheNextCallGoesOn(t *testing.T) {
	b := &keys{all: []string{"a", "b", "c", "d", "e"}, size: 1, fail: errors.New("no answer")}
	d := Open(Options{Lister: b})
	if _, err := d.From(t.Context(), 0, 1000); !errors.Is(err, b.fail) {
		t.Errorf("got %v", err)
	}
	b.fail = nil
	if got := show(all(t, d)); got != "a b c d e" {
		t.Errorf("got %s", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	<-d.mu // somebody else lists
	if _, err := d.From(ctx, 0, 1000); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for another: %v", err)
	}
	d.unlock()
}
