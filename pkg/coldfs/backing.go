package coldfs

// What the engine asks the holder for, which alone may give the kernel a file to read in the place of another.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/control"
)

// backingLimit is how long the holder may take. It does nothing that waits, and somebody's open() does.
const backingLimit = 5 * time.Second

var (
	// errBackingsFull: the holder gives no more for now.
	errBackingsFull = errors.New("too many backing files")
	// errNoHolder: there is none that answers.
	errNoHolder = errors.New("strata-mountd doesn't answer")
)

// asked are the requests that the holder hasn't answered yet. The zero value is ready.
type asked struct {
	mu    sync.Mutex
	last  uint64
	open  map[uint64]chan control.BackingAnswer
	ended bool
}

// begin takes a number for a request.
func (a *asked) begin() (uint64, chan control.BackingAnswer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return 0, nil, errNoHolder
	}
	if a.open == nil {
		a.open = map[uint64]chan control.BackingAnswer{}
	}
	a.last++
	answer := make(chan control.BackingAnswer, 1)
	a.open[a.last] = answer
	return a.last, answer, nil
}

// answer passes an answer on; false: nobody waits for it.
func (a *asked) answer(x control.BackingAnswer) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	answer := a.open[x.Request]
	if answer == nil {
		return false
	}
	delete(a.open, x.Request)
	answer <- x
	return true
}

// forget ends the wait for an answer; false: it has come.
func (a *asked) forget(request uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, waits := a.open[request]
	delete(a.open, request)
	return waits
}

// end tells all who wait that the holder is gone.
func (a *asked) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	for request, answer := range a.open {
		delete(a.open, request)
		close(answer)
	}
}

// back has the kernel take a file of the cache as a backing file and returns its id, which is to be given back with unback. The error is errNoHolder, errBackingsFull, why the holder or the kernel refuses it, or the
// context's.
func (l *link) back(ctx context.Context, file *os.File) (int32, error) {
	if l.conn == nil {
		return 0, errNoHolder
	}
	request, answer, err := l.backings.begin()
	if err != nil {
		return 0, err
	}
	raw, err := json.Marshal(control.Message{Backing: &control.BackingRequest{Request: request}})
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, backingLimit, errNoHolder)
	defer cancel()
	// A holder that hears nothing may not take it: nobody is to wait for that, and the file may be closed meanwhile.
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		l.backings.forget(request)
		return 0, fmt.Errorf("a file of the cache: %w", err)
	}
	sent := make(chan error, 1)
	go func() {
		defer func() { _ = unix.Close(fd) }()
		_, _, err := l.conn.WriteMsgUnix(raw, unix.UnixRights(fd), nil)
		sent <- err
	}()
	for {
		select {
		case err := <-sent:
			if err != nil {
				l.backings.forget(request)
				return 0, fmt.Errorf("%w: %w", errNoHolder, err)
			}
			sent = nil
		case a, ok := <-answer:
			switch {
			case !ok:
				return 0, errNoHolder
			case a.Full:
				return 0, fmt.Errorf("%w: %s", errBackingsFull, a.Refused)
			case a.Refused != "":
				return 0, errors.New(a.Refused)
			}
			return a.ID, nil
		case <-ctx.Done():
			if l.backings.forget(request) {
				return 0, context.Cause(ctx)
			}
			ctx = context.Background() // it has come just now
		}
	}
}

// unback gives a backing file back. The kernel keeps it as long as a file that is open needs it.
func (l *link) unback(id int32) error {
	return l.say(control.Message{Backing: &control.BackingRequest{Close: id}})
}
