package cephtest

// Locks of objects, as the OSD's class "lock" does them.

import (
	"context"
	"strings"
	"syscall"
	"time"
)

type objectKey struct{ pool, namespace, name string }

// lock is an exclusive lock; its holder is a client and a cookie.
type lock struct {
	conn   int
	cookie string
	ends   time.Time
}

type objects struct {
	conn            *Conn
	pool, namespace string
}

func (o *objects) call(ctx context.Context, op, object, name, cookie string, f func(objectKey) error) error {
	args := map[string]any{"pool": o.pool, "namespace": o.namespace, "object": object, "name": name, "cookie": cookie}
	_, err := do(ctx, o.conn, Objects, op, args, func() (struct{}, error) {
		if object == "" || strings.ContainsRune(object+name+cookie, 0) {
			return struct{}{}, fail(syscall.EINVAL, "no object name, or a name with a zero byte")
		}
		if o.conn.cluster.pool(o.pool) == nil {
			return struct{}{}, fail(syscall.ENOENT, "there is no pool %s", o.pool)
		}
		return struct{}{}, f(objectKey{o.pool, o.namespace, object})
	})
	return err
}

func (o *objects) Lock(ctx context.Context, object, name, cookie string, lease time.Duration) error {
	return o.call(ctx, "Lock", object, name, cookie, func(k objectKey) error {
		if lease <= 0 {
			return fail(syscall.EINVAL, "a lock needs a lease")
		}
		c := o.conn.cluster
		now := c.now()
		if l := c.objects[k][name]; l != nil && now.Before(l.ends) && (l.conn != o.conn.id || l.cookie != cookie) {
			return fail(syscall.EBUSY, "")
		}
		if c.objects[k] == nil {
			c.objects[k] = map[string]*lock{}
		}
		c.objects[k][name] = &lock{conn: o.conn.id, cookie: cookie, ends: now.Add(lease)}
		return nil
	})
}

func (o *objects) Unlock(ctx context.Context, object, name, cookie string) error {
	return o.call(ctx, "Unlock", object, name, cookie, func(k objectKey) error {
		c := o.conn.cluster
		l := c.objects[k][name]
		if l == nil || !c.now().Before(l.ends) || l.conn != o.conn.id || l.cookie != cookie {
			return fail(syscall.ENOENT, "")
		}
		delete(c.objects[k], name)
		return nil
	})
}
