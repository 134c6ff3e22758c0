package coldfs

// What a program is told of an error. Every error of every operation goes through this one table.

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"github.com/strata-csi/strata/pkg/coldfs/draft"
	"github.com/strata-csi/strata/pkg/coldfs/move"
	"github.com/strata-csi/strata/pkg/coldfs/names"
	"github.com/strata-csi/strata/pkg/s3"
)

// errnos is looked through from above: an error that is more than one of them is the first.
var errnos = []struct {
	err   error
	errno unix.Errno
}{
	{context.Canceled, unix.EINTR}, // a signal; or the engine ends
	{s3.ErrDenied, unix.EACCES},
	{s3.ErrNotFound, unix.ENOENT},
	{s3.ErrNoBucket, unix.ESTALE},
	{s3.ErrConflict, unix.ESTALE}, // another wrote the file: what was read or written is of an old version
	{s3.ErrFull, unix.ENOSPC},
	{draft.ErrNoRoom, unix.ENOSPC},
	{draft.ErrTooLarge, unix.EFBIG},
	{draft.ErrSent, unix.ENOSPC},
	{draft.ErrLost, unix.EIO},
	{draft.ErrUnverified, unix.EIO},
	{draft.ErrClosed, unix.EIO},
	{move.ErrUnverified, unix.EIO},
	{s3.ErrUnavailable, unix.EIO},
	{context.DeadlineExceeded, unix.EIO},
	{names.ErrTooLong, unix.ENAMETOOLONG},
	{move.ErrKeyTooLong, unix.ENAMETOOLONG},
	{names.ErrInvalid, unix.EINVAL},
	{s3.ErrInvalid, unix.EIO},
}

// errnoOf is what a program is told. An error that is none of the table is a system call's own number, or EIO.
func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	for _, e := range errnos {
		if errors.Is(err, e.err) {
			return e.errno
		}
	}
	var errno unix.Errno
	if errors.As(err, &errno) && errno != 0 {
		return errno
	}
	return unix.EIO
}

// answer is the status of an operation, which the health of the volume is told of.
func (f *FS) answer(err error) fuse.Status {
	if err == nil {
		return fuse.OK
	}
	f.health.failed(err)
	errno := errnoOf(err)
	if errno == unix.EIO {
		f.trouble.say(f.log, err)
	}
	return fuse.Status(errno)
}

// trouble says once what goes wrong again and again.
type trouble struct {
	mu   sync.Mutex
	said map[string]time.Time
}

const (
	sayAgain = time.Minute
	maxSaid  = 256
)

func (t *trouble) say(log klog.Logger, err error) {
	t.mu.Lock()
	text := err.Error()
	again := time.Since(t.said[text]) < sayAgain
	if t.said == nil || len(t.said) >= maxSaid {
		t.said = map[string]time.Time{}
	}
	if !again {
		t.said[text] = time.Now()
	}
	t.mu.Unlock()
	if !again {
		log.Error(err, "A program gets an I/O error; it is said again in a minute")
	}
}
