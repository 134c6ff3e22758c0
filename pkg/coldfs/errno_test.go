package coldfs

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/coldfs/draft"
	"github.com/strata-csi/strata/pkg/coldfs/move"
	"github.com/strata-csi/strata/pkg/coldfs/names"
	"github.com/strata-csi/strata/pkg/s3"
)

func TestErrnos(t *testing.T) {
	for _, c := range []struct {
		err  error
		want unix.Errno
	}{
		{nil, 0},
		{context.Canceled, unix.EINTR},
		{s3.ErrDenied, unix.EACCES},
		{s3.ErrNotFound, unix.ENOENT},
		{s3.ErrNoBucket, unix.ESTALE},
		{s3.ErrConflict, unix.ESTALE},
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
		{names.ErrInvalid, unix.EINVAL},
		{s3.ErrInvalid, unix.EIO},
		{unix.ENOTEMPTY, unix.ENOTEMPTY},
		{errors.New("anything else"), unix.EIO},
		{fmt.Errorf("%w: %w", draft.ErrNoRoom, unix.EIO), unix.ENOSPC},
		{fmt.Errorf("%w: %w", s3.ErrUnavailable, context.Canceled), unix.EINTR},
	} {
		if got := errnoOf(c.err); got != c.want {
			t.Errorf("%v: got %v, want %v", c.err, got, c.want)
		}
		if c.err != nil && errnoOf(fmt.Errorf("while testing: %w", c.err)) != c.want {
			t.Errorf("%v: wrapped it is another", c.err)
		}
	}
}
