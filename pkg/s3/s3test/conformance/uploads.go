package conformance

// Multipart uploads.

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
)

// begin begins an upload of parts.
func begin(t *testing.T, b *s3.Bucket, key string, o s3.WriteOptions, parts ...[]byte) (string, []s3.Part) {
	t.Helper()
	id, err := b.CreateUpload(t.Context(), key, o)
	if err != nil {
		t.Fatal(err)
	}
	var sent []s3.Part
	for i, p := range parts {
		part, err := b.UploadPart(t.Context(), key, id, i+1, bytes.NewReader(p), int64(len(p)))
		if err != nil {
			t.Fatal(err)
		}
		sent = append(sent, part)
	}
	return id, sent
}

func uploads(t *testing.T, s Store) {
	b, ctx := s.bucket(t), t.Context()
	metadata := map[string]string{"mode": "33188"}
	parts := [][]byte{noise(s3.MinPartSize), noise(s3.MinPartSize + 7), noise(11)}
	id, sent := begin(t, b, "up/a b+c", s3.WriteOptions{Metadata: metadata}, parts...)
	_, err := b.Head(ctx, "up/a b+c")
	is(t, "before it is complete", err, s3.ErrNotFound)

	parts[1] = noise(s3.MinPartSize + 3)
	sent[1], err = b.UploadPart(ctx, "up/a b+c", id, 2, bytes.NewReader(parts[1]), int64(len(parts[1])))
	is(t, "a part sent again", err, nil)
	slices.Reverse(sent) // the order of the numbers counts
	made, err := b.Complete(ctx, "up/a b+c", id, sent, s3.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	o, err := b.Head(ctx, "up/a b+c")
	content := slices.Concat(parts...)
	if err != nil || made.ETag != o.ETag || made.Size != int64(len(content)) || o.Size != made.Size || made.Modified.Unix() != o.Modified.Unix() ||
		!maps.Equal(o.Metadata, metadata) || !maps.Equal(made.Metadata, metadata) {
		t.Errorf("completed %+v, described as %+v, %v", made, o, err)
	}
	same(t, "the parts", read(t, b, o), content)

	_, err = b.Complete(ctx, "up/none", "none", sent, s3.Condition{})
	if err == nil {
		t.Error("an upload that isn't there was completed")
	}
	id, sent = begin(t, b, "up/wrong", s3.WriteOptions{}, []byte("x"))
	sent[0].ETag = strings.Repeat("0", 32)
	_, err = b.Complete(ctx, "up/wrong", id, sent, s3.Condition{})
	is(t, "a part that isn't there", err, s3.ErrInvalid)
	is(t, "ending it", b.Abort(ctx, "up/wrong", id), nil)
	is(t, "ending it again", b.Abort(ctx, "up/wrong", id), nil)
	_, err = b.UploadPart(ctx, "up/wrong", id, 1, strings.NewReader("x"), 1)
	is(t, "a part of an upload that ended", err, s3.ErrNotFound)
}

func copiedParts(t *testing.T, s Store) {
	b, ctx := s.bucket(t), t.Context()
	content := noise(3*s3.MinPartSize + 1000)
	src := put(t, b, "src+ä", string(content))
	changed := noise(s3.MinPartSize)
	id, err := b.CreateUpload(ctx, "dst", s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var parts []s3.Part
	for i, n := range []int64{s3.MinPartSize, s3.MinPartSize, s3.MinPartSize + 1000} {
		off := int64(i) * s3.MinPartSize
		var p s3.Part
		if i == 1 {
			p, err = b.UploadPart(ctx, "dst", id, i+1, bytes.NewReader(changed), n)
		} else {
			p, err = b.CopyPart(ctx, "dst", id, i+1, src.Key, src.ETag, off, n)
		}
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, p)
	}
	o, err := b.Complete(ctx, "dst", id, parts, s3.Condition{})
	if err != nil {
		t.Fatal(err)
	}
	copy(content[s3.MinPartSize:], changed)
	same(t, "an object of old and new parts", read(t, b, o), content)

	id, err = b.CreateUpload(ctx, "dst", s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.CopyPart(ctx, "dst", id, 1, "none", "", 0, 10)
	is(t, "a part of what isn't there", err, s3.ErrNotFound)
	is(t, "ending it", b.Abort(ctx, "dst", id), nil)
}

func unfinished(t *testing.T, s Store) {
	b, ctx := s.bucket(t), t.Context()
	ids := map[string]string{}
	for _, key := range []string{"v/1/a", "v/1/b+ä b", "v/10/c", "w"} {
		ids[key], _ = begin(t, b, key, s3.WriteOptions{}, []byte("x"))
	}
	second, _ := begin(t, b, "v/1/a", s3.WriteOptions{})
	for _, c := range []struct {
		prefix string
		want   []string
	}{
		{"", []string{"v/1/a", "v/1/a", "v/1/b+ä b", "v/10/c", "w"}},
		{"v/1/", []string{"v/1/a", "v/1/a", "v/1/b+ä b"}},
		{"v/1", []string{"v/1/a", "v/1/a", "v/1/b+ä b", "v/10/c"}},
		{"none/", nil},
	} {
		found, err := b.Uploads(ctx, c.prefix)
		var keys []string
		for _, u := range found {
			keys = append(keys, u.Key)
			if u.ID != ids[u.Key] && u.ID != second || u.Begun.IsZero() {
				t.Errorf("%q: an upload %+v", c.prefix, u)
			}
		}
		slices.Sort(keys)
		if err != nil || !slices.Equal(keys, c.want) {
			t.Errorf("below %q: %q, %v; want %q", c.prefix, keys, err, c.want)
		}
	}
}
