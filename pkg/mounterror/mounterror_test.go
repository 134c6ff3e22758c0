package mounterror

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestWrap(t *testing.T) {
	for _, c := range []struct{ err, want error }{
		{mountpoint.ErrInvalidPath, volume.ErrInvalid},
		{mountpoint.ErrNotDirectory, volume.ErrInvalid},
		{mountpoint.ErrNotFile, volume.ErrInvalid},
		{mountpoint.ErrNotDevice, volume.ErrUnavailable},
		{mountpoint.ErrNotEmpty, volume.ErrPrecondition},
		{mountpoint.ErrBusy, volume.ErrUnavailable},
		{mountpoint.ErrStillMounted, volume.ErrUnavailable},
		{mountpoint.ErrProbeHung, volume.ErrUnavailable},
		{mountpoint.ErrProbeLimit, volume.ErrUnavailable},
		{mountpoint.ErrUnmountHung, volume.ErrDeadline},
		{context.DeadlineExceeded, volume.ErrDeadline},
		{syscall.ENOTCONN, volume.ErrUnavailable},
		{syscall.ESHUTDOWN, volume.ErrUnavailable},
	} {
		in := fmt.Errorf("at /some/path: %w", c.err)
		got := Wrap(in)
		if !errors.Is(got, c.want) || !errors.Is(got, c.err) {
			t.Errorf("%v: got %v, want both it and %v", c.err, got, c.want)
		}
	}
	for _, err := range []error{nil, syscall.EIO, errors.New("other")} {
		if got := Wrap(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
