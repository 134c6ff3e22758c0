package ceph

import (
	"context"
	"time"
)

// Conn is a connection to one Ceph cluster. Every method ends at the context's deadline: with ErrHung while the
// cluster has not answered, in which case the call itself may still take effect. Errors of the cluster are an *Error.
type Conn interface {
	// Mgr sends a command to the active manager, with its JSON arguments ("prefix" names it), and returns its output.
	// Several callers share the manager; it runs the commands of its volumes module one at a time.
	Mgr(ctx context.Context, command map[string]any) ([]byte, error)
	// Mon sends a command to the monitors.
	Mon(ctx context.Context, command map[string]any) ([]byte, error)
	// MDS sends a command to the metadata server that has a rank of the file system named fs.
	MDS(ctx context.Context, fs string, rank int, command map[string]any) ([]byte, error)
	// Tree is the directory tree of the CephFS file system named fs. It connects on first use.
	Tree(fs string) Tree
	// Objects are the objects of one RADOS namespace of one pool.
	Objects(pool, namespace string) Objects
	// Close ends the connection; calls in flight fail.
	Close()
}

// Tree is the part of a file system that no manager command gives: layouts, file quotas, recursive
// statistics, the manager's queue of clones, and our own records, which are extended attributes of directories. A record is exclusive because the
// metadata server makes a directory, or an attribute asked for with CreateXattr, only once, whoever asks.
// Paths are absolute in the file system.
type Tree interface {
	// Xattr reads an extended attribute. ENOENT: no such path; ENODATA: no such attribute.
	Xattr(ctx context.Context, path, name string) (string, error)
	// SetXattr writes an extended attribute.
	SetXattr(ctx context.Context, path, name, value string) error
	// CreateXattr writes an extended attribute that isn't there (XATTR_CREATE). EEXIST: it is.
	CreateXattr(ctx context.Context, path, name, value string) error
	// RemoveXattr removes an extended attribute. ENODATA: there was none.
	RemoveXattr(ctx context.Context, path, name string) error
	// ReadDir returns the names in a directory, sorted bytewise, without "." and "..".
	ReadDir(ctx context.Context, path string) ([]string, error)
	// ReadLink returns what a symbolic link points at. EINVAL: path is none; ENOENT: it isn't there.
	ReadLink(ctx context.Context, path string) (string, error)
	// MakeDir makes a directory with mode 0700. EEXIST: it is there; ENOENT: its parent isn't.
	MakeDir(ctx context.Context, path string) error
	// RemoveDir removes an empty directory. ENOENT: it isn't there; ENOTEMPTY: something is in it.
	RemoveDir(ctx context.Context, path string) error
}

// Objects are small objects of a RADOS namespace; Strata uses them for locks that expire by themselves.
type Objects interface {
	// Lock takes the exclusive lock named name on an object for at most lease, in which the holder must renew it by
	// calling Lock again with the same cookie. EBUSY: another cookie holds it.
	Lock(ctx context.Context, object, name, cookie string, lease time.Duration) error
	// Unlock releases the lock. ENOENT: this cookie doesn't hold it (any more).
	Unlock(ctx context.Context, object, name, cookie string) error
}
