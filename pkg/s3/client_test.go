package s3_test

// Connections, credentials, and what a client is opened with.

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// TestBoundedRequests: no more requests run than were allowed, and all of them end.
func TestBoundedRequests(t *testing.T) {
	b, direct, p := faulty(t, s3.Options{Connections: 3})
	o, err := put(t, direct, "k", "content", s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for range 20 {
		go func() {
			body, err := b.Get(t.Context(), "k", o.ETag, 0, o.Size)
			if err == nil {
				_, err = io.ReadAll(body)
				body.Close()
			}
			done <- err
		}()
	}
	for range 20 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if most := p.MostAtOnce(); most > 3 {
		t.Errorf("%d requests at once", most)
	}
	// A body that isn't closed keeps its place; another call waits until its context ends.
	var bodies []io.Closer
	for range 3 {
		body, err := b.Get(t.Context(), "k", o.ETag, 0, o.Size)
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.Head(ctx, "k"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a fourth: %v", err)
	}
	for _, body := range bodies {
		body.Close()
	}
	if _, err := b.Head(t.Context(), "k"); err != nil {
		t.Errorf("after they ended: %v", err)
	}
}

// TestCredentialsChange: the next request is signed with what the provider says by then. No error has them in it.
func TestCredentialsChange(t *testing.T) {
	server := s3test.Start(t)
	location := server.Bucket(t).Location()
	now := s3.Credentials{AccessKeyID: "WRONGKEYID", SecretAccessKey: "wrongsecret"}
	b, err := s3.Open(location, func() s3.Credentials { return now }, quick)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	refused := func(what string) {
		t.Helper()
		_, err := put(t, b, "k", "x", s3.WriteOptions{})
		if !errors.Is(err, s3.ErrDenied) || strings.Contains(err.Error(), now.SecretAccessKey) || !errors.Is(b.Exists(t.Context()), s3.ErrDenied) {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("an unknown key")
	now.AccessKeyID = server.Credentials.AccessKeyID
	refused("a wrong secret")
	now = server.Credentials
	if _, err := put(t, b, "k", "x", s3.WriteOptions{}); err != nil {
		t.Errorf("the right ones: %v", err)
	}
}

// TestServerDies: what was asked of a store that is gone fails, and works when it is back.
func TestServerDies(t *testing.T) {
	server := s3test.Start(t)
	direct := server.Bucket(t)
	b := server.Open(t, server.Endpoint, direct.Location().Bucket, quick)
	if _, err := put(t, b, "k", "x", s3.WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if _, err := b.Head(t.Context(), "k"); !errors.Is(err, s3.ErrUnavailable) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("without a server: %v", err)
	}
	server.Start(t)
	if got := content(t, b, "k"); got != "x" {
		t.Errorf("after its return: %q", got)
	}
}

// TestLargeContentIsNotCopied: a part is read from its file piece by piece.
func TestLargeContentIsNotCopied(t *testing.T) {
	server := s3test.Start(t)
	b := server.Bucket(t)
	const size = 16 << 20
	f, err := os.Create(filepath.Join(t.TempDir(), "part"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(3 * size); err != nil {
		t.Fatal(err)
	}
	id, err := b.CreateUpload(t.Context(), "k", s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	result := testing.Benchmark(func(bench *testing.B) {
		bench.ReportAllocs()
		for range bench.N {
			if _, err := b.UploadPart(t.Context(), "k", id, 1, io.NewSectionReader(f, size, size), size); err != nil {
				bench.Fatal(err)
			}
		}
	})
	if per := result.AllocedBytesPerOp(); per > size/8 || result.N == 0 {
		t.Errorf("%d bytes of memory for a part of %d", per, size)
	}
}

func TestOpenRefuses(t *testing.T) {
	good := s3.Location{Endpoint: "https://s3.example.com", Bucket: "data"}
	who := func() s3.Credentials { return s3.Credentials{} }
	if _, err := s3.Open(good, who, s3.Options{}); err != nil {
		t.Error(err)
	}
	if _, err := s3.Open(good, nil, s3.Options{}); !errors.Is(err, s3.ErrInvalid) {
		t.Errorf("without credentials: %v", err)
	}
	for _, l := range []s3.Location{
		{Endpoint: "", Bucket: "data"}, {Endpoint: "s3.example.com", Bucket: "data"}, {Endpoint: "https://", Bucket: "data"},
		{Endpoint: "https://s3.example.com/", Bucket: "data"}, {Endpoint: "https://s3.example.com?x", Bucket: "data"},
		{Endpoint: "https://s3.example.com", Bucket: ""}, {Endpoint: "https://s3.example.com", Bucket: "a/b"}, {Endpoint: "https://s3.example.com", Bucket: ".."},
		{Endpoint: "https://s3.example.com", Bucket: "data", CABundle: []byte("x")},
		{Endpoint: "https://s3.example.com", Bucket: "data", CABundle: slices.Concat(s3test.NewAuthority(t).PEM, make([]byte, s3.MaxCABundle))},
	} {
		if _, err := s3.Open(l, who, s3.Options{}); !errors.Is(err, s3.ErrInvalid) {
			t.Errorf("%+v: %v", l, err)
		}
	}
}
