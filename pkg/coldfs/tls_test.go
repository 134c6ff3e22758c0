package coldfs_test

import (
	"io"
	"net"
	"strings"
	"sync/atomic"
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

// What is turned on its way isn't taken for the file's content: TLS ends the connection, and the engine asks again.
func TestWhatIsTurnedOnItsWayIsAskedForAgain(t *testing.T) {
	server, authority := s3test.Start(t), s3test.NewAuthority(t)
	bucket, name := newBucket(t, server)
	way, turned := turningWay(t, strings.TrimPrefix(authority.Proxy(t, server.Endpoint, s3test.Front{}).Endpoint, "https://"), 3)
	v := &volume{coldfstest.Start(t, server, name, coldfstest.Options{Endpoint: "https://" + way, Config: func(c *config.Config) { c.Store.CABundle = authority.PEM }}), server, bucket, name}
	want := noise(22, 20<<20)
	v.put(t, "vol/f", want)
	if read(t, v.Path("f")) != want {
		t.Error("DATA MISMATCH: what was turned was read")
	}
	if n := turned(); n != 3 {
		t.Errorf("%d answers were turned", n)
	}
}

// turningWay is an address that leads to target. In each of the first connections in which so much comes back that it must be a body, it turns a byte of that.
func turningWay(t *testing.T, target string, connections int64) (address string, turned func() int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	var count atomic.Int64
	back := func(to, from net.Conn) {
		defer to.Close()
		raw := make([]byte, 32<<10)
		for passed, whole := 0, true; ; {
			n, err := from.Read(raw)
			if passed += n; whole && n > 0 && passed > 256<<10 {
				if whole = false; count.Add(1) <= connections {
					raw[n/2] ^= 1
				}
			}
			if _, failed := to.Write(raw[:n]); err != nil || failed != nil {
				return
			}
		}
	}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			store, err := net.Dial("tcp", target)
			if err != nil {
				_ = client.Close()
				continue
			}
			go back(client, store)
			go func() {
				defer store.Close()
				_, _ = io.Copy(store, client)
			}()
		}
	}()
	return listener.Addr().String(), func() int64 { return min(count.Load(), connections) }
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
