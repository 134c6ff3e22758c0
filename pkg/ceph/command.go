package ceph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

// FS sends the subvolume commands of one file system. Names of the fields and their meaning:
// https://docs.ceph.com/en/latest/cephfs/fs-volumes/.
type FS struct {
	conn Conn
	name string
}

// NewFS returns the commands of the file system named name.
func NewFS(conn Conn, name string) FS { return FS{conn: conn, name: name} }

// Name is the file system's name.
func (f FS) Name() string { return f.name }

// Tree is the file system's directory tree.
func (f FS) Tree() Tree { return f.conn.Tree(f.name) }

// Subvolume names a subvolume.
type Subvolume struct{ Group, Name string }

// Base is the directory that holds the subvolume's data directory, its snapshots and the manager's notes.
func (s Subvolume) Base() string { return "/volumes/" + s.Group + "/" + s.Name }

func (s Subvolume) String() string { return s.Group + "/" + s.Name }

// SubvolumeInfo is what `fs subvolume info` answers. A husk that only keeps snapshots has no more than its State.
type SubvolumeInfo struct {
	Type          string // TypeClone, or how else it was made
	Path          string
	State         string
	DataPool      string
	PoolNamespace string
	Quota         int64 // bytes, 0: none
}

// TypeClone is the Type of a subvolume that began as a copy.
const TypeClone = "clone"

// StateRetained is the State of a subvolume that was removed and only keeps its snapshots.
const StateRetained = "snapshot-retained"

// SubvolumeOptions are the attributes of a new subvolume.
type SubvolumeOptions struct {
	Size     int64 // quota in bytes
	Pool     string
	UID, GID *int
	Mode     string // octal, like "0770"
}

func (f FS) mgr(ctx context.Context, prefix string, args map[string]any) ([]byte, error) {
	command := map[string]any{"prefix": prefix, "vol_name": f.name, "format": "json"}
	for k, v := range args {
		command[k] = v
	}
	return f.conn.Mgr(ctx, command)
}

func decode(op string, raw []byte, into any) error {
	if err := json.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%s: the cluster's answer isn't what this driver knows: %w", op, err)
	}
	return nil
}

// CreateGroup makes a subvolume group; one that exists stays.
func (f FS) CreateGroup(ctx context.Context, group string) error {
	_, err := f.mgr(ctx, "fs subvolumegroup create", map[string]any{"group_name": group})
	return err
}

// Create makes a subvolume. On one that exists it would silently set quota, pool, owner and mode anew: look first. The RADOS
// namespace is for the caller to set: with --namespace-isolated the command would also change that of a subvolume in use.
func (f FS) Create(ctx context.Context, s Subvolume, o SubvolumeOptions) error {
	args := map[string]any{
		"sub_name": s.Name, "group_name": s.Group, "size": o.Size,
	}
	if o.Pool != "" {
		args["pool_layout"] = o.Pool
	}
	if o.UID != nil {
		args["uid"] = *o.UID
	}
	if o.GID != nil {
		args["gid"] = *o.GID
	}
	if o.Mode != "" {
		args["mode"] = o.Mode
	}
	_, err := f.mgr(ctx, "fs subvolume create", args)
	return err
}

// Info looks at a subvolume. ENOENT: there is none. EAGAIN: it is an unfinished clone.
func (f FS) Info(ctx context.Context, s Subvolume) (SubvolumeInfo, error) {
	raw, err := f.mgr(ctx, "fs subvolume info", map[string]any{"sub_name": s.Name, "group_name": s.Group})
	if err != nil {
		return SubvolumeInfo{}, err
	}
	var info struct {
		Type          string          `json:"type"`
		Path          string          `json:"path"`
		State         string          `json:"state"`
		DataPool      string          `json:"data_pool"`
		PoolNamespace string          `json:"pool_namespace"`
		Quota         json.RawMessage `json:"bytes_quota"` // a number, or "infinite"
	}
	if err := decode("fs subvolume info", raw, &info); err != nil {
		return SubvolumeInfo{}, err
	}
	out := SubvolumeInfo{Type: info.Type, Path: info.Path, State: info.State, DataPool: info.DataPool, PoolNamespace: info.PoolNamespace}
	if q, err := strconv.ParseInt(string(info.Quota), 10, 64); err == nil {
		out.Quota = q
	}
	return out, nil
}

// Remove moves a subvolume to the trash; its snapshots, if any, stay in a husk that goes with the last of them.
// ENOENT: there is none. EAGAIN: it is an unfinished clone.
func (f FS) Remove(ctx context.Context, s Subvolume) error {
	_, err := f.mgr(ctx, "fs subvolume rm", map[string]any{
		"sub_name": s.Name, "group_name": s.Group, "retain_snapshots": true,
	})
	return err
}

// RemoveClone removes a clone that was cancelled or failed. When it was made in a husk, the husk stays with its snapshots.
func (f FS) RemoveClone(ctx context.Context, s Subvolume) error {
	_, err := f.mgr(ctx, "fs subvolume rm", map[string]any{
		"sub_name": s.Name, "group_name": s.Group, "force": true, "retain_snapshots": true,
	})
	return err
}

