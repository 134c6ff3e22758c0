package librados

// Return codes of the libraries as errors of package ceph.

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/strata-csi/strata/pkg/ceph"
)

// ErrClosed is ceph.ErrClosed.
var ErrClosed = ceph.ErrClosed

// errno finds the return code in an error of go-ceph; 0 when it has none.
func errno(err error) syscall.Errno {
	var code interface{ ErrorCode() int }
	if !errors.As(err, &code) {
		return 0
	}
	n := code.ErrorCode()
	if n < 0 {
		n = -n
	}
	return syscall.Errno(n)
}

// refused turns an error of go-ceph into a *ceph.Error; op must hold no secret.
func refused(op string, err error, text string) error {
	if err == nil {
		return nil
	}
	if n := errno(err); n != 0 {
		return &ceph.Error{Op: op, Errno: n, Text: text}
	}
	return fmt.Errorf("%s: %w", op, err)
}

// answer is refused for calls in which ETIMEDOUT is not the cluster's answer but the library's own timeout.
func answer(op string, err error) error {
	if errno(err) == syscall.ETIMEDOUT {
		return fmt.Errorf("%s: given up by the client library: %w", op, ceph.ErrHung)
	}
	return refused(op, err, "")
}

// shutOut says that the cluster doesn't know this client any more: blocklisted (EBLOCKLISTED is ESHUTDOWN) or its
// mount is gone. The refused call had no effect.
func shutOut(err error) bool {
	return errors.Is(err, syscall.ESHUTDOWN) || errors.Is(err, syscall.ENOTCONN)
}
