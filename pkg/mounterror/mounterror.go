// Package mounterror puts what pkg/mountpoint can say into the terms of pkg/volume, in one table, so that
// pkg/node and the backends answer the same to the same fault.
package mounterror

import (
	"context"
	"errors"
	"fmt"

	"github.com/strata-csi/strata/pkg/mountpoint"
	"github.com/strata-csi/strata/pkg/volume"
)

// table is tried from the top: an unmount that hangs also wraps a context's end.
func table() []struct{ from, to error } {
	return []struct{ from, to error }{
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
	}
}

// Wrap returns err wrapped with the sentinel of pkg/volume that says what a caller can do about it: a busy or silent
// mount may be free or answer later (ErrUnavailable), an unmount that doesn't return ran out of time (ErrDeadline), a
// directory with files in it needs its operator (ErrPrecondition), a dead mount is ErrUnavailable until
// it is staged again. Any other error, and nil, is returned as it is.
func Wrap(err error) error {
	for _, row := range table() {
		if errors.Is(err, row.from) {
			return fmt.Errorf("%w: %w", row.to, err)
		}
	}
	if mountpoint.Dead(err) {
		return fmt.Errorf("%w: %w", volume.ErrUnavailable, err)
	}
	return err
}
