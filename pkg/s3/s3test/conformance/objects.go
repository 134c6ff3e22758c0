package conformance

// Whole objects: written, described, read, copied, removed.

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/s3"
)

func patience() (context.Context, func()) {
	return context.WithTimeout(context.Background(), time.Minute)
}

func is(t *testing.T, what string, err, want error) {
	t.Helper()
	if want == nil && err != nil || want != nil && !errors.Is(err, want) {
		t.Errorf("%s: got %v, want %v", what, err, want)
	}
}

func buckets(t *testing.T, s Store) {
	b := s.Open(t, "conformance-none")
	ctx := t.Context()
	is(t, "a missing bucket", b.Exists(ctx), s3.ErrNoBucket)
	is(t, "removing it", b.Remove(ctx), nil)
	_, err := b.List(ctx, s3.ListRequest{})
	is(t, "listing it", err, s3.ErrNoBucket)
	_, err = write(t, b, "k", "x", s3.WriteOptions{})
	is(t, "writing into it", err, s3.ErrNoBucket)
	_, err = b.Get(ctx, "k", "", 0, 1)
	is(t, "reading from it", err, s3.ErrNoBucket)

	b = s.bucket(t)
	is(t, "a bucket", b.Exists(ctx), nil)
	is(t, "making it again", b.Create(ctx), nil)
	put(t, b, "k", "x")
	is(t, "removing it with an object", b.Remove(ctx), s3.ErrConflict)
}

func objects(t *testing.T, s Store) {
	b, ctx := s.bucket(t), t.Context()
	metadata := map[string]string{"mode": "33188", "mtime": "1700000000.5"}
	for _, c := range []struct {
		name    string
		content []byte
		o       s3.WriteOptions
	}{
		{"empty", nil, s3.WriteOptions{Metadata: metadata}},
		{"small", []byte("content"), s3.WriteOptions{}},
		{"large", noise(6 << 20), s3.WriteOptions{Metadata: metadata}},
		{"replaced", []byte("first"), s3.WriteOptions{}},
		{"replaced", []byte("the second"), s3.WriteOptions{Metadata: metadata}},
		{"conditional", []byte("absent"), s3.WriteOptions{Condition: s3.Condition{IfAbsent: true}, Metadata: metadata}},
	} {
		key := "objects/" + c.name
		before := time.Now().Add(-time.Minute)
		made, err := b.Put(ctx, key, strings.NewReader(string(c.content)), int64(len(c.content)), c.o)
		if err != nil {
			t.Fatal(err)
		}
		o, err := b.Head(ctx, key)
		if err != nil {
			t.Fatal(err)
		}
		if o.Key != key || made.Key != key || o.Size != int64(len(c.content)) || made.Size != o.Size || o.ETag == "" || o.ETag != made.ETag || strings.Contains(o.ETag, `"`) {
			t.Errorf("%s: made %+v, described as %+v", c.name, made, o)
		}
		if d := made.Modified.Sub(o.Modified).Abs(); d > 2*time.Second || o.Modified.Before(before) {
			t.Errorf("%s: modified %s, described as %s", c.name, made.Modified, o.Modified)
		}
		if want := maps.Clone(c.o.Metadata); !maps.Equal(o.Metadata, want) || o.Metadata == nil {
			t.Errorf("%s: metadata %v, want %v", c.name, o.Metadata, want)
		}
		same(t, c.name, read(t, b, o), c.content)
	}
	_, err := b.Head(ctx, "objects/none")
	is(t, "describing what isn't there", err, s3.ErrNotFound)
	_, err = b.Get(ctx, "objects/none", "", 0, 1)
	is(t, "reading what isn't there", err, s3.ErrNotFound)
}

func ranges(t *testing.T, s Store) {
	b, ctx := s.bucket(t), t.Context()
	content := string(noise(100_000))
	o := put(t, b, "k", content)
	for _, c := range []struct{ off, n int64 }{{0, 1}, {0, 100_000}, {99_999, 1}, {12_345, 54_321}, {5, 0}} {
		body, err := b.Get(ctx, "k", o.ETag, c.off, c.n)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		body.Close()
		if err != nil || string(got) != content[c.off:c.off+c.n] {
			t.Errorf("%d bytes from %d: got %d, %v", c.n, c.off, len(got), err)
		}
	}
	for _, c := range []struct{ off, n int64 }{{100_000, 1}, {99_999, 2}, {0, 100_001}, {-1, 1}, {0, -1}} {
		_, err := b.Get(ctx, "k", o.ETag, c.off, c.n)
		is(t, "a range that isn't all there", err, s3.ErrInvalid)
	}
	put(t, b, "k", "another content")
	_, err := b.Get(ctx, "k", o.ETag, 0, 1)
	is(t, "a version that was replaced", err, s3.ErrConflict)
}

