package main

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// Progress prints lines with the time since the start.
type Progress struct {
	out   io.Writer
	start time.Time

	mu   sync.Mutex
	last time.Time
}

func newProgress(out io.Writer) *Progress {
	now := time.Now()
	return &Progress{out: out, start: now, last: now}
}

func (p *Progress) elapsed() time.Duration { return time.Since(p.start) }

// Printf prints one line.
func (p *Progress) Printf(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last = time.Now()
	fmt.Fprintf(p.out, "[%5s] %s\n", clock(p.elapsed()), fmt.Sprintf(format, args...))
}

// quietFor is how long nothing has been printed.
func (p *Progress) quietFor() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Since(p.last)
}

// clock is minutes and seconds.
func clock(d time.Duration) string {
	s := int(d.Round(time.Second).Seconds())
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}
