package conformance

// Listings in pages, with and without a delimiter.

import (
	"slices"
	"sync"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
)

func listings(t *testing.T, s Store) {
	b, ctx := s.bucket(t), t.Context()
	keys := slices.Concat(numbered("a/", 13), numbered("a/sub/", 3), numbered("b/", 3), []string{"a0", "c", "ab/x"})
	slices.Sort(keys)
	var wait sync.WaitGroup
	for _, k := range keys {
		wait.Go(func() { _, _ = write(t, b, k, k, s3.WriteOptions{}) })
	}
	wait.Wait()
	if t.Failed() {
		return
	}
	for _, size := range []int{0, 1, 4, 1000} {
		got, _ := pages(t, b, s3.ListRequest{Max: size})
		if !slices.Equal(got, keys) {
			t.Errorf("in pages of %d: %q, want %q", size, got, keys)
		}
		got, prefixes := pages(t, b, s3.ListRequest{Max: size, Delimiter: "/"})
		if !slices.Equal(got, []string{"a0", "c"}) || !slices.Equal(prefixes, []string{"a/", "ab/", "b/"}) {
			t.Errorf("the top in pages of %d: %q and %q", size, got, prefixes)
		}
		got, prefixes = pages(t, b, s3.ListRequest{Max: size, Delimiter: "/", Prefix: "a/"})
		if !slices.Equal(got, numbered("a/", 13)) || !slices.Equal(prefixes, []string{"a/sub/"}) {
			t.Errorf("a directory in pages of %d: %q and %q", size, got, prefixes)
		}
	}
	// From right before a name, as pkg/coldfs/pages asks.
	const highest = "\U0010fffd"
	for _, c := range []struct {
		prefix, after   string
		names, prefixes []string
	}{
		{"", "ab" + highest, []string{"c"}, []string{"b/"}},
		{"a/", "a/0004" + highest, numbered("a/", 13)[5:], []string{"a/sub/"}},
		{"a/", "a/sua" + highest, nil, []string{"a/sub/"}},
		{"a/", "a/sub" + highest, nil, nil},
	} {
		got, prefixes := pages(t, b, s3.ListRequest{Prefix: c.prefix, Delimiter: "/", After: c.after})
		if !slices.Equal(got, c.names) || !slices.Equal(prefixes, c.prefixes) {
			t.Errorf("below %q behind %q: %q and %q, want %q and %q", c.prefix, c.after, got, prefixes, c.names, c.prefixes)
		}
	}
	got, _ := pages(t, b, s3.ListRequest{After: "a/0005", Prefix: "a/"})
	if want := slices.Concat(numbered("a/", 13)[6:], numbered("a/sub/", 3)); !slices.Equal(got, want) {
		t.Errorf("behind a key: %q, want %q", got, want)
	}
	page, err := b.List(ctx, s3.ListRequest{Prefix: "none/"})
	if err != nil || len(page.Objects)+len(page.Prefixes) > 0 || page.Next != "" {
		t.Errorf("nothing: %+v, %v", page, err)
	}
	page, err = b.List(ctx, s3.ListRequest{Prefix: "c"})
	if err != nil || len(page.Objects) != 1 {
		t.Fatalf("one: %+v, %v", page, err)
	}
	o, err := b.Head(ctx, "c")
	if l := page.Objects[0]; err != nil || l.ETag != o.ETag || l.Size != 1 || l.Modified.Unix() != o.Modified.Unix() || l.Metadata != nil {
		t.Errorf("listed as %+v, described as %+v, %v", l, o, err)
	}
}

// pages reads a listing to its end.
func pages(t *testing.T, b *s3.Bucket, r s3.ListRequest) (keys, prefixes []string) {
	t.Helper()
	for {
		page, err := b.List(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		keys, prefixes = append(keys, keysOf(page)...), append(prefixes, page.Prefixes...)
		if r.Max > 0 && len(page.Objects)+len(page.Prefixes) > r.Max {
			t.Errorf("a page of %d has %d", r.Max, len(page.Objects)+len(page.Prefixes))
		}
		if page.Next == "" {
			return keys, prefixes
		}
		r.Token, r.After = page.Next, ""
	}
}