func conditionsOfPut(t *testing.T, s Store) {
	b := s.bucket(t)
	first, err := write(t, b, "k", "first", s3.WriteOptions{Condition: s3.Condition{IfAbsent: true}})
	is(t, "absent", err, nil)
	_, err = write(t, b, "k", "another", s3.WriteOptions{Condition: s3.Condition{IfAbsent: true}})
	is(t, "absent, but there", err, s3.ErrConflict)
	second, err := write(t, b, "k", "second", s3.WriteOptions{Condition: s3.Condition{IfMatch: first.ETag}})
	is(t, "as it is", err, nil)
	_, err = write(t, b, "k", "third", s3.WriteOptions{Condition: s3.Condition{IfMatch: first.ETag}})
	is(t, "as it was", err, s3.ErrConflict)
	_, err = write(t, b, "none", "x", s3.WriteOptions{Condition: s3.Condition{IfMatch: first.ETag}})
	if !errors.Is(err, s3.ErrConflict) && !errors.Is(err, s3.ErrNotFound) {
		t.Errorf("a condition of what isn't there: got %v", err)
	}
	same(t, "what stays", read(t, b, second), []byte("second"))
}

func copies(t *testing.T, s Store) {
	b, ctx := s.bucket(t), t.Context()
	content := string(noise(300_000))
	src, err := write(t, b, "dir/a b+c%d", content, s3.WriteOptions{Metadata: map[string]string{"mode": "1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, dst := range []string{"copy", "dir/a b+c%d"} { // onto itself: new metadata alone
		o, err := b.Copy(ctx, src.Key, src.ETag, dst, s3.WriteOptions{Metadata: map[string]string{"mode": "2"}})
		if err != nil {
			t.Fatal(err)
		}
		now, err := b.Head(ctx, dst)
		if err != nil {
			t.Fatal(err)
		}
		if now.ETag != o.ETag || now.Size != src.Size || !maps.Equal(now.Metadata, map[string]string{"mode": "2"}) {
			t.Errorf("copied to %q: %+v, described as %+v", dst, o, now)
		}
		same(t, dst, read(t, b, now), []byte(content))
	}
	_, err = b.Copy(ctx, "none", "", "copy", s3.WriteOptions{})
	is(t, "copying what isn't there", err, s3.ErrNotFound)
	put(t, b, "copy", "another content")
	_, err = b.Copy(ctx, "copy", src.ETag, "second copy", s3.WriteOptions{})
	is(t, "copying a version that was replaced", err, s3.ErrConflict)
}

// oddNames are keys that are read in more than one way.
var oddNames = []string{
	"a+b", "a b", "a%20b", "a&b=c?d#e", "ünïcode/日本語/😀", "quote'\"<>", "back\\slash", "semi;colon:comma,", "~tilde*(star)!@$^", "[brackets]{braces}|", ".hidden", "..twodots", "dots..in", "tab\tin",
}

func names(t *testing.T, s Store) {
	b, ctx := s.bucket(t), t.Context()
	all := append(slices.Clone(oddNames), strings.Repeat("d/", 100)+strings.Repeat("n", 200))
	for _, key := range all {
		o, err := write(t, b, key, key, s3.WriteOptions{})
		if err != nil {
			t.Errorf("%q: %v", key, err)
			continue
		}
		same(t, key, read(t, b, o), []byte(key))
		if _, err := b.Copy(ctx, key, o.ETag, "copy/"+key, s3.WriteOptions{}); err != nil {
			t.Errorf("copying %q: %v", key, err)
		}
		page, err := b.List(ctx, s3.ListRequest{Prefix: key})
		if err != nil || len(page.Objects) != 1 || page.Objects[0].Key != key || page.Objects[0].ETag != o.ETag {
			t.Errorf("listing %q: %q, %v", key, keysOf(page), err)
		}
	}
	slices.Sort(all)
	page, err := b.List(ctx, s3.ListRequest{})
	var got []string
	for _, k := range keysOf(page) {
		if !strings.HasPrefix(k, "copy/") {
			got = append(got, k)
		}
	}
	if err != nil || !slices.Equal(got, all) {
		t.Errorf("listed %q, %v\nwant %q", got, err, all)
	}
}

func removals(t *testing.T, s Store) {
	b, ctx := s.bucket(t), t.Context()
	put(t, b, "one", "x")
	is(t, "removing", b.Delete(ctx, "one"), nil)
	is(t, "removing again", b.Delete(ctx, "one"), nil)
	_, err := b.Head(ctx, "one")
	is(t, "after the removal", err, s3.ErrNotFound)

	all := append(numbered("many/", 20), oddNames...)
	for _, k := range all {
		put(t, b, k, "x")
	}
	put(t, b, "stays", "x")
	is(t, "removing many, and one that isn't there", b.DeleteMany(ctx, append(all, "none")), nil)
	is(t, "removing nothing", b.DeleteMany(ctx, nil), nil)
	page, err := b.List(ctx, s3.ListRequest{})
	if err != nil || !slices.Equal(keysOf(page), []string{"stays"}) {
		t.Errorf("left: %q, %v", keysOf(page), err)
	}
	is(t, "more than a request takes", b.DeleteMany(ctx, make([]string, s3.MaxDeleteKeys+1)), s3.ErrInvalid)
}
