package coldfs_test

// What the class says of objects, in each request that makes one.

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

func TestEveryObjectHasTheStorageClassAndTheEncryptionOfTheVolume(t *testing.T) {
	server := s3test.Start(t)
	bucket, name := newBucket(t, server)
	proxy := s3test.Proxy(t, server.Endpoint)
	v := &volume{coldfstest.Start(t, server, name, coldfstest.Options{Endpoint: proxy.Endpoint, Config: func(c *config.Config) { c.StorageClass, c.SSE = "STANDARD_IA", "AES256" }}), server, bucket, name}
	makes := func(r s3test.Request) bool {
		switch {
		case strings.HasPrefix(r.Key, "vol/.strata/"): // the driver's own notes
			return false
		case r.Method == "POST":
			return r.Query.Has("uploads")
		}
		return r.Method == "PUT" && r.Key != "" && r.Part() == 0
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 20<<20/16)
	for _, c := range []struct {
		what string
		do   func() error
		kind func(s3test.Request) bool // of request that it must need
	}{
		{"a small file", func() error { return os.WriteFile(v.Path("small"), []byte("x"), 0o600) }, func(r s3test.Request) bool { return r.Method == "PUT" }},
		{"a large file", func() error { return os.WriteFile(v.Path("large"), large, 0o600) }, func(r s3test.Request) bool { return r.Method == "POST" }},
		{"a directory", func() error { return os.Mkdir(v.Path("dir"), 0o700) }, nil},
		{"a symbolic link", func() error { return os.Symlink("small", v.Path("link")) }, nil},
		{"other attributes", func() error { return os.Chmod(v.Path("small"), 0o640) }, func(r s3test.Request) bool { return r.Header.Get("X-Amz-Copy-Source") != "" }},
		{"another name", func() error { return os.Rename(v.Path("small"), v.Path("dir", "moved")) }, func(r s3test.Request) bool { return r.Header.Get("X-Amz-Copy-Source") != "" }},
		{"another name of a directory", func() error { return os.Rename(v.Path("dir"), v.Path("other")) }, func(r s3test.Request) bool { return r.Header.Get("X-Amz-Copy-Source") != "" }},
		{"more of a large file", func() error {
			f, err := os.OpenFile(v.Path("large"), os.O_WRONLY|os.O_APPEND, 0)
			if err != nil {
				return err
			}
			_, err = f.WriteString("more")
			return errors.Join(err, f.Close())
		}, func(r s3test.Request) bool { return r.Method == "POST" }},
	} {
		proxy.Forget()
		if err := c.do(); err != nil {
			t.Fatalf("%s: %v", c.what, err)
		}
		all := proxy.Requests(s3test.Match{If: makes})
		found := len(all) > 0 && c.kind == nil
		for _, r := range all {
			found = found || c.kind(r)
			if class, sse := r.Header.Get("X-Amz-Storage-Class"), r.Header.Get("X-Amz-Server-Side-Encryption"); class != "STANDARD_IA" || sse != "AES256" {
				t.Errorf("%s: %s %s has storage class %q and encryption %q", c.what, r.Method, r.Key, class, sse)
			}
		}
		if !found {
			t.Errorf("%s: no request for it among %d", c.what, len(all))
		}
	}
}

// What is immutable is asked for once, however old it is. Of another volume the kernel asks again.
func TestWhatNeverChangesIsAskedForOnce(t *testing.T) {
	server := s3test.Start(t)
	bucket, name := newBucket(t, server)
	proxy := s3test.Proxy(t, server.Endpoint)
	start := func(immutable bool) *volume {
		return &volume{coldfstest.Start(t, server, name, coldfstest.Options{Endpoint: proxy.Endpoint, Config: func(c *config.Config) {
			c.Immutable, c.ReadOnly, c.MetadataTTL = immutable, immutable, 1 // a nanosecond: it is always over
		}}), server, bucket, name}
	}
	writer := start(false)
	if err := errors.Join(os.Mkdir(writer.Path("d"), 0o755), os.WriteFile(writer.Path("d", "f"), []byte("x"), 0o644)); err != nil {
		t.Fatal(err)
	}
	reader := start(true)
	look := func(v *volume) int {
		t.Helper()
		proxy.Forget()
		if _, err := os.Stat(v.Path("d", "f")); err != nil {
			t.Fatal(err)
		}
		return proxy.Count(s3test.Match{})
	}
	if n := look(reader); n == 0 {
		t.Error("the first look asks nobody")
	}
	if n := look(reader); n != 0 {
		t.Errorf("a second look at what never changes makes %d requests", n)
	}
	if n := look(writer); n == 0 {
		t.Error("a second look at what may change makes none")
	}
}
