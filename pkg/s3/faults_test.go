package s3_test

// What networks and stores do to requests, and what becomes of it.

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// quick lets a test go through all attempts without waiting long.
var quick = s3.Options{Attempts: 3, Pause: time.Millisecond}

// faulty is a bucket behind a proxy, and the same without one.
func faulty(t *testing.T, o s3.Options) (proxied, direct *s3.Bucket, p *s3test.FaultProxy) {
	t.Helper()
	server := s3test.Start(t)
	direct = server.Bucket(t)
	p = s3test.Proxy(t, server.Endpoint)
	return server.Open(t, p.Endpoint, direct.Location().Bucket, o), direct, p
}

func put(t *testing.T, b *s3.Bucket, key, content string, o s3.WriteOptions) (s3.Object, error) {
	t.Helper()
	return b.Put(t.Context(), key, strings.NewReader(content), int64(len(content)), o)
}

func content(t *testing.T, b *s3.Bucket, key string) string {
	t.Helper()
	o, err := b.Head(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	body, err := b.Get(t.Context(), key, o.ETag, 0, o.Size)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	all, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(all)
}

// TestEveryCallIsRepeated: each kind of request gets over two failures and tells of three.
func TestEveryCallIsRepeated(t *testing.T) {
	b, direct, p := faulty(t, quick)
	ctx := t.Context()
	o, err := put(t, direct, "k", "content", s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	begin := func() string {
		id, err := direct.CreateUpload(ctx, "up", s3.WriteOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	for _, c := range []struct {
		name string
		call func() error
	}{
		{"exists", func() error { return b.Exists(ctx) }},
		{"head", func() error { _, err := b.Head(ctx, "k"); return err }},
		{"get", func() error {
			body, err := b.Get(ctx, "k", o.ETag, 0, 3)
			if err == nil {
				body.Close()
			}
			return err
		}},
		{"put", func() error { _, err := put(t, b, "new", "x", s3.WriteOptions{}); return err }},
		{"copy", func() error { _, err := b.Copy(ctx, "k", o.ETag, "copy", s3.WriteOptions{}); return err }},
		{"delete", func() error { return b.Delete(ctx, "none") }},
		{"delete many", func() error { return b.DeleteMany(ctx, []string{"none"}) }},
		{"list", func() error { _, err := b.List(ctx, s3.ListRequest{}); return err }},
		{"create upload", func() error { _, err := b.CreateUpload(ctx, "up", s3.WriteOptions{}); return err }},
		{"upload part", func() error { _, err := b.UploadPart(ctx, "up", begin(), 1, strings.NewReader("x"), 1); return err }},
		{"copy part", func() error { _, err := b.CopyPart(ctx, "up", begin(), 1, "k", o.ETag, 0, 3); return err }},
		{"uploads", func() error { _, err := b.Uploads(ctx, ""); return err }},
		{"abort", func() error { return b.Abort(ctx, "up", begin()) }},
	} {
		for name, f := range map[string]s3test.Fault{
			"500": s3test.Status(500, "InternalError"), "503": s3test.Status(503, "SlowDown"), "429": s3test.Status(429, "TooManyRequests"), "reset": s3test.Reset(),
		} {
			p.Clear()
			rule := p.Add(s3test.Rule{Times: 2, Fault: f})
			if err := c.call(); err != nil || rule.Hits() != 2 {
				t.Errorf("%s after two times %s: %v, %d hits", c.name, name, err, rule.Hits())
			}
			p.Clear()
			rule = p.Add(s3test.Rule{Fault: f})
			if err := c.call(); !errors.Is(err, s3.ErrUnavailable) || rule.Hits() < quick.Attempts { // net/http itself sends again what a kept connection swallowed
				t.Errorf("%s with %s only: %v, %d hits", c.name, name, err, rule.Hits())
			}
		}
		for _, v := range []struct {
			fault s3test.Fault
			want  error
		}{
			{s3test.Status(403, "AccessDenied"), s3.ErrDenied},
			{s3test.Status(403, "QuotaExceeded"), s3.ErrFull},
			{s3test.Status(507, "InsufficientStorage"), s3.ErrFull},
			{s3test.Status(501, "NotImplemented"), s3.ErrInvalid},
			{s3test.Status(405, "MethodNotAllowed"), s3.ErrInvalid},
			{s3test.Status(301, "PermanentRedirect"), s3.ErrInvalid},
			{s3test.Status(404, "NoSuchBucket"), s3.ErrNoBucket},
		} {
			p.Clear()
			// A copy looks at its source first, by a HEAD whose answer has no code.
			rule := p.Add(s3test.Rule{Match: s3test.Match{If: func(r s3test.Request) bool { return c.name != "copy" || r.Method != "HEAD" }}, Fault: v.fault})
			hits := 1
			if c.name == "delete many" && v.want == s3.ErrDenied { // then each is tried alone
				hits = 2
			}
			err := c.call()
			switch {
			case c.name == "head" && (v.want == s3.ErrFull || v.want == s3.ErrNoBucket): // without a body there is no code
			case v.want == s3.ErrNoBucket && strings.HasPrefix(c.name, "delete") && err == nil:
			case !errors.Is(err, v.want) || rule.Hits() != hits:
				t.Errorf("%s: got %v after %d, want %v after %d", c.name, err, rule.Hits(), v.want, hits)
			}
		}
	}
}

// TestLostAnswers: a write that was done and not answered succeeds when it is repeated, and only then.
func TestLostAnswers(t *testing.T) {
	b, direct, p := faulty(t, quick)
	ctx := t.Context()
	absent := s3.Condition{IfAbsent: true}
	lose := func(m s3test.Match) {
		p.Clear()
		p.Add(s3test.Rule{Match: m, Times: 1, Fault: s3test.LoseAnswer()})
	}

	lose(s3test.Match{Method: "PUT"})
	made, err := put(t, b, "new", "ours", s3.WriteOptions{Condition: absent, Metadata: map[string]string{"a": "b"}})
	if o, headErr := direct.Head(ctx, "new"); err != nil || headErr != nil || o.ETag != made.ETag || len(o.Metadata) != 1 {
		t.Errorf("a new object: %+v, %v; described as %+v, %v", made, err, o, headErr)
	}
	lose(s3test.Match{Method: "PUT"})
	if _, err = put(t, b, "new", "second", s3.WriteOptions{Condition: s3.Condition{IfMatch: made.ETag}}); err != nil {
		t.Errorf("a replaced object: %v", err)
	}
	// Another's object of the same content is another's.
	if _, err := put(t, direct, "lock", "", s3.WriteOptions{Condition: absent}); err != nil {
		t.Fatal(err)
	}
	lose(s3test.Match{Method: "PUT"})
	if _, err := put(t, b, "lock", "", s3.WriteOptions{Condition: absent}); !errors.Is(err, s3.ErrConflict) {
		t.Errorf("another's lock: %v", err)
	}

	src, err := put(t, direct, "src", strings.Repeat("x", 100), s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	lose(s3test.Match{Method: "PUT"})
	if _, err := b.Copy(ctx, "src", src.ETag, "src", s3.WriteOptions{Metadata: map[string]string{"mode": "1"}}); err != nil {
		t.Errorf("a copy onto itself: %v", err)
	}

	for _, c := range []struct {
		name  string
		fault s3test.Fault
	}{{"lost", s3test.LoseAnswer()}, {"an error inside", s3test.ErrorInside("InternalError")}, {"nothing inside", s3test.Truncate(0)}} {
		id, err := b.CreateUpload(ctx, "up", s3.WriteOptions{Metadata: map[string]string{"mode": "2"}})
		if err != nil {
			t.Fatal(err)
		}
		part, err := b.UploadPart(ctx, "up", id, 1, strings.NewReader(c.name), int64(len(c.name)))
		if err != nil {
			t.Fatal(err)
		}
		p.Clear()
		rule := p.Add(s3test.Rule{Match: s3test.Match{Method: "POST", Query: "uploadId"}, Times: 1, Fault: c.fault})
		made, err := b.Complete(ctx, "up", id, []s3.Part{part}, s3.Condition{})
		if err != nil || made.Size != int64(len(c.name)) || rule.Hits() != 1 {
			t.Errorf("%s: completed %+v, %v, %d hits", c.name, made, err, rule.Hits())
		}
		if got := content(t, direct, "up"); got != c.name {
			t.Errorf("%s: the object has %q", c.name, got)
		}
	}
	// A call that failed is repeated by the caller: the upload that it began is known again.
	id, err := b.CreateUpload(ctx, "again", s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := b.UploadPart(ctx, "again", id, 1, strings.NewReader("z"), 1)
	if err != nil {
		t.Fatal(err)
	}
	p.Clear()
	p.Add(s3test.Rule{Match: s3test.Match{Method: "POST", Query: "uploadId"}, Times: 1, Fault: s3test.LoseAnswer()})
	p.Add(s3test.Rule{Times: quick.Attempts, Fault: s3test.Reset()})
	if _, err := b.Complete(ctx, "again", id, []s3.Part{part}, absent); !errors.Is(err, s3.ErrUnavailable) {
		t.Errorf("a call that can't know: %v", err)
	}
	p.Clear()
	if o, err := b.Complete(ctx, "again", id, []s3.Part{part}, absent); err != nil || o.Size != 1 {
		t.Errorf("the same call again: %+v, %v", o, err)
	}

	// By another client, which doesn't know the mark, the object is known by its ETag.
	id, err = direct.CreateUpload(ctx, "up", s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part, err = direct.UploadPart(ctx, "up", id, 1, strings.NewReader("y"), 1)
	if err != nil {
		t.Fatal(err)
	}
	lose(s3test.Match{Method: "POST", Query: "uploadId"})
	if _, err := b.Complete(ctx, "up", id, []s3.Part{part}, absent); !errors.Is(err, s3.ErrConflict) {
		t.Errorf("an upload of another's: %v", err) // the object of before is in its way
	}
	lose(s3test.Match{Method: "POST", Query: "uploadId"})
	if _, err := b.Complete(ctx, "up", id, []s3.Part{part}, s3.Condition{}); err != nil {
		t.Errorf("an upload of another's: %v", err)
	}
}

// TestBrokenErrors: an error whose body broke off is no verdict.
func TestBrokenErrors(t *testing.T) {
	b, direct, p := faulty(t, quick)
	if _, err := put(t, direct, "k", "x", s3.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	rule := p.Add(s3test.Rule{Match: s3test.Match{Method: "PUT"}, Times: 1, Fault: s3test.BrokenAnswer(404)})
	if _, err := put(t, b, "k", "y", s3.WriteOptions{}); err != nil || rule.Hits() != 1 {
		t.Errorf("%v after %d", err, rule.Hits())
	}
}

// TestErrorInsideSuccess: 200 with an error in it is an error, and nothing was made.
func TestErrorInsideSuccess(t *testing.T) {
	b, direct, p := faulty(t, quick)
	ctx := t.Context()
	src, err := put(t, direct, "src", "x", s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	id, err := b.CreateUpload(ctx, "up", s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := b.UploadPart(ctx, "up", id, 1, strings.NewReader("x"), 1)
	if err != nil {
		t.Fatal(err)
	}
	p.Add(s3test.Rule{Match: s3test.Match{If: func(r s3test.Request) bool { return r.Method != "HEAD" }}, Fault: s3test.ErrorInsteadOf("InternalError")})
	for name, call := range map[string]func() error{
		"complete":  func() error { _, err := b.Complete(ctx, "up", id, []s3.Part{part}, s3.Condition{}); return err },
		"copy":      func() error { _, err := b.Copy(ctx, "src", src.ETag, "copy", s3.WriteOptions{}); return err },
		"copy part": func() error { _, err := b.CopyPart(ctx, "up", id, 2, "src", src.ETag, 0, 1); return err },
	} {
		if err := call(); !errors.Is(err, s3.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, key := range []string{"up", "copy"} {
		if _, err := direct.Head(ctx, key); !errors.Is(err, s3.ErrNotFound) {
			t.Errorf("%s: %v", key, err)
		}
	}
}

// TestBodies: a body has all its bytes or an error, and an answer of another version is none.
func TestBodies(t *testing.T) {
	b, direct, p := faulty(t, s3.Options{Attempts: 3, Pause: time.Millisecond, Patience: 200 * time.Millisecond})
	ctx := t.Context()
	o, err := put(t, direct, "k", strings.Repeat("0123456789", 20_000), s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		fault s3test.Fault
	}{{"truncated", s3test.Truncate(70_000)}, {"stalled", s3test.StallAfter(70_000)}} {
		p.Clear()
		p.Add(s3test.Rule{Fault: c.fault})
		body, err := b.Get(ctx, "k", o.ETag, 0, o.Size)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(body)
		body.Close()
		if !errors.Is(err, s3.ErrUnavailable) || len(got) != 70_000 {
			t.Errorf("%s: %d bytes, %v", c.name, len(got), err)
		}
	}
	p.Clear()
	p.Add(s3test.Rule{Fault: s3test.WrongETag("other")})
	if _, err := b.Get(ctx, "k", o.ETag, 0, 10); !errors.Is(err, s3.ErrConflict) {
		t.Errorf("another ETag: %v", err)
	}
	p.Clear()
	p.Add(s3test.Rule{Fault: s3test.Drip(50_000, 50*time.Millisecond)})
	body, err := b.Get(ctx, "k", o.ETag, 0, o.Size)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(body); err != nil || len(got) != int(o.Size) {
		t.Errorf("a slow body: %d bytes, %v", len(got), err)
	}
	body.Close()
}

// TestStalls: a store that stands still is given up, attempt by attempt; the caller's context ends it earlier.
func TestStalls(t *testing.T) {
	b, _, p := faulty(t, s3.Options{Attempts: 2, Pause: time.Millisecond, Patience: 100 * time.Millisecond})
	rule := p.Add(s3test.Rule{Fault: s3test.Stall()})
	if _, err := b.Head(t.Context(), "k"); !errors.Is(err, s3.ErrUnavailable) || !strings.Contains(err.Error(), "not a byte moved") || rule.Hits() != 2 {
		t.Errorf("got %v after %d", err, rule.Hits())
	}
	p.Clear()
	ctx, cancel := context.WithCancel(t.Context())
	p.Add(s3test.Rule{Fault: s3test.Do(cancel)})
	if _, err := b.Head(ctx, "k"); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	// A context that ends while the store fails tells of both.
	p.Clear()
	b2, _, p := faulty(t, s3.Options{Pause: time.Hour})
	ctx, cancel = context.WithCancel(t.Context())
	p.Add(s3test.Rule{Fault: func(x *s3test.Exchange) {
		s3test.Status(503, "SlowDown")(x)
		time.AfterFunc(50*time.Millisecond, cancel)
	}})
	if _, err := b2.List(ctx, s3.ListRequest{}); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "SlowDown") {
		t.Errorf("cancelled between attempts: %v", err)
	}
}

// TestSlowContentIsTheCallers: whoever makes the content slowly isn't taken for a store that stands still.
func TestSlowContentIsTheCallers(t *testing.T) {
	server := s3test.Start(t)
	direct := server.Bucket(t)
	b := server.Open(t, server.Endpoint, direct.Location().Bucket, s3.Options{Attempts: 1, Patience: 100 * time.Millisecond})
	slow := &slowReader{Reader: bytes.NewReader(make([]byte, 100_000))}
	if _, err := b.Put(t.Context(), "k", slow, 100_000, s3.WriteOptions{}); err != nil {
		t.Error(err)
	}
	if slow.pauses == 0 {
		t.Error("the content wasn't slow")
	}
}

type slowReader struct {
	*bytes.Reader
	pauses int
}

func (s *slowReader) Read(p []byte) (int, error) {
	if s.pauses < 6 { // in the signature's pass and in the sending one
		s.pauses++
		time.Sleep(150 * time.Millisecond)
	}
	return s.Reader.Read(p[:min(len(p), 20_000)])
}

// TestCorruptedContentIsSentAgain: over plain HTTP, the signature is over the content.
func TestCorruptedContentIsSentAgain(t *testing.T) {
	b, direct, p := faulty(t, quick)
	rule := p.Add(s3test.Rule{Match: s3test.Match{Method: "PUT"}, Times: 2, Fault: s3test.CorruptRequest(3)})
	if _, err := put(t, b, "k", "0123456789", s3.WriteOptions{}); err != nil || rule.Hits() != 2 {
		t.Errorf("%v after %d", err, rule.Hits())
	}
	if got := content(t, direct, "k"); got != "0123456789" {
		t.Errorf("stored %q", got)
	}
}
