package conformance

// What stores do differently. Each row is tried and compared with what the store is said to do: one that learns something is noticed.

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/strata-csi/strata/pkg/s3"
)

// Difference is something that a store may do otherwise than Amazon S3 does.
type Difference string

// Outcome is what a store does. Kept, the zero value, is what Amazon S3 does.
type Outcome string

// The outcomes.
const (
	Kept    Outcome = ""
	Ignored Outcome = "ignored" // the request succeeds as if nothing were asked; of keys: the object is listed under another
	Refused Outcome = "refused" // the request fails
)

// The differences.
const (
	CompleteIfAbsent   Difference = "If-None-Match of CompleteMultipartUpload"
	CompleteIfMatch    Difference = "If-Match of CompleteMultipartUpload"
	CopyIfAbsent       Difference = "If-None-Match of CopyObject"
	CopyIfMatch        Difference = "If-Match of CopyObject"
	CopyPartIfMatch    Difference = "x-amz-copy-source-if-match of UploadPartCopy"
	ControlCharacters  Difference = "control characters in keys"
	InvalidUnicode     Difference = "keys that aren't UTF-8"
	FileBesideDir      Difference = "a key d beside a key d/x"
	DirectoryMarker    Difference = "a key d/ with content"
	EmptySegments      Difference = "keys with //"
	DotSegments        Difference = "keys with . and .."
	LongSegments       Difference = "a segment of 1,000 bytes"
	ListInOrderOfBytes Difference = "listings in the order of bytes"
)

// trials try one each.
var trials = map[Difference]func(t *testing.T, b *s3.Bucket) Outcome{
	CompleteIfAbsent: func(t *testing.T, b *s3.Bucket) Outcome {
		put(t, b, "k", "there")
		return condition(t, b, s3.Condition{IfAbsent: true})
	},
	CompleteIfMatch: func(t *testing.T, b *s3.Bucket) Outcome {
		o := put(t, b, "k", "first")
		put(t, b, "k", "second")
		return condition(t, b, s3.Condition{IfMatch: o.ETag})
	},
	CopyIfAbsent: func(t *testing.T, b *s3.Bucket) Outcome {
		src := put(t, b, "src", "source")
		put(t, b, "k", "there")
		_, err := b.Copy(t.Context(), "src", src.ETag, "k", s3.WriteOptions{Condition: s3.Condition{IfAbsent: true}})
		return conflict(t, err)
	},
	CopyIfMatch: func(t *testing.T, b *s3.Bucket) Outcome {
		src := put(t, b, "src", "source")
		o := put(t, b, "k", "first")
		put(t, b, "k", "second")
		_, err := b.Copy(t.Context(), "src", src.ETag, "k", s3.WriteOptions{Condition: s3.Condition{IfMatch: o.ETag}})
		return conflict(t, err)
	},
	CopyPartIfMatch: func(t *testing.T, b *s3.Bucket) Outcome {
		old := put(t, b, "src", "first")
		put(t, b, "src", "other")
		id, _ := begin(t, b, "k", s3.WriteOptions{})
		_, err := b.CopyPart(t.Context(), "k", id, 1, "src", old.ETag, 0, 5)
		return conflict(t, err)
	},
	ControlCharacters: func(t *testing.T, b *s3.Bucket) Outcome { return key(t, b, "control\x01\x1b\nin") },
	InvalidUnicode:    func(t *testing.T, b *s3.Bucket) Outcome { return key(t, b, "latin1-\xe4\xff") },
	EmptySegments:     func(t *testing.T, b *s3.Bucket) Outcome { return key(t, b, "a//b") },
	DotSegments:       func(t *testing.T, b *s3.Bucket) Outcome { return key(t, b, "a/./b/../c") },
	LongSegments:      func(t *testing.T, b *s3.Bucket) Outcome { return key(t, b, strings.Repeat("n", 1000)) },
	DirectoryMarker:   func(t *testing.T, b *s3.Bucket) Outcome { return key(t, b, "d/") },
	FileBesideDir: func(t *testing.T, b *s3.Bucket) Outcome {
		put(t, b, "d/x", "below")
		return key(t, b, "d")
	},
	ListInOrderOfBytes: func(t *testing.T, b *s3.Bucket) Outcome {
		keys := []string{"a-b/x", "a/x", "a0"}
		for _, k := range keys {
			put(t, b, k, "x")
		}
		page, err := b.List(t.Context(), s3.ListRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(keysOf(page), keys) {
			return Ignored
		}
		return Kept
	},
}

// condition completes an upload of the key "k" with a condition that isn't met.
func condition(t *testing.T, b *s3.Bucket, c s3.Condition) Outcome {
	t.Helper()
	id, parts := begin(t, b, "k", s3.WriteOptions{}, []byte("upload"))
	_, err := b.Complete(t.Context(), "k", id, parts, c)
	return conflict(t, err)
}

func conflict(t *testing.T, err error) Outcome {
	t.Helper()
	switch {
	case err == nil:
		return Ignored
	case errors.Is(err, s3.ErrConflict):
		return Kept
	case errors.Is(err, s3.ErrInvalid):
		return Refused
	}
	t.Fatal(err)
	return ""
}

// key writes, describes, lists and removes an object.
func key(t *testing.T, b *s3.Bucket, key string) Outcome {
	t.Helper()
	o, err := write(t, b, key, "content", s3.WriteOptions{})
	if errors.Is(err, s3.ErrInvalid) {
		return Refused
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // also of one that no listing names
		ctx, cancel := patience()
		defer cancel()
		is(t, "removing it", b.Delete(ctx, key), nil)
	})
	same(t, key, read(t, b, o), []byte("content"))
	page, err := b.List(t.Context(), s3.ListRequest{})
	if err != nil || !slices.Contains(keysOf(page), key) {
		t.Logf("%q is listed as %q, %v", key, keysOf(page), err)
		return Ignored
	}
	if id, err := b.CreateUpload(t.Context(), key, s3.WriteOptions{}); strings.ContainsFunc(key, unicode.IsControl) {
		is(t, "an upload", err, s3.ErrInvalid)
	} else if err != nil {
		t.Fatal(err)
	} else if uploads, err := b.Uploads(t.Context(), ""); err != nil || len(uploads) != 1 || uploads[0].Key != key || uploads[0].ID != id {
		t.Errorf("an upload of %q is listed as %+v, %v", key, uploads, err)
	}
	if err := b.DeleteMany(t.Context(), []string{key}); err != nil {
		t.Fatal(err)
	}
	_, err = b.Head(t.Context(), key)
	is(t, "after its removal", err, s3.ErrNotFound)
	return Kept
}

func differences(t *testing.T, s Store) {
	for d := range s.Differences {
		if trials[d] == nil {
			t.Errorf("no trial of %q", d)
		}
	}
	for _, d := range slices.Sorted(maps.Keys(trials)) {
		t.Run(string(d), func(t *testing.T) {
			if got := trials[d](t, s.bucket(t)); got != s.Differences[d] {
				t.Errorf("the store does %q of %q; it was said to do %q", got, d, s.Differences[d])
			}
		})
	}
}
