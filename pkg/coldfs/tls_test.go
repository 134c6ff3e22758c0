package coldfs_test

import (
	"strings"
	"testing"

	"github.com/strata-csi/strata/pkg/coldfs/coldfstest"
	"github.com/strata-csi/strata/pkg/coldfs/config"
	"github.com/strata-csi/strata/pkg/coldfs/control"
	"github.com/strata-csi/strata/pkg/s3/s3test"
)

// A volume of a store with a certificate of the site's own authority: a file of several parts is written through one mount and read through another, which has none of it cached.
func TestAStoreWithTLS(t *testing.T) {
	server, authority := s3test.Start(t), s3test.NewAuthority(t)
	bucket, name := newBucket(t, server)
	p := authority.Proxy(t, server.Endpoint, s3test.Front{})
	o := coldfstest.Options{Endpoint: p.Endpoint, Config: func(c *config.Config) { c.Store.CABundle = authority.PEM }}
	v := &volume{coldfstest.Start(t, server, name, o), server, bucket, name}
	want := noise(21, 20<<20)
	write(t, v.Path("f"), want)
	if string(v.object(t, "vol/f")) != want {
		t.Error("after close the store has something else")
	}
	if n := p.Count(s3test.Match{Method: "PUT", Key: "vol/f", Query: "partNumber"}); n < 2 {
		t.Errorf("%d parts were sent", n)
	}
	again := v.again(t, o)
	if read(t, again.Path("f")) != want {
		t.Error("another mount reads something else")
	}
	if n := p.Count(s3test.Match{Method: "GET", Key: "vol/f"}); n == 0 {
		t.Error("it wasn't read over TLS")
	}
}

// Who looks at a pod that doesn't start sees what to set right.
func TestAStoreThatIsNotTrusted(t *testing.T) {
	server := s3test.Start(t)
	_, name := newBucket(t, server)
	p := s3test.NewAuthority(t).Proxy(t, server.Endpoint, s3test.Front{})
	other := s3test.NewAuthority(t).PEM
	m := coldfstest.Start(t, server, name, coldfstest.Options{Endpoint: p.Endpoint, Fails: true, Config: func(c *config.Config) { c.Store.CABundle = other }})
	f := m.Failure()
	if f == nil || f.Code != control.CodeUnreachable || !strings.Contains(f.Text, "caBundle must have") || !strings.Contains(f.Text, p.Endpoint) {
		t.Errorf("the holder is told %+v", f)
	}
	if n := p.Handshakes(); n != 1 {
		t.Errorf("tried %d times", n)
	}
}
