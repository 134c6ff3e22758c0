package s3test

// What can be done to a request.

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// Fault is done to a request in the place of forwarding it.
type Fault func(*Exchange)

// Status answers as the store would with an error: 500 InternalError, 503 SlowDown, 412 PreconditionFailed, 403 AccessDenied. The store doesn't see the request.
func Status(status int, code string) Fault {
	return func(x *Exchange) {
		_, _ = io.Copy(io.Discard, x.r.Body)
		x.w.Header().Set("Content-Type", "application/xml")
		x.w.WriteHeader(status)
		if x.r.Method != http.MethodHead {
			fmt.Fprintf(x.w, `<?xml version="1.0" encoding="UTF-8"?><Error><Code>%s</Code><Message>a test says so</Message></Error>`, code)
		}
	}
}

// Reset breaks the connection off before the store sees the request.
func Reset() Fault { return (*Exchange).reset }

// LoseAnswer lets the store do what is asked and breaks the connection off before its answer.
func LoseAnswer() Fault {
	return func(x *Exchange) {
		response, err := x.send(x.r.Body)
		if err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		x.reset()
	}
}

// ErrorInside lets the store do what is asked and answers 200 with an error in the body, as stores do that have answered before they were ready.
func ErrorInside(code string) Fault {
	return func(x *Exchange) {
		response, err := x.send(x.r.Body)
		if err != nil {
			x.reset()
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
		Status(http.StatusOK, code)(x)
	}
}

// ErrorInsteadOf answers 200 with an error in the body; the store doesn't see the request.
func ErrorInsteadOf(code string) Fault { return Status(http.StatusOK, code) }

// Truncate breaks the answer off after n bytes of its body.
func Truncate(n int64) Fault {
	return body(func(x *Exchange, r io.Reader) {
		_, _ = io.CopyN(flushing{x.w}, r, n)
		x.reset()
	})
}

// Corrupt turns the bits of the answer's byte number n.
func Corrupt(n int64) Fault {
	return body(func(x *Exchange, r io.Reader) { _, _ = io.Copy(x.w, &corrupted{r, n}) })
}

// CorruptRequest turns the bits of byte number n of what is sent to the store.
func CorruptRequest(n int64) Fault {
	return func(x *Exchange) {
		response, err := x.send(&corrupted{x.r.Body, n})
		if err != nil {
			x.reset()
		}
		x.answer(response, response.Body)
	}
}

// WrongETag gives the answer another ETag.
func WrongETag(etag string) Fault {
	return func(x *Exchange) {
		response, err := x.send(x.r.Body)
		if err != nil {
			x.reset()
		}
		response.Header.Set("ETag", strconv.Quote(etag))
		x.answer(response, response.Body)
	}
}

// Drip sends the answer's body in pieces of n bytes with pauses between.
func Drip(n int64, pause time.Duration) Fault {
	return body(func(x *Exchange, r io.Reader) {
		for {
			if _, err := io.CopyN(flushing{x.w}, r, n); err != nil {
				return
			}
			select {
			case <-time.After(pause):
			case <-x.r.Context().Done():
				x.reset()
			case <-x.proxy.ctx.Done():
				x.reset()
			}
		}
	})
}

// Stall answers nothing until the client goes.
func Stall() Fault {
	return func(x *Exchange) {
		_, _ = io.Copy(io.Discard, x.r.Body)
		x.wait()
	}
}

// StallAfter stands still after n bytes of the answer's body until the client goes.
func StallAfter(n int64) Fault {
	return body(func(x *Exchange, r io.Reader) {
		_, _ = io.CopyN(flushing{x.w}, r, n)
		x.wait()
	})
}

// Delay forwards the request when release is closed, or when the client goes.
func Delay(release <-chan struct{}) Fault {
	return func(x *Exchange) {
		select {
		case <-release:
			x.forward()
		case <-x.r.Context().Done():
			x.reset()
		case <-x.proxy.ctx.Done():
			x.reset()
		}
	}
}

// Do calls f, then forwards the request: for what happens between two requests of a client.
func Do(f func()) Fault {
	return func(x *Exchange) {
		f()
		x.forward()
	}
}

// body has an answer's body sent by f; the answer's headers are the store's.
func body(f func(x *Exchange, r io.Reader)) Fault {
	return func(x *Exchange) {
		response, err := x.send(x.r.Body)
		if err != nil {
			x.reset()
		}
		defer response.Body.Close()
		for name, values := range response.Header {
			x.w.Header()[name] = values
		}
		if response.ContentLength >= 0 {
			x.w.Header().Set("Content-Length", strconv.FormatInt(response.ContentLength, 10))
		}
		x.w.WriteHeader(response.StatusCode)
		f(x, response.Body)
	}
}

// corrupted turns the bits of one byte.
type corrupted struct {
	io.Reader
	left int64
}

func (c *corrupted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	if c.left >= 0 && c.left < int64(n) {
		p[c.left] ^= 0xff
	}
	c.left -= int64(n)
	return n, err
}

// Answer answers with this status and body; the store doesn't see the request.
func Answer(status int, body string) Fault {
	return func(x *Exchange) {
		_, _ = io.Copy(io.Discard, x.r.Body)
		x.w.Header().Set("Content-Type", "application/xml")
		x.w.WriteHeader(status)
		_, _ = io.WriteString(x.w, body)
	}
}

// Ignore answers a write with success where it has the header of a condition, as a store does that doesn't know it. (The header is signed: it can't be left out on the way.)
// The store doesn't see the request.
func Ignore(header string) Fault {
	return func(x *Exchange) {
		if x.r.Header.Get(header) == "" {
			x.forward()
			return
		}
		_, _ = io.Copy(io.Discard, x.r.Body)
		x.w.Header().Set("ETag", `"00000000000000000000000000000000"`)
	}
}

// BrokenAnswer answers with this status and breaks off in the middle of the body; the store doesn't see the request.
func BrokenAnswer(status int) Fault {
	return func(x *Exchange) {
		_, _ = io.Copy(io.Discard, x.r.Body)
		x.w.Header().Set("Content-Type", "application/xml")
		x.w.Header().Set("Content-Length", "1000")
		x.w.WriteHeader(status)
		_, _ = io.WriteString(flushing{x.w}, "<Error><Code>NoSuch")
		x.reset()
	}
}
