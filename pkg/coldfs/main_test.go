package coldfs_test

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/s3"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

func TestMain(m *testing.M) {
	coldfstest.Main()
	os.Exit(m.Run())
}

// volume is a mounted volume and what a plain client sees of it.
type volume struct {
	*coldfstest.Mount
	server *s3test.Server
	bucket *s3.Bucket
	name   string
}

// mount mounts a volume in a bucket of its own.
func mount(t testing.TB, o coldfstest.Options) *volume {
	t.Helper()
	server := s3test.Start(t)
	bucket, name := newBucket(t, server)
	return &volume{coldfstest.Start(t, server, name, o), server, bucket, name}
}

// again mounts the volume once more.
func (v *volume) again(t testing.TB, o coldfstest.Options) *volume {
	t.Helper()
	return &volume{coldfstest.Start(t, v.server, v.name, o), v.server, v.bucket, v.name}
}

var buckets int

func newBucket(t testing.TB, server *s3test.Server) (*s3.Bucket, string) {
	t.Helper()
	buckets++
	name := fmt.Sprintf("volumes-%d", buckets)
	b := server.Open(t, server.Endpoint, name, s3.Options{})
	if err := b.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b, name
}

// object is the content of an object, as any S3 client sees it.
func (v *volume) object(t testing.TB, key string) []byte {
	t.Helper()
	o, err := v.bucket.Head(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	if o.Size == 0 {
		return nil
	}
	body, err := v.bucket.Get(t.Context(), key, o.ETag, 0, o.Size)
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

// put writes an object as any S3 client does.
func (v *volume) put(t testing.TB, key, content string) s3.Object {
	t.Helper()
	o, err := v.bucket.Put(t.Context(), key, strings.NewReader(content), int64(len(content)), s3.WriteOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return o
}
