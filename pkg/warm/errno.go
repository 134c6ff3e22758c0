package warm

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"github.com/strata-csi/strata/pkg/ceph"
	"github.com/strata-csi/strata/pkg/volume"
)

// kinds says what each errno of a cluster means to a caller, where the call that got it knows no better.
var kinds = []struct {
	errno syscall.Errno
	kind  error
	help  string
}{
	{syscall.ENOENT, volume.ErrNotFound, ""},
	{syscall.EEXIST, volume.ErrExists, ""},
	{syscall.EAGAIN, volume.ErrPending, ""},
	{syscall.EBUSY, volume.ErrPending, ""},
	{syscall.EINVAL, volume.ErrInvalid, ""},
	{syscall.ENAMETOOLONG, volume.ErrInvalid, ""},
	{syscall.EDQUOT, volume.ErrExhausted, ""},
	{syscall.ENOSPC, volume.ErrExhausted, "the cluster is full: see `ceph df` and `ceph health detail`"},
	{syscall.EACCES, volume.ErrPrecondition, capsHelp},
	{syscall.EPERM, volume.ErrPrecondition, capsHelp},
	{syscall.ETIMEDOUT, volume.ErrUnavailable, ""},
	{syscall.ESHUTDOWN, volume.ErrUnavailable, "the controller's client was evicted and reconnects"},
	{syscall.ENOTCONN, volume.ErrUnavailable, ""},
	{syscall.EIO, volume.ErrUnavailable, "see `ceph health detail`"},
	{syscall.EROFS, volume.ErrUnavailable, "see `ceph health detail`"},
	{syscall.EOPNOTSUPP, volume.ErrPrecondition, "the volumes module of this Ceph release lacks the command: see docs/limitations.md"},
}

const capsHelp = "the controller's Ceph user lacks a capability: compare `ceph auth get client.USER` with docs/security.md and set it by `ceph auth caps`"

// classify turns an error of package ceph into one that wraps a sentinel of package volume. An error that
// has one already stays as it is.
func classify(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, ceph.ErrHung) || errors.Is(err, ceph.ErrClosed) || errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w: %w", volume.ErrUnavailable, err)
	}
	var refusal *ceph.Error
	if !errors.As(err, &refusal) || wrapsSentinel(err) {
		return err
	}
	for _, k := range kinds {
		if refusal.Errno == k.errno {
			if k.help != "" {
				return fmt.Errorf("%w: %w; %s", k.kind, err, k.help)
			}
			return fmt.Errorf("%w: %w", k.kind, err)
		}
	}
	return err
}

func wrapsSentinel(err error) bool {
	for _, s := range []error{volume.ErrInvalid, volume.ErrNotFound, volume.ErrExists, volume.ErrPending, volume.ErrPrecondition,
		volume.ErrOutOfRange, volume.ErrExhausted, volume.ErrUnavailable, volume.ErrDeadline, volume.ErrUnsupported, volume.ErrToken} {
		if errors.Is(err, s) {
			return true
		}
	}
	return false
}
