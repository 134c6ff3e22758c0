package cephtest

// Commands to the manager: finding the function, reading arguments, and what groups and subvolumes share.

import (
	"encoding/json"
	"errors"
	"strconv"
	"syscall"
	"time"

	"github.com/strata-csi/strata/pkg/ceph"
)

const (
	volumesDir   = "/volumes"
	defaultGroup = "_nogroup"
	timeFormat   = "2006-01-02 15:04:05"
	dirType      = 0o40000 // S_IFDIR
)

// command is one command of the volumes module while it runs.
type command struct {
	cluster *Cluster
	fs      *filesystem
	args    map[string]any
}

func (c *Cluster) mgrCommand(prefix string, args map[string]any) ([]byte, error) {
	f, ok := map[string]func(*command) (any, error){
		"fs subvolumegroup create":     (*command).createGroup,
		"fs subvolumegroup info":       (*command).groupInfo,
		"fs subvolumegroup ls":         (*command).listGroups,
		"fs subvolumegroup rm":         (*command).removeGroup,
		"fs subvolumegroup getpath":    (*command).groupPath,
		"fs subvolume create":          (*command).create,
		"fs subvolume info":            (*command).info,
		"fs subvolume getpath":         (*command).getPath,
		"fs subvolume ls":              (*command).list,
		"fs subvolume resize":          (*command).resize,
		"fs subvolume rm":              (*command).remove,
		"fs subvolume snapshot create": (*command).createSnapshot,
		"fs subvolume snapshot info":   (*command).snapshotInfo,
		"fs subvolume snapshot ls":     (*command).listSnapshots,
		"fs subvolume snapshot rm":     (*command).removeSnapshot,
		"fs subvolume snapshot clone":  (*command).cloneSnapshot,
		"fs clone status":              (*command).cloneStatus,
		"fs clone cancel":              (*command).cancelClone,
	}[prefix]
	if !ok {
		return nil, fail(syscall.EINVAL, "No handler found for '%s'", prefix)
	}
	m := &command{cluster: c, args: args}
	name, err := m.need("vol_name")
	if err != nil {
		return nil, err
	}
	if m.fs = c.filesystem(name); m.fs == nil {
		return nil, fail(syscall.ENOENT, "FS '%s' not found", name)
	}
	if m.fs.mdsDown {
		return nil, errWait
	}
	v, err := f(m)
	if err != nil || v == nil {
		return nil, err
	}
	if s, ok := v.(string); ok {
		return []byte(s + "\n"), nil
	}
	return marshal(v)
}

func marshal(v any) ([]byte, error) {
	raw, err := json.MarshalIndent(v, "", "    ")
	return append(raw, '\n'), err
}

// need returns an argument without which the module's code breaks.
func (m *command) need(name string) (string, error) {
	s := m.str(name)
	if s == "" {
		return "", fail(syscall.EINVAL, "KeyError: '%s'", name)
	}
	return s, nil
}

func (m *command) str(name string) string {
	s, _ := m.args[name].(string)
	return s
}

func (m *command) flag(name string) bool {
	switch v := m.args[name].(type) {
	case bool:
		return v
	case string:
		return v != ""
	}
	return false
}

// number returns an argument that is a number or its text; nil when there is none.
func (m *command) number(name string) (*int64, error) {
	var text string
	switch v := m.args[name].(type) {
	case nil:
		return nil, nil
	case json.Number:
		text = v.String()
	case string:
		text = v
	}
	i, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return nil, fail(syscall.EINVAL, "%s: '%s' isn't a number", name, text)
	}
	return &i, nil
}

// octal returns the argument "mode", 755 when there is none.
func (m *command) octal() (uint32, error) {
	s, ok := m.args["mode"].(string)
	if !ok {
		s = "755"
	}
	i, err := strconv.ParseUint(s, 8, 32)
	if err != nil {
		return 0, fail(syscall.EINVAL, "Invalid mode '%s'", s)
	}
	return uint32(i), nil
}

// mkdirs makes a directory with its parents.
func (m *command) mkdirs(path string, mode uint32) *node {
	n, err := m.fs.lookup(path)
	if err == nil {
		return n
	}
	dir, name := split(path)
	n, err = m.mkdirs(dir, 0o755).mkdir(name, mode, m.cluster.now())
	if err != nil {
		panic("cephtest: " + path + ": " + err.Error()) // the module checks names before
	}
	return n
}

// attrs are what the module sets on a new directory; nil fields are not given.
type attrs struct {
	quota           *int64
	pool, namespace string
	uid, gid        *int64
	mode            uint32
}

// attrsOf reads the arguments that groups and subvolumes share.
func (m *command) attrsOf() (a attrs, err error) {
	a.pool = m.str("pool_layout")
	for name, into := range map[string]**int64{"size": &a.quota, "uid": &a.uid, "gid": &a.gid} {
		if *into, err = m.number(name); err != nil {
			return a, err
		}
	}
	a.mode, err = m.octal()
	return a, err
}

func (m *command) setQuota(n *node, quota *int64) error {
	if quota == nil {
		return nil
	}
	if err := m.fs.setXattr(n, bytesAttr, strconv.FormatInt(*quota, 10), false); err != nil {
		return fail(syscall.EINVAL, "invalid size specified: '%d'", *quota)
	}
	return nil
}

// setOwner sets owner and mode; ids that aren't given are those of like.
func setOwner(n *node, a attrs, like *node) error {
	uid, gid := int64(like.uid), int64(like.gid)
	if a.uid != nil {
		uid = *a.uid
	}
	if a.gid != nil {
		gid = *a.gid
	}
	if uid < 0 {
		return fail(syscall.EINVAL, "invalid UID")
	}
	if gid < 0 {
		return fail(syscall.EINVAL, "invalid GID")
	}
	n.uid, n.gid, n.mode = int(uid), int(gid), a.mode
	return nil
}

// names is how the module lists names.
func names(list []string) []map[string]string {
	out := []map[string]string{}
	for _, n := range list {
		out = append(out, map[string]string{"name": n})
	}
	return out
}

// stat are the fields of the info commands that come from the directory.
func (m *command) stat(n *node) map[string]any {
	used, _, _ := n.statistics()
	created := n.created.UTC().Format(timeFormat)
	info := map[string]any{
		"atime": created, "mtime": created, "ctime": created, "created_at": created,
		"uid": n.uid, "gid": n.gid, "mode": dirType | n.mode, "bytes_used": used,
		"bytes_quota": any("infinite"), "bytes_pcent": percent(used, n.maxBytes),
	}
	if n.maxBytes > 0 {
		info["bytes_quota"] = n.maxBytes
	}
	return info
}

func percent(used, quota int64) string {
	if quota == 0 {
		return "undefined"
	}
	return strconv.FormatFloat(float64(used)/float64(quota)*100, 'f', 2, 64)
}

// pythonTime is str(datetime): without a fraction when there is none.
func pythonTime(t time.Time) string {
	t = t.UTC()
	if t.Nanosecond()/1000 == 0 {
		return t.Format(timeFormat)
	}
	return t.Format(timeFormat + ".000000")
}

// is says whether err is a refusal with this errno.
func is(err error, n syscall.Errno) bool {
	var e *ceph.Error
	return errors.As(err, &e) && e.Errno == n
}
