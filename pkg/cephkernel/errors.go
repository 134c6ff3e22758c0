package cephkernel

// How a failed mount is told apart: the kernel's errno is turned into one of a
// few sentinels here and nowhere else.

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrUnavailable: this node has no kernel CephFS client, or a kernel too
	// old for it to be used (before 5.2), or the process may not mount.
	ErrUnavailable = errors.New("the kernel CephFS client is not available")
	// ErrInvalid: a field of Mount, the key or an option is malformed or not
	// allowed.
	ErrInvalid = errors.New("invalid CephFS mount")
	// ErrDenied: the cluster refused the identity, or the identity may not
	// reach the path.
	ErrDenied = errors.New("access denied by the Ceph cluster")
	// ErrNotFound: the file system or the path in it does not exist.
	ErrNotFound = errors.New("the file system or the path does not exist")
	// ErrUnreachable: no monitor answered, or the metadata server did not, for as
	// long as mount_timeout.
	ErrUnreachable = errors.New("the Ceph cluster cannot be reached")
	// ErrNotServed: the monitors answered, and the mount failed before it reached a
	// metadata server. The kernel has one errno (EHOSTUNREACH) for three causes: the
	// key or the user is wrong, the file system does not exist, or it has no active
	// metadata server. The error's text names all three and holds the kernel's log.
	ErrNotServed = errors.New("the Ceph cluster does not serve the mount")
	// ErrInFlight: an earlier attempt for the same target whose caller gave up
	// is still waiting in the kernel.
	ErrInFlight = errors.New("an earlier mount of the same target is still in progress")
)

// failure is what is known of a mount that failed.
type failure struct {
	err error
	// said is the kernel's explanation, from the context and from its log.
	said []string
	// waited is true when the attempt took all of mount_timeout.
	waited bool
}

// classify wraps a failure with the sentinel a caller can act on.
//
// What the client answers (fs/ceph/super.c and mds_client.c of Linux 6.1, and seen
// against a real cluster): a path outside the identity's capability EACCES; a missing
// path ENOENT; and EHOSTUNREACH in place of any error as long as no map of the metadata
// servers arrived, which a refused identity and a missing file system cause at once and
// silent monitors after mount_timeout.
func classify(m Mount, f failure) error {
	var kind error
	var hint string
	err := f.err
	switch {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM), errors.Is(err, unix.EKEYREJECTED):
		kind = ErrDenied
		hint = fmt.Sprintf("check with `ceph auth get client.%s` that the mds capability covers %s", m.User, m.Path)
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.ESTALE):
		kind = ErrNotFound
		hint = fmt.Sprintf("check that %s exists in file system %s", m.Path, m.FS)
	case errors.Is(err, unix.EHOSTUNREACH) && !f.waited:
		kind = ErrNotServed
		hint = fmt.Sprintf("check that `ceph fs status %s` shows an active MDS, and that the key is the one `ceph auth get-key client.%s` prints", m.FS, m.User)
	case errors.Is(err, unix.ETIMEDOUT), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH),
		errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EIO):
		kind = ErrUnreachable
		hint = fmt.Sprintf("check that this node reaches the monitors %s and that `ceph fs status %s` shows an active MDS", strings.Join(m.Monitors, ","), m.FS)
	case errors.Is(err, unix.EINVAL):
		kind = ErrInvalid
		hint = "this kernel does not accept one of the options"
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENOSYS):
		kind = ErrUnavailable
	default:
		kind = errors.New("the kernel refused")
	}
	text := fmt.Sprintf("mount %s as client.%s from file system %s", m.Path, m.User, m.FS)
	if len(f.said) > 0 {
		text += ": the kernel said " + strconv.Quote(strings.Join(f.said, "; "))
	}
	if hint != "" {
		text += " (" + hint + ")"
	}
	return fmt.Errorf("%w: %s: %w", kind, text, err)
}
