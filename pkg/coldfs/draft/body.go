package draft

// What is sent of a draft: staged bytes, bytes of the base and zeros, read where they are. Nothing is held in memory besides a window of the base.

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
)

// baseWindow is how much of the base is read at once: the sender asks for far less.
const baseWindow = 1 << 20

// body is a range of a draft as it was when the body was made. The draft sees to it that the staged bytes of it stay, or that what is sent isn't used.
type body struct {
	ctx    context.Context
	file   *os.File
	src    *source // nil: no piece is in the base
	pieces []piece

	mu     sync.Mutex
	err    error  // the first error, which the sender hides behind its own
	window []byte // bytes of the base from at on
	at     int64
}

// body makes the body of a range. d.mu is held. The caller closes it.
func (d *Draft) body(ctx context.Context, from, to int64) *body {
	b := &body{ctx: ctx, file: d.file, pieces: d.pieces(from, to)}
	if slices.ContainsFunc(b.pieces, func(p piece) bool { return p.in == base }) {
		b.src = d.base
		b.src.use()
	}
	return b
}

// baseBody is a range of the base, whatever is staged of it. d.mu is held. The caller closes it.
func (d *Draft) baseBody(ctx context.Context, from, to int64) *body {
	d.base.use()
	return &body{ctx: ctx, src: d.base, pieces: []piece{{from, to, base}}}
}

func (b *body) close() {
	if b.src != nil {
		b.src.release()
	}
}

// reader is the body as a file that begins at 0.
func (b *body) reader(from, to int64) io.ReadSeeker { return io.NewSectionReader(b, from, to-from) }

// ReadAt implements io.ReaderAt by the offsets of the draft.
func (b *body) ReadAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for n < len(p) {
		i, found := slices.BinarySearchFunc(b.pieces, off, func(x piece, v int64) int {
			switch {
			case x.to <= v:
				return -1
			case x.from > v:
				return 1
			}
			return 0
		})
		if !found {
			return n, io.EOF
		}
		x := b.pieces[i]
		q := p[n:min(int64(len(p)), int64(n)+x.to-off)]
		if err := b.read(q, off, x); err != nil {
			if b.err == nil {
				b.err = err
			}
			return n, err
		}
		n, off = n+len(q), off+int64(len(q))
	}
	return n, nil
}

func (b *body) read(q []byte, off int64, x piece) error {
	switch x.in {
	case zero:
		clear(q)
		return nil
	case staged:
		if _, err := b.file.ReadAt(q, off); err != nil {
			return fmt.Errorf("read staged bytes: %w", err)
		}
		return nil
	}
	for len(q) > 0 {
		if off < b.at || off >= b.at+int64(len(b.window)) {
			if int64(cap(b.window)) < min(baseWindow, x.to-off) {
				b.window = make([]byte, baseWindow)
			}
			b.window = b.window[:min(int64(cap(b.window)), x.to-off)]
			b.at = off
			if err := b.src.read(b.ctx, b.window, off); err != nil {
				b.window = b.window[:0]
				return err
			}
		}
		n := copy(q, b.window[off-b.at:])
		q, off = q[n:], off+int64(n)
	}
	return nil
}

// failure is what really went wrong.
func (b *body) failure(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil && b.err != nil {
		return b.err
	}
	return err
}
