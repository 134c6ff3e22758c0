package s3_test

// Stores that are spoken to over TLS: whose certificate is trusted, and what the user is told of one that isn't.

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// openTLS is a client of a bucket behind a proxy with TLS.
func openTLS(t *testing.T, server *s3test.Server, p *s3test.TLSProxy, bucket string, bundle []byte) *s3.Bucket {
	t.Helper()
	l := server.Location(bucket)
	l.Endpoint, l.CABundle = p.Endpoint, bundle
	b, err := s3.Open(l, func() s3.Credentials { return server.Credentials }, s3.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func TestOverTLS(t *testing.T) {
	server, ours, other := s3test.Start(t), s3test.NewAuthority(t), s3test.NewAuthority(t)
	bucket := server.Bucket(t).Location().Bucket
	p := ours.Proxy(t, server.Endpoint, s3test.Front{})
	b := openTLS(t, server, p, bucket, slices.Concat(other.PEM, ours.PEM)) // as in the days in which an authority is replaced by another
	ctx := t.Context()

	if _, err := put(t, b, "small", "content", s3.WriteOptions{Condition: s3.Condition{IfAbsent: true}}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, b, "small"); got != "content" {
		t.Errorf("read back: %q", got)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), (s3.MinPartSize+1<<20)/16)
	id, err := b.CreateUpload(ctx, "large", s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var parts []s3.Part
	for piece := range slices.Chunk(large, s3.MinPartSize) {
		part, err := b.UploadPart(ctx, "large", id, len(parts)+1, bytes.NewReader(piece), int64(len(piece)))
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, part)
	}
	if _, err := b.Complete(ctx, "large", id, parts, s3.Condition{}); err != nil {
		t.Fatal(err)
	}
	if got := content(t, b, "large"); len(parts) != 2 || got != string(large) {
		t.Errorf("%d parts, %d bytes read back, which are others", len(parts), len(got))
	}
	page, err := b.List(ctx, s3.ListRequest{})
	if err != nil || len(page.Objects) != 2 {
		t.Errorf("listed: %+v, %v", page.Objects, err)
	}
	// TLS guards what is sent: it isn't read a second time for a signature.
	for _, r := range p.Requests(s3test.Match{Method: "PUT"}) {
		if got := r.Header.Get("X-Amz-Content-Sha256"); got != "UNSIGNED-PAYLOAD" {
			t.Errorf("%s part %d is sent with the hash %s", r.Key, r.Part(), got)
		}
	}
}

// TestUntrustedCertificates: each is refused at the first handshake, before anything is sent, and the error says what of whom has to be set right.
func TestUntrustedCertificates(t *testing.T) {
	server, ours, other := s3test.Start(t), s3test.NewAuthority(t), s3test.NewAuthority(t)
	bucket := server.Bucket(t).Location().Bucket
	for name, c := range map[string]struct {
		front  s3test.Front
		bundle []byte
		says   []string
	}{
		"of an authority that the system doesn't know": {s3test.Front{}, nil, []string{"unknown authority", "caBundle must have"}},
		"of another authority than the bundle's":       {s3test.Front{}, other.PEM, []string{"unknown authority", "caBundle must have"}},
		"of another host":                              {s3test.Front{Host: "s3.example.com"}, ours.PEM, []string{"certificate for 127.0.0.1", "a name that its certificate is for"}},
		"that has expired":                             {s3test.Front{Expired: true}, ours.PEM, []string{"expired", "must be renewed"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := ours.Proxy(t, server.Endpoint, c.front)
			b := openTLS(t, server, p, bucket, c.bundle)
			location := b.Location()
			for what, do := range map[string]func() error{
				"list":  func() error { _, err := b.List(t.Context(), s3.ListRequest{}); return err },
				"write": func() error { _, err := put(t, b, "k", "secret", s3.WriteOptions{}); return err },
				"assume a role": func() error {
					_, err := s3.AssumeRole(t.Context(), location, func() s3.Credentials { return server.Credentials }, s3.SessionRequest{Role: "arn:aws:iam:::role/x", Name: "name", Lifetime: s3.MinSession}, s3.Options{})
					return err
				},
			} {
				before := p.Handshakes()
				err := do()
				if !errors.Is(err, s3.ErrUntrusted) || !errors.Is(err, s3.ErrUnavailable) {
					t.Fatalf("%s: %v", what, err)
				}
				for _, text := range append(c.says, "isn't trusted", p.Endpoint) {
					if !strings.Contains(err.Error(), text) {
						t.Errorf("%s: %q doesn't say %q", what, err, text)
					}
				}
				if n := p.Handshakes() - before; n != 1 {
					t.Errorf("%s: tried %d times", what, n)
				}
			}
			if n := p.Count(s3test.Match{}); n != 0 {
				t.Errorf("%d requests were sent", n)
			}
		})
	}
}
