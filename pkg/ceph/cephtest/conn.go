package cephtest

// A connection, and what every call goes through.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
)

// Conn is a client of a Cluster; see ceph.Conn. Clients differ only as holders of locks.
type Conn struct {
	cluster *Cluster
	id      int
	once    sync.Once
	closed  chan struct{}
}

// ErrClosed is ceph.ErrClosed.
var ErrClosed = ceph.ErrClosed

// errWait is what a call's function returns while a daemon it needs is down; the call waits and is done again.
var errWait = errors.New("a daemon is down")

// do performs a call: f, with the cluster's lock held, as the intercept function wants it. The caller leaves at its
// deadline, the call itself goes on, as it does in a real cluster.
func do[T any](ctx context.Context, c *Conn, kind Kind, op string, args map[string]any, f func() (T, error)) (T, error) {
	var none T
	name := string(kind) + " " + op
	start := time.Now()
	if c.isClosed() {
		return none, fmt.Errorf("%s: %w", name, ErrClosed)
	}
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("%s: not sent: %w (%w)", name, ceph.ErrHung, err)
	}
	action := c.cluster.hooks.begin(Call{Kind: kind, Op: op, Args: args, Conn: c})
	if action.Before != nil {
		action.Before()
	}
	type result struct {
		value T
		err   error
	}
	answer := make(chan result, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		v, err := perform(c, action, f)
		answer <- result{v, err}
	}()
	select {
	case r := <-answer:
		return r.value, named(name, r.err)
	case <-c.closed:
		return none, fmt.Errorf("%s: %w", name, ErrClosed)
	case <-ctx.Done():
		return none, &ceph.HungError{Op: name, After: time.Since(start), Cause: ctx.Err(), Done: ended}
	}
}

// perform does what the cluster and the network do with a call.
func perform[T any](c *Conn, a Action, f func() (T, error)) (T, error) {
	var none T
	wait := func(until <-chan struct{}) bool {
		select {
		case <-until:
			return true
		case <-c.closed:
			return false
		}
	}
	if a.Delay > 0 {
		timer := make(chan struct{})
		time.AfterFunc(a.Delay, func() { close(timer) })
		if !wait(timer) {
			return none, ErrClosed
		}
	}
	if a.Fail != nil {
		return none, asError(a.Fail)
	}
	if a.Hang && !wait(a.Until) {
		return none, ErrClosed
	}
	for {
		c.cluster.mu.Lock()
		v, err := f()
		changed := c.cluster.changed
		c.cluster.mu.Unlock()
		switch {
		case errors.Is(err, errWait):
			if !wait(changed) {
				return none, ErrClosed
			}
			continue
		case a.LoseAndHang:
			wait(a.Until)
			return none, ErrClosed
		case a.Lose != nil:
			return none, asError(a.Lose)
		}
		return v, err
	}
}

func (c *Conn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

// named gives an error of the cluster the name of what was asked.
func named(op string, err error) error {
	var e *ceph.Error
	if errors.As(err, &e) && e.Op == "" {
		e.Op = op
	}
	return err
}

// fail is an answer with an errno and the words of Ceph.
func fail(n syscall.Errno, format string, args ...any) error {
	return &ceph.Error{Errno: n, Text: fmt.Sprintf(format, args...)}
}

// Mgr sends a command to the manager.
func (c *Conn) Mgr(ctx context.Context, command map[string]any) ([]byte, error) {
	prefix, args := arguments(command)
	return do(ctx, c, Mgr, prefix, args, func() ([]byte, error) {
		if c.cluster.mgrDown {
			return nil, errWait
		}
		return c.cluster.mgrCommand(prefix, args)
	})
}

// Mon sends a command to the monitors.
func (c *Conn) Mon(ctx context.Context, command map[string]any) ([]byte, error) {
	prefix, args := arguments(command)
	return do(ctx, c, Mon, prefix, args, func() ([]byte, error) { return c.cluster.monCommand(prefix, args) })
}

// MDS sends a command to a metadata server.
func (c *Conn) MDS(ctx context.Context, fs string, _ int, command map[string]any) ([]byte, error) {
	prefix, args := arguments(command)
	return do(ctx, c, MDS, prefix, args, func() ([]byte, error) {
		f := c.cluster.filesystem(fs)
		switch {
		case f == nil:
			return nil, fail(syscall.ENOENT, "no file system %s", fs)
		case f.mdsDown:
			return nil, errWait
		}
		return f.mdsCommand(prefix, args)
	})
}

// arguments are those of a command as they arrive: what JSON makes of them.
func arguments(command map[string]any) (prefix string, args map[string]any) {
	raw, err := json.Marshal(command)
	if err != nil {
		panic(fmt.Sprintf("cephtest: a command that isn't JSON: %v", err))
	}
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	if err := d.Decode(&args); err != nil {
		panic(err)
	}
	prefix, _ = args["prefix"].(string)
	delete(args, "prefix")
	delete(args, "format")
	return prefix, args
}

// Tree is the tree of a file system.
func (c *Conn) Tree(fs string) ceph.Tree { return &tree{conn: c, fs: fs} }

// Objects are the objects of a namespace of a pool.
func (c *Conn) Objects(pool, namespace string) ceph.Objects {
	return &objects{conn: c, pool: pool, namespace: namespace}
}

// Close ends the connection: calls in flight and later ones get ErrClosed. Its locks stay until their leases end.
func (c *Conn) Close() { c.once.Do(func() { close(c.closed) }) }
