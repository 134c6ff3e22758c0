// Package cephtrace makes a span of every call to Ceph that belongs to a call which is traced. It shows which command was
// sent and how long it took, never what was in it.
package cephtrace

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/strata-csi/strata/pkg/ceph"
)

// New returns a Conn that does what conn does. cluster is the cluster's id.
func New(conn ceph.Conn, provider trace.TracerProvider, cluster string) ceph.Conn {
	return &traced{Conn: conn, tracer: tracer{provider.Tracer("github.com/strata-csi/strata/pkg/ceph/cephtrace"), attribute.String("ceph.cluster", cluster)}}
}

type tracer struct {
	trace.Tracer
	cluster attribute.KeyValue
}

// span begins a span below the caller's; end ends it. Without one above nothing is recorded: the looks in the background ask thousands
// of questions.
func (t tracer) span(ctx context.Context, name string, attributes ...attribute.KeyValue) (_ context.Context, end func(error)) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, func(error) {}
	}
	ctx, span := t.Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient), trace.WithAttributes(append(attributes, t.cluster)...))
	return ctx, func(err error) {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}
}

type traced struct {
	ceph.Conn
	tracer tracer
}

func (c *traced) Mgr(ctx context.Context, command map[string]any) ([]byte, error) {
	return c.command(ctx, "mgr", c.Conn.Mgr, command)
}

func (c *traced) Mon(ctx context.Context, command map[string]any) ([]byte, error) {
	return c.command(ctx, "mon", c.Conn.Mon, command)
}

func (c *traced) MDS(ctx context.Context, fs string, rank int, command map[string]any) ([]byte, error) {
	return c.command(ctx, "mds", func(ctx context.Context, command map[string]any) ([]byte, error) {
		return c.Conn.MDS(ctx, fs, rank, command)
	}, command)
}

func (c *traced) command(ctx context.Context, to string, send func(context.Context, map[string]any) ([]byte, error), command map[string]any) ([]byte, error) {
	prefix, _ := command["prefix"].(string)
	ctx, end := c.tracer.span(ctx, to+" "+prefix)
	out, err := send(ctx, command)
	end(err)
	return out, err
}

func (c *traced) Tree(fs string) ceph.Tree {
	return &tree{c.Conn.Tree(fs), c.tracer, attribute.String("ceph.fs", fs)}
}

func (c *traced) Objects(pool, namespace string) ceph.Objects {
	return &objects{c.Conn.Objects(pool, namespace), c.tracer, attribute.String("ceph.pool", pool)}
}

type tree struct {
	tree   ceph.Tree
	tracer tracer
	fs     attribute.KeyValue
}

func (t *tree) do(ctx context.Context, op, path string, call func(context.Context) error) {
	ctx, end := t.tracer.span(ctx, "cephfs "+op, t.fs, attribute.String("ceph.path", path))
	end(call(ctx))
}

func (t *tree) Xattr(ctx context.Context, path, name string) (value string, err error) {
	t.do(ctx, "Xattr "+name, path, func(ctx context.Context) error { value, err = t.tree.Xattr(ctx, path, name); return err })
	return value, err
}

func (t *tree) SetXattr(ctx context.Context, path, name, value string) (err error) {
	t.do(ctx, "SetXattr "+name, path, func(ctx context.Context) error { err = t.tree.SetXattr(ctx, path, name, value); return err })
	return err
}

func (t *tree) CreateXattr(ctx context.Context, path, name, value string) (err error) {
	t.do(ctx, "CreateXattr "+name, path, func(ctx context.Context) error { err = t.tree.CreateXattr(ctx, path, name, value); return err })
	return err
}

func (t *tree) RemoveXattr(ctx context.Context, path, name string) (err error) {
	t.do(ctx, "RemoveXattr "+name, path, func(ctx context.Context) error { err = t.tree.RemoveXattr(ctx, path, name); return err })
	return err
}

func (t *tree) ReadDir(ctx context.Context, path string) (names []string, err error) {
	t.do(ctx, "ReadDir", path, func(ctx context.Context) error { names, err = t.tree.ReadDir(ctx, path); return err })
	return names, err
}

func (t *tree) ReadLink(ctx context.Context, path string) (to string, err error) {
	t.do(ctx, "ReadLink", path, func(ctx context.Context) error { to, err = t.tree.ReadLink(ctx, path); return err })
	return to, err
}

func (t *tree) MakeDir(ctx context.Context, path string) (err error) {
	t.do(ctx, "MakeDir", path, func(ctx context.Context) error { err = t.tree.MakeDir(ctx, path); return err })
	return err
}

func (t *tree) RemoveDir(ctx context.Context, path string) (err error) {
	t.do(ctx, "RemoveDir", path, func(ctx context.Context) error { err = t.tree.RemoveDir(ctx, path); return err })
	return err
}

type objects struct {
	objects ceph.Objects
	tracer  tracer
	pool    attribute.KeyValue
}

func (o *objects) Lock(ctx context.Context, object, name, cookie string, lease time.Duration) error {
	ctx, end := o.tracer.span(ctx, "rados Lock", o.pool)
	err := o.objects.Lock(ctx, object, name, cookie, lease)
	end(err)
	return err
}

func (o *objects) Unlock(ctx context.Context, object, name, cookie string) error {
	ctx, end := o.tracer.span(ctx, "rados Unlock", o.pool)
	err := o.objects.Unlock(ctx, object, name, cookie)
	end(err)
	return err
}
