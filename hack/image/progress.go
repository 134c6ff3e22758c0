package main

// Progress lines with the seconds since the start.

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress prints one line per step. It may be used from several goroutines.
type Progress struct {
	mu    sync.Mutex
	out   io.Writer
	start time.Time
}

func newProgress(out io.Writer) *Progress { return &Progress{out: out, start: time.Now()} }

// Step prints a line.
func (p *Progress) Step(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.out, "[%6.1fs] %s\n", time.Since(p.start).Seconds(), fmt.Sprintf(format, args...))
}
