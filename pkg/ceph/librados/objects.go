package librados

// Locks on objects.

import (
	"context"
	"strings"
	"syscall"
	"time"

	"github.com/ceph/go-ceph/rados"

	"github.com/strata-csi/strata/pkg/ceph"
)

// mayRenew is LIBRADOS_LOCK_FLAG_MAY_RENEW of rados/librados.h: the holder's Lock extends its lease.
const mayRenew byte = 1

type objects struct {
	pool, namespace string
	slots           *slots
	client          *holder[*rados.Conn]
}

// call runs f, which returns a code and an error as go-ceph's lock functions do.
func (o *objects) call(ctx context.Context, op, object, name, cookie string, f func(*rados.IOContext) (int, error)) error {
	op += " " + name + " of " + o.pool + "/" + o.namespace + "/" + object
	if object == "" || strings.ContainsRune(object+name+cookie, 0) {
		return &ceph.Error{Op: op, Errno: syscall.EINVAL, Text: "no object name, or a name with a zero byte"}
	}
	_, err := run(ctx, o.slots, op, func() (struct{}, error) {
		return with(o.client, shutOut, func(r *rados.Conn) (struct{}, error) {
			return struct{}{}, o.inContext(r, op, f)
		})
	})
	return err
}

// inContext runs f in an I/O context of its own: making one is local and cheap, and one that calls share couldn't be freed.
func (o *objects) inContext(r *rados.Conn, op string, f func(*rados.IOContext) (int, error)) error {
	io, err := r.OpenIOContext(o.pool)
	if errno(err) == syscall.ENOENT {
		return &ceph.Error{Op: op, Errno: syscall.ENOENT, Text: "there is no pool " + o.pool}
	}
	if err != nil {
		return answer(op, err)
	}
	defer io.Destroy()
	io.SetNamespace(o.namespace)
	code, err := f(io)
	if err != nil {
		return answer(op, err)
	}
	if code != 0 {
		// go-ceph returns these (EBUSY, EEXIST, ENOENT) without an error.
		return &ceph.Error{Op: op, Errno: syscall.Errno(-code)}
	}
	return nil
}

func (o *objects) Lock(ctx context.Context, object, name, cookie string, lease time.Duration) error {
	if lease <= 0 {
		return &ceph.Error{Op: "lock " + name + " of " + object, Errno: syscall.EINVAL, Text: "a lock needs a lease"}
	}
	return o.call(ctx, "lock", object, name, cookie, func(io *rados.IOContext) (int, error) {
		flags := mayRenew
		return io.LockExclusive(object, name, cookie, "", lease, &flags)
	})
}

func (o *objects) Unlock(ctx context.Context, object, name, cookie string) error {
	return o.call(ctx, "unlock", object, name, cookie, func(io *rados.IOContext) (int, error) {
		return io.Unlock(object, name, cookie)
	})
}
