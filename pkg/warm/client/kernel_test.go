package client

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/strata-csi/strata/pkg/cephkernel"
	"github.com/strata-csi/strata/pkg/volume"
)

func TestKernelErrorsAreClassified(t *testing.T) {
	for from, to := range map[error]error{
		cephkernel.ErrUnavailable: volume.ErrPrecondition, cephkernel.ErrInvalid: volume.ErrInvalid, cephkernel.ErrDenied: volume.ErrDenied,
		cephkernel.ErrNotFound: volume.ErrNotFound, cephkernel.ErrUnreachable: volume.ErrUnavailable, cephkernel.ErrNotServed: volume.ErrUnavailable,
		cephkernel.ErrInFlight: volume.ErrPending, context.DeadlineExceeded: volume.ErrDeadline, context.Canceled: context.Canceled,
	} {
		wantError(t, kernelError(fmt.Errorf("mount: %w", from)), to)
	}
	wantError(t, kernelError(nil), nil)
}

func TestKernelSpeaksMessenger2UnlessTold(t *testing.T) {
	for _, c := range []struct{ in, want []string }{
		{nil, []string{"ms_mode=prefer-crc"}},
		{[]string{"noatime"}, []string{"ms_mode=prefer-crc", "noatime"}},
		{[]string{"ms_mode=secure"}, []string{"ms_mode=secure"}},
	} {
		if got := withMessenger(c.in); !slices.Equal(got, c.want) {
			t.Errorf("%q: got %q", c.in, got)
		}
		wantError(t, NewKernelMounter().CheckOptions(withMessenger(c.in)), nil)
	}
	wantError(t, NewKernelMounter().CheckOptions([]string{"secret=x"}), volume.ErrInvalid)
}
