package inspect

// The only way from this package to a cluster.

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
)

// queryTime bounds one question: a cluster that is half down would otherwise take the time of all others.
const queryTime = 15 * time.Second

// query is a command that changes nothing.
type query string

// The commands that are sent, with the monitors' capability that each takes. The manager's is one that any user with `mgr allow r` may send.
const (
	monStatus   query = "status"      // r
	monVersions query = "versions"    // r
	monPools    query = "osd pool ls" // r
	monFS       query = "fs dump"     // r
	monDF       query = "df"          // r
	monAuth     query = "auth get"    // rx on auth, which an administrator has
	mgrGroups   query = "fs subvolumegroup ls"
)

// looker is a connection that can only look.
type looker struct{ conn ceph.Conn }

func (l looker) mon(ctx context.Context, q query, args map[string]any, into any) error {
	return ask(ctx, l.conn.Mon, q, args, into)
}

func (l looker) mgr(ctx context.Context, q query, args map[string]any, into any) error {
	return ask(ctx, l.conn.Mgr, q, args, into)
}

func ask(ctx context.Context, send func(context.Context, map[string]any) ([]byte, error), q query, args map[string]any, into any) error {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	command := map[string]any{"prefix": string(q), "format": "json"}
	for k, v := range args {
		command[k] = v
	}
	raw, err := send(ctx, command)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: the cluster's answer isn't what this program knows: %w", q, err)
	}
	return nil
}

// tree is a directory tree that can only be read.
type tree struct {
	t  ceph.Tree
	fs string
}

func (l looker) tree(fs string) tree { return tree{l.conn.Tree(fs), fs} }

func (t tree) xattr(ctx context.Context, path, name string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	v, err := t.t.Xattr(ctx, path, name)
	return strings.TrimRight(v, "\x00"), err
}

// list returns the names in a directory; one that isn't there has none.
func (t tree) list(ctx context.Context, path string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	names, err := t.t.ReadDir(ctx, path)
	if ceph.Absent(err) {
		return nil, nil
	}
	return names, err
}

// link returns what a symbolic link points at; "" when there is none.
func (t tree) link(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, queryTime)
	defer cancel()
	to, err := t.t.ReadLink(ctx, path)
	if ceph.Absent(err) || errors.Is(err, syscall.EINVAL) {
		return "", nil
	}
	return to, err
}

// record reads the driver's record of a directory into a value. missing: the directory has none, or isn't there (absent).
func (t tree) record(ctx context.Context, path string, into any) (absent, missing bool, err error) {
	raw, err := t.xattr(ctx, path, attrRecord)
	switch {
	case ceph.Absent(err):
		return true, true, nil
	case errors.Is(err, syscall.ENODATA):
		return false, true, nil
	case err != nil:
		return false, false, err
	}
	if err := json.Unmarshal([]byte(raw), into); err != nil {
		return false, false, fmt.Errorf("%w: attribute %s of %s: %w", errUnreadable, attrRecord, path, err)
	}
	return false, false, nil
}

// errUnreadable: a record that isn't one.
var errUnreadable = errors.New("not a record of this driver")

// number reads an attribute that holds a number; nil when it isn't set, or has nothing to be set on.
func (t tree) number(ctx context.Context, path, name string) (*int64, error) {
	raw, err := t.xattr(ctx, path, name)
	if ceph.Absent(err) || errors.Is(err, syscall.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(raw), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("attribute %s of %s: %w", name, path, err)
	}
	return &n, nil
}

// changed reads the time of the newest change below a directory; nil when it isn't known.
func (t tree) changed(ctx context.Context, path string) (*time.Time, error) {
	return t.seconds(ctx, path, attrChanged)
}

// seconds reads an attribute that holds a time as seconds and nanoseconds, of which releases before 17 had a stray "09" before the latter:
// only the seconds are used. nil: it isn't set, or has nothing to be set on.
func (t tree) seconds(ctx context.Context, path, name string) (*time.Time, error) {
	raw, err := t.xattr(ctx, path, name)
	if ceph.Absent(err) || errors.Is(err, syscall.ENODATA) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	digits, _, _ := strings.Cut(raw, ".")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("attribute %s of %s: %w", name, path, err)
	}
	at := time.Unix(n, 0).UTC()
	return &at, nil
}

// Attributes that are read; docs/parameters.md, "Names", has the record's.
const (
	attrRecord  = "user.strata"
	attrQuota   = "ceph.quota.max_bytes"
	attrBytes   = "ceph.dir.rbytes"
	attrEntries = "ceph.dir.rentries"
	attrChanged = "ceph.dir.rctime"
	attrTaken   = "ceph.snap.btime"
)

// dataDirectory is the form of the name that the manager gives the directory with a subvolume's files.
var dataDirectory = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// hasData says whether a subvolume has a directory with files, or a snapshot of one.
func (t tree) hasData(ctx context.Context, base string) (bool, error) {
	names, err := t.list(ctx, base)
	if err != nil {
		return false, err
	}
	for _, n := range names {
		if dataDirectory.MatchString(n) {
			return true, nil
		}
	}
	return false, nil
}