// Resize sets the quota, never below what is used.
func (f FS) Resize(ctx context.Context, s Subvolume, bytes int64) error {
	_, err := f.mgr(ctx, "fs subvolume resize", map[string]any{
		"sub_name": s.Name, "group_name": s.Group, "new_size": strconv.FormatInt(bytes, 10), "no_shrink": true,
	})
	return err
}

// CreateSnapshot takes a snapshot; one of that name stays as it is.
func (f FS) CreateSnapshot(ctx context.Context, s Subvolume, snapshot string) error {
	_, err := f.mgr(ctx, "fs subvolume snapshot create", map[string]any{
		"sub_name": s.Name, "group_name": s.Group, "snap_name": snapshot,
	})
	return err
}

// RemoveSnapshot removes a snapshot. ENOENT: there is none. EAGAIN: clones of it are running.
func (f FS) RemoveSnapshot(ctx context.Context, s Subvolume, snapshot string) error {
	_, err := f.mgr(ctx, "fs subvolume snapshot rm", map[string]any{
		"sub_name": s.Name, "group_name": s.Group, "snap_name": snapshot,
	})
	return err
}

// Clone starts the manager's asynchronous copy of a snapshot into a new subvolume. EEXIST: the target exists.
func (f FS) Clone(ctx context.Context, s Subvolume, snapshot string, target Subvolume, pool string) error {
	args := map[string]any{
		"sub_name": s.Name, "group_name": s.Group, "snap_name": snapshot,
		"target_sub_name": target.Name, "target_group_name": target.Group,
	}
	if pool != "" {
		args["pool_layout"] = pool
	}
	_, err := f.mgr(ctx, "fs subvolume snapshot clone", args)
	return err
}

// States of a clone, as CloneStatus returns them.
const (
	ClonePending    = "pending"
	CloneInProgress = "in-progress"
	CloneComplete   = "complete"
	CloneFailed     = "failed"
	CloneCanceled   = "canceled"
)

// CloneStatus is where a clone is. ENOENT: no such subvolume. ENOTSUP: it isn't a clone.
type CloneStatus struct {
	State    string
	Progress string // in Ceph's words, "" before release 19
	Error    string // why it failed, in Ceph's words
	// Source and Snapshot are what it is a copy of; only of a clone that isn't complete.
	Source   Subvolume
	Snapshot string
}

// CloneStatus looks at a clone.
func (f FS) CloneStatus(ctx context.Context, target Subvolume) (CloneStatus, error) {
	raw, err := f.mgr(ctx, "fs clone status", map[string]any{"clone_name": target.Name, "group_name": target.Group})
	if err != nil {
		return CloneStatus{}, err
	}
	var answer struct {
		Status struct {
			State    string `json:"state"`
			Progress struct {
				Percentage string `json:"percentage cloned"`
				Amount     string `json:"amount cloned"`
			} `json:"progress_report"`
			Failure struct {
				Text string `json:"error_msg"`
			} `json:"failure"`
			Source struct {
				Group     string `json:"group"`
				Subvolume string `json:"subvolume"`
				Snapshot  string `json:"snapshot"`
			} `json:"source"`
		} `json:"status"`
	}
	if err := decode("fs clone status", raw, &answer); err != nil {
		return CloneStatus{}, err
	}
	st := answer.Status
	return CloneStatus{
		State:    st.State,
		Progress: strings.TrimSpace(st.Progress.Percentage + " " + st.Progress.Amount),
		Error:    st.Failure.Text,
		Source:   Subvolume{Group: st.Source.Group, Name: st.Source.Subvolume},
		Snapshot: st.Source.Snapshot,
	}, nil
}

// CancelClone stops a clone that is pending or running. EINVAL: it has finished.
func (f FS) CancelClone(ctx context.Context, target Subvolume) error {
	_, err := f.mgr(ctx, "fs clone cancel", map[string]any{"clone_name": target.Name, "group_name": target.Group})
	return err
}

// DataDirectory finds the directory that holds a subvolume's files, also while a clone into it runs,
// when Info answers EAGAIN. below is the subvolume's base or a snapshot of it. ENOENT: there is none.
func (f FS) DataDirectory(ctx context.Context, below string) (string, error) {
	names, err := f.Tree().ReadDir(ctx, below)
	if err != nil {
		return "", err
	}
	for _, name := range names {
		if isUUID(name) {
			return below + "/" + name, nil
		}
	}
	return "", &Error{Op: "find the data directory in " + below, Errno: syscall.ENOENT}
}

// isUUID says whether name has the form 8-4-4-4-12 of hexadecimal digits that the manager gives data directories.
func isUUID(name string) bool {
	if len(name) != 36 {
		return false
	}
	for i, c := range name {
		switch i {
		case 8, 13, 18, 23:
			if c != '-' {
				return false
			}
		default:
			if !strings.ContainsRune("0123456789abcdef", c) {
				return false
			}
		}
	}
	return true
}

// Absent says that err is the cluster's word that the thing asked for isn't there.
func Absent(err error) bool { return errors.Is(err, syscall.ENOENT) }
