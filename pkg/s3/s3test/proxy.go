package s3test

// A proxy between a client and a store. It forwards requests as they are, and does to those that a rule is about what the rule says.

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Request is one that came to the proxy.
type Request struct {
	Method string
	Bucket string
	Key    string // "" of requests to the bucket
	Query  url.Values
	Header http.Header
}

// Part is the number of the part that the request sends or copies; 0: none.
func (r Request) Part() int {
	n, _ := strconv.Atoi(r.Query.Get("partNumber"))
	return n
}

// Match says which requests are meant; a zero field means any.
type Match struct {
	Method string
	Key    string
	Query  string // the request has this parameter: "uploads", "uploadId", "partNumber", "list-type", "delete"
	Part   int
	If     func(Request) bool
}

func (m Match) has(r Request) bool {
	return (m.Method == "" || m.Method == r.Method) && (m.Key == "" || m.Key == r.Key) && (m.Query == "" || r.Query.Has(m.Query)) &&
		(m.Part == 0 || m.Part == r.Part()) && (m.If == nil || m.If(r))
}

// Rule does Fault to the requests that Match means: after the first Skip of them, and Times of them at most (0: all).
type Rule struct {
	Match
	Skip, Times int
	// Chance lets only this part of the requests be hit, by a generator that is the same in each run; 0: all.
	Chance float64
	Fault  Fault
}

// Active is a rule of a proxy.
type Active struct {
	rule      Rule
	proxy     *FaultProxy
	seen, hit int
}

// Hits is how many requests the rule was done to.
func (a *Active) Hits() int {
	a.proxy.mu.Lock()
	defer a.proxy.mu.Unlock()
	return a.hit
}

// FaultProxy stands before a store.
type FaultProxy struct {
	Endpoint string

	target *url.URL
	base   *http.Transport
	ctx    context.Context // ends with the test: what stands still lets go

	mu       sync.Mutex
	rules    []*Active
	requests []Request
	running  int
	most     int
	chance   *rand.Rand
}

// Proxy starts a proxy before the store at target (http://HOST:PORT). It ends with the test.
func Proxy(t testing.TB, target string) *FaultProxy {
	t.Helper()
	return start(t, target, (*httptest.Server).Start)
}

func start(t testing.TB, target string, listen func(*httptest.Server)) *FaultProxy {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &FaultProxy{
		target: u, ctx: ctx, chance: rand.New(rand.NewPCG(1, 2)),
		base: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true},
	}
	server := httptest.NewUnstartedServer(p)
	listen(server)
	p.Endpoint = server.URL
	t.Cleanup(func() {
		cancel()
		server.CloseClientConnections()
		server.Close()
		p.base.CloseIdleConnections()
	})
	return p
}

// Add adds a rule. Of several rules that mean a request the first is done.
func (p *FaultProxy) Add(r Rule) *Active {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := &Active{rule: r, proxy: p}
	p.rules = append(p.rules, a)
	return a
}

// Clear takes all rules away.
func (p *FaultProxy) Clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = nil
}

// Count is how many requests came so far that m means, those that a rule was done to included.
func (p *FaultProxy) Count(m Match) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, r := range p.requests {
		if m.has(r) {
			n++
		}
	}
	return n
}

// Requests are those that came so far and that m means.
func (p *FaultProxy) Requests(m Match) []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Request
	for _, r := range p.requests {
		if m.has(r) {
			all = append(all, r)
		}
	}
	return all
}

// Forget starts counting anew.
func (p *FaultProxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests, p.most = nil, p.running
}

// MostAtOnce is the largest number of requests that ran at the same time.
func (p *FaultProxy) MostAtOnce() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.most
}

// choose counts the request and finds what is done to it.
func (p *FaultProxy) choose(r Request) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, r)
	p.running++
	p.most = max(p.most, p.running)
	for _, a := range p.rules {
		if !a.rule.has(r) {
			continue
		}
		a.seen++
		if a.seen <= a.rule.Skip || a.rule.Times > 0 && a.hit >= a.rule.Times || a.rule.Chance > 0 && p.chance.Float64() >= a.rule.Chance {
			continue
		}
		a.hit++
		return a.rule.Fault
	}
	return nil
}

// ServeHTTP implements http.Handler.
func (p *FaultProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	fault := p.choose(Request{Method: r.Method, Bucket: bucket, Key: key, Query: r.URL.Query(), Header: r.Header})
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running--
	}()
	x := &Exchange{proxy: p, w: w, r: r}
	if fault == nil {
		x.forward()
		return
	}
	fault(x)
}

// Exchange is one request on its way, for a Fault to deal with.
type Exchange struct {
	proxy *FaultProxy
	w     http.ResponseWriter
	r     *http.Request
}

// send asks the store. The request goes on as it is, path and Host included: they are signed.
func (x *Exchange) send(body io.Reader) (*http.Response, error) {
	out := x.r.Clone(x.r.Context())
	path, _, _ := strings.Cut(x.r.RequestURI, "?")
	out.URL = &url.URL{Scheme: x.proxy.target.Scheme, Host: x.proxy.target.Host, Opaque: path, RawQuery: x.r.URL.RawQuery}
	out.RequestURI = ""
	out.Header.Del("Expect") // the proxy has asked for the body already
	out.Body = io.NopCloser(body)
	if x.r.ContentLength == 0 {
		out.Body = http.NoBody
	}
	return x.proxy.base.RoundTrip(out)
}

func (x *Exchange) forward() {
	response, err := x.send(x.r.Body)
	if err != nil {
		x.reset()
		return
	}
	x.answer(response, response.Body)
}

// answer hands an answer on, with body in the place of its own.
func (x *Exchange) answer(response *http.Response, body io.Reader) {
	defer response.Body.Close()
	for name, values := range response.Header {
		x.w.Header()[name] = values
	}
	if response.ContentLength >= 0 {
		x.w.Header().Set("Content-Length", strconv.FormatInt(response.ContentLength, 10))
	}
	x.w.WriteHeader(response.StatusCode)
	if _, err := io.Copy(flushing{x.w}, body); err != nil {
		x.reset()
	}
}

// reset breaks the connection off.
func (x *Exchange) reset() { panic(http.ErrAbortHandler) }

// wait stands still until the client goes or the test ends.
func (x *Exchange) wait() {
	select {
	case <-x.r.Context().Done():
	case <-x.proxy.ctx.Done():
	}
	x.reset()
}

// flushing sends each piece at once.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	if errors.Is(err, http.ErrNotSupported) {
		err = nil
	}
	return n, err
}
