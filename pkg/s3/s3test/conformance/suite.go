// Package conformance is what pkg/s3 promises of a store, as tests that run against any: versitygw in the unit tests, radosgw in tests/conformance. What stores do
// differently is a table that the tests hold them to, so that the documentation of it stays true.
package conformance

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
)

// Store is one S3 store.
type Store struct {
	// Open makes a client of a bucket with this name.
	Open func(t testing.TB, bucket string) *s3.Bucket
	// Differences are what the store does otherwise than Amazon S3.
	Differences map[Difference]Outcome
}

// Run runs the suite.
func Run(t *testing.T, s Store) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, s Store)
	}{
		{"buckets", buckets},
		{"objects", objects},
		{"ranges", ranges},
		{"conditions of put", conditionsOfPut},
		{"copies", copies},
		{"names", names},
		{"listings", listings},
		{"removals", removals},
		{"uploads", uploads},
		{"parts of other objects", copiedParts},
		{"unfinished uploads", unfinished},
		{"differences", differences},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, s) })
	}
}

// bucket makes a bucket for a test and removes it with all that is in it.
func (s Store) bucket(t *testing.T) *s3.Bucket {
	t.Helper()
	b := s.Open(t, "conformance-"+strings.ToLower(rand.Text()[:12]))
	if err := b.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { empty(t, b) })
	return b
}

func empty(t *testing.T, b *s3.Bucket) {
	t.Helper()
	ctx, cancel := patience() // the test's own context has ended by now
	defer cancel()
	uploads, err := b.Uploads(ctx, "")
	if err != nil {
		t.Error(err)
	}
	for _, u := range uploads {
		if err := b.Abort(ctx, u.Key, u.ID); err != nil {
			t.Error(err)
		}
	}
	for {
		page, err := b.List(ctx, s3.ListRequest{})
		if err != nil {
			t.Error(err)
			return
		}
		var keys []string
		for _, o := range page.Objects {
			keys = append(keys, o.Key)
		}
		if err := b.DeleteMany(ctx, keys); err != nil {
			t.Error(err)
			return
		}
		if page.Next == "" {
			break
		}
	}
	if err := b.Remove(ctx); err != nil {
		t.Error(err)
	}
}

func put(t *testing.T, b *s3.Bucket, key, content string) s3.Object {
	t.Helper()
	o, err := write(t, b, key, content, s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func write(t *testing.T, b *s3.Bucket, key, content string, o s3.WriteOptions) (s3.Object, error) {
	t.Helper()
	return b.Put(t.Context(), key, strings.NewReader(content), int64(len(content)), o)
}

func read(t *testing.T, b *s3.Bucket, o s3.Object) []byte {
	t.Helper()
	body, err := b.Get(t.Context(), o.Key, o.ETag, 0, o.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	content, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// noise is n bytes that aren't the same anywhere.
func noise(n int) []byte {
	p := make([]byte, n)
	_, _ = rand.Read(p)
	return p
}

func same(t *testing.T, what string, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got %d bytes, want %d; they differ from byte %d on", what, len(got), len(want), agree(got, want))
	}
}

func agree(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

func keysOf(p s3.Page) []string {
	var keys []string
	for _, o := range p.Objects {
		keys = append(keys, o.Key)
	}
	return keys
}

func numbered(prefix string, n int) []string {
	var keys []string
	for i := range n {
		keys = append(keys, fmt.Sprintf("%s%04d", prefix, i))
	}
	return keys
}
