package s3

// The connections. A store that accepts a request and then stands still would hold its caller for ever: each attempt is given up when no byte has moved for
// Options.Patience. A body that is read slowly by the caller, or made slowly, isn't the store's fault and not counted.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// slower is how much more patience there is with a store that copies or joins objects.
const slower = 10

type patienceKey struct{}

// withPatience lets the store stand still for longer.
func (b *Bucket) withPatience(ctx context.Context) context.Context {
	return context.WithValue(ctx, patienceKey{}, slower*b.options.Patience)
}

// transport bounds how many requests run and how long each may stand still.
type transport struct {
	base     *http.Transport
	slots    *semaphore.Weighted
	patience time.Duration
}

func newTransport(roots *x509.CertPool, o Options) *transport {
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &transport{
		slots:    semaphore.NewWeighted(int64(o.Connections)),
		patience: o.Patience,
		base: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           dialer.DialContext,
			TLSClientConfig:       &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, // without ALPN, thus HTTP/1.1: a connection per request is faster
			TLSHandshakeTimeout:   10 * time.Second,
			ExpectContinueTimeout: time.Second,
			MaxIdleConns:          o.Connections,
			MaxIdleConnsPerHost:   o.Connections,
			IdleConnTimeout:       60 * time.Second,
			DisableCompression:    true, // an ETag is of the bytes as they are stored
			ReadBufferSize:        32 << 10,
			WriteBufferSize:       32 << 10,
		},
	}
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.slots.Acquire(r.Context(), 1); err != nil {
		if r.Body != nil {
			_ = r.Body.Close()
		}
		return nil, err
	}
	patience := t.patience
	if p, ok := r.Context().Value(patienceKey{}).(time.Duration); ok {
		patience = p
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	w := &watch{patience: patience, stalled: func() {
		cancel(fmt.Errorf("%w: not a byte moved for %s", ErrUnavailable, patience))
	}}
	r = r.WithContext(ctx)
	if r.Body != nil && r.Body != http.NoBody {
		r.Body = &requestBody{ReadCloser: r.Body, watch: w}
	}
	done := sync.OnceFunc(func() {
		w.end()
		cancel(nil)
		t.slots.Release(1)
	})
	w.run()
	response, err := t.base.RoundTrip(r)
	w.halt()
	if err != nil {
		err = w.explain(ctx, err)
		done()
		return nil, err
	}
	w.answered()
	response.Body = &responseBody{ReadCloser: response.Body, watch: w, ctx: ctx, done: done}
	return response, nil
}

// watch is the clock of one attempt. It runs while the store is waited for.
type watch struct {
	patience time.Duration
	stalled  func()

	mu    sync.Mutex
	timer *time.Timer
	phase phase
}

type phase int

const (
	sending phase = iota
	receiving
	ended
)

func (w *watch) start(p phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.phase != p: // a request whose answer came before all of it was sent
	case w.timer == nil:
		w.timer = time.AfterFunc(w.patience, w.stalled)
	default:
		w.timer.Reset(w.patience)
	}
}

func (w *watch) stop(p phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.phase == p && w.timer != nil {
		w.timer.Stop()
	}
}

func (w *watch) run()  { w.start(sending) }
func (w *watch) halt() { w.stop(sending) }

func (w *watch) turn(p phase) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.phase = p
	if w.timer != nil {
		w.timer.Stop()
	}
}

func (w *watch) answered() { w.turn(receiving) }
func (w *watch) end()      { w.turn(ended) }

// explain puts the reason for which the watch ended an attempt in the place of the bare cancellation.
func (w *watch) explain(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(cause, ErrUnavailable) {
		return cause
	}
	return err
}

type requestBody struct {
	io.ReadCloser
	watch *watch
}

// Read reads what is sent next: it is the caller's time.
func (b *requestBody) Read(p []byte) (int, error) {
	b.watch.stop(sending)
	defer b.watch.start(sending)
	return b.ReadCloser.Read(p)
}

type responseBody struct {
	io.ReadCloser
	watch *watch
	ctx   context.Context
	done  func()
}

// Read waits for the store.
func (b *responseBody) Read(p []byte) (int, error) {
	b.watch.start(receiving)
	n, err := b.ReadCloser.Read(p)
	b.watch.stop(receiving)
	if err != nil && err != io.EOF {
		err = b.watch.explain(b.ctx, err)
	}
	return n, err
}

// Close ends the attempt.
func (b *responseBody) Close() error {
	err := b.ReadCloser.Close()
	b.done()
	return err
}
