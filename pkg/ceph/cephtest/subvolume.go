package cephtest

// Commands on subvolumes. See fs/volume.py and fs/operations/versions/subvolume_{base,v2}.py of the manager's module.

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// meta is what the module keeps in a subvolume's .meta file.
type meta struct {
	kind    string // "subvolume" or "clone"
	state   string
	path    string // of the data directory; empty for a husk
	source  *source
	errno   syscall.Errno // why a clone failed
	message string
}

// states of a subvolume.
const (
	pending    = "pending"
	inProgress = "in-progress"
	complete   = "complete"
	failed     = "failed"
	canceled   = "canceled"
	retained   = "snapshot-retained"
)

// What is allowed on a husk and on a clone that isn't complete (subvolume_v2.py, allowed_ops_by_state).
var (
	onHusk       = []string{"rm", "rm-force", "ls", "info", "snap-rm", "snap-ls", "snap-info", "clone-source"}
	onIncomplete = []string{"rm-force", "clone-create", "clone-status", "clone-cancel", "clone_internal", "clone-source"}
)

// subvolume is one that was opened for an operation.
type subvolume struct {
	group, name string
	base        *node
	*meta
}

func plainName(s string) bool {
	return s != "" && s != "." && s != ".." && !strings.Contains(s, "/") && len(s) <= maxName
}

// open finds a subvolume and says whether the operation op is allowed on it.
func (m *command) open(group, name, op string) (*subvolume, error) {
	g, err := m.group(group)
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, fail(syscall.EINVAL, "KeyError: 'sub_name'")
	}
	base := g.children[name]
	if base == nil {
		return nil, fail(syscall.ENOENT, "subvolume '%s' does not exist", name)
	}
	if base.meta == nil {
		return nil, fail(syscall.EINVAL, "cephtest: %s/%s/%s is a directory that no subvolume command made", volumesDir, group, name)
	}
	s := &subvolume{group: groupName(group), name: name, base: base, meta: base.meta}
	switch {
	case s.kind != "clone" && slices.Contains([]string{"clone-status", "clone-cancel", "clone_internal"}, op):
		return nil, fail(syscall.EOPNOTSUPP, "operation '%s' is not allowed on subvolume '%s' of type %s", op, name, s.kind)
	case s.state == retained && !slices.Contains(onHusk, op):
		return nil, fail(syscall.ENOENT, "subvolume '%s' is removed and has only snapshots retained", name)
	case s.state != retained && s.state != complete && !slices.Contains(onIncomplete, op):
		return nil, fail(syscall.EAGAIN, "subvolume '%s' is not ready for operation %s", name, op)
	}
	return s, nil
}

// openNamed opens the subvolume that the command names.
func (m *command) openNamed(op string) (*subvolume, error) {
	return m.open(m.str("group_name"), m.str("sub_name"), op)
}

// data is the subvolume's data directory.
func (s *subvolume) data(f *filesystem) *node {
	n, err := f.lookup(s.path)
	if err != nil {
		panic("cephtest: subvolume without its directory " + s.path)
	}
	return n
}

// make makes the directories of a new subvolume, or of a new one in a husk, and its meta.
func (m *command) make(g *node, group, name, kind, state string, mode uint32) (*subvolume, error) {
	if !plainName(name) {
		return nil, fail(syscall.ENOENT, "error in open: '%s' can't be a subvolume's name", name)
	}
	base := g.children[name]
	if base == nil {
		var err error
		if base, err = g.mkdir(name, mode, m.cluster.now()); err != nil {
			return nil, err
		}
		base.add(".meta", &node{created: m.cluster.now()})
	}
	uuid := newUUID()
	if _, err := base.mkdir(uuid, mode, m.cluster.now()); err != nil {
		return nil, err
	}
	base.meta = &meta{kind: kind, state: state, path: strings.Join([]string{volumesDir, group, name, uuid}, "/")}
	return &subvolume{group: group, name: name, base: base, meta: base.meta}, nil
}

// undo takes back make after a failure: before is the husk's meta, nil when there was no husk.
func (m *command) undo(s *subvolume, before *meta) {
	if before == nil {
		delete(s.base.parent.children, s.name)
		return
	}
	_, uuid := split(s.path)
	delete(s.base.children, uuid)
	s.base.meta = before
}

func newUUID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// setAttrs is set_attrs of subvolume_base.py.
func (m *command) setAttrs(n *node, a attrs, like *node) error {
	if err := m.setQuota(n, a.quota); err != nil {
		return err
	}
	if a.pool != "" {
		if err := m.fs.setLayout(n, ".pool", a.pool); err != nil {
			return fail(syscall.EINVAL, "invalid pool layout '%s' -- need a valid data pool", a.pool)
		}
	}
	switch {
	case a.namespace != "":
		if err := m.fs.setLayout(n, ".pool_namespace", a.namespace); err != nil {
			return err
		}
	case a.pool == "" && n.layout == nil:
		// The layout must not change with an ancestor's.
		if err := m.fs.setLayout(n, ".pool", n.effective().pool); err != nil {
			return err
		}
	}
	return setOwner(n, a, like)
}

func (m *command) create() (any, error) {
	group, name := groupName(m.str("group_name")), m.str("sub_name")
	g, err := m.group(group)
	if err != nil {
		return nil, err
	}
	a, err := m.attrsOf()
	if err != nil {
		return nil, err
	}
	if m.flag("namespace_isolated") {
		a.namespace = "fsvolumens_" + name
	}
	s, err := m.open(group, name, "create")
	if err == nil {
		// An existing one gets the attributes anew; owner 0 counts as not given.
		for _, id := range []**int64{&a.uid, &a.gid} {
			if *id != nil && **id == 0 {
				*id = nil
			}
		}
		data := s.data(m.fs)
		return nil, m.setAttrs(data, a, data)
	}
	if !is(err, syscall.ENOENT) {
		return nil, err
	}
	husk := huskOf(g, name)
	if s, err = m.make(g, group, name, "subvolume", complete, a.mode); err != nil {
		return nil, err
	}
	if err := m.setAttrs(s.data(m.fs), a, g); err != nil {
		m.undo(s, husk)
		return nil, err
	}
	g.parent.add(authFile(group, name), &node{created: m.cluster.now()})
	return nil, nil
}

// huskOf is the meta of the husk of that name, nil when there is none.
func huskOf(g *node, name string) *meta {
	if n := g.children[name]; n != nil {
		return n.meta
	}
	return nil
}

// authFile is the file in which the module keeps who may use a subvolume.
func authFile(group, name string) string { return "_" + group + ":" + name + ".meta" }

var features = []string{"snapshot-clone", "snapshot-autoprotect", "snapshot-retention"}

func (m *command) info() (any, error) {
	s, err := m.openNamed("info")
	if err != nil {
		return nil, err
	}
	if s.state == retained {
		return map[string]any{"type": s.kind, "features": features, "state": s.state, "mon_addrs": monAddrs}, nil
	}
	n := s.data(m.fs)
	l := n.effective()
	info := m.stat(n)
	info["path"], info["type"], info["state"] = s.path, s.kind, s.state
	info["data_pool"], info["pool_namespace"] = l.pool, l.namespace
	info["features"], info["mon_addrs"] = features, monAddrs
	return info, nil
}

func (m *command) getPath() (any, error) {
	s, err := m.openNamed("getpath")
	if err != nil {
		return nil, err
	}
	return s.path, nil
}

func (m *command) list() (any, error) {
	g, err := m.group(m.str("group_name"))
	if err != nil {
		return nil, err
	}
	return names(g.subdirs()), nil
}

func (m *command) resize() (any, error) {
	s, err := m.openNamed("resize")
	if err != nil {
		return nil, err
	}
	text := m.str("new_size")
	if n, ok := m.args["new_size"].(json.Number); ok {
		text = n.String()
	}
	keep := m.flag("no_shrink")
	size, err := strconv.ParseInt(text, 10, 64)
	switch lower := strings.ToLower(text); {
	case err == nil && size <= 0:
		return nil, fail(syscall.EINVAL, "Invalid subvolume size")
	case err != nil && lower != "inf" && lower != "infinite":
		return nil, fail(syscall.EINVAL, "invalid size option '%s'", lower)
	case err != nil:
		size, keep = 0, false
	}
	n := s.data(m.fs)
	used, _, _ := n.statistics()
	if keep && size < used {
		return nil, fail(syscall.EINVAL, "Can't resize the subvolume. The new size '%d' would be lesser than the current used size '%d'", size, used)
	}
	n.maxBytes = size
	return []map[string]any{{"bytes_used": used}, {"bytes_quota": size}, {"bytes_pcent": percent(used, size)}}, nil
}

func (m *command) remove() (any, error) {
	force := m.flag("force")
	op := "rm"
	if force {
		op = "rm-force"
	}
	s, err := m.openNamed(op)
	if err == nil {
		err = m.removeOpened(s)
	}
	switch {
	case is(err, syscall.EAGAIN) && !force:
		err = fail(syscall.EAGAIN, "subvolume '%s' is not ready for operation %s (use --force to override)", m.str("sub_name"), op)
	case is(err, syscall.ENOENT) && force:
		err = nil
	}
	return nil, err
}

func (m *command) removeOpened(s *subvolume) error {
	group := s.base.parent
	trash := func() {
		m.mkdirs(volumesDir+"/_deleting", 0o700)
		if s.path != "" {
			s.data(m.fs).purge()
		}
	}
	if len(s.base.snaps) == 0 {
		if s.state == pending || s.state == inProgress {
			return fail(syscall.EAGAIN, "%s clone in-progress -- please cancel the clone and retry", s.name)
		}
		trash()
		delete(group.children, s.name)
		delete(group.parent.children, authFile(s.group, s.name))
		return nil
	}
	if !m.flag("retain_snapshots") {
		return fail(syscall.ENOTEMPTY, "subvolume '%s' has snapshots", s.name)
	}
	if s.state != retained {
		trash()
		_, uuid := split(s.path)
		delete(s.base.children, uuid)
		s.path, s.state = "", retained
		delete(group.parent.children, authFile(s.group, s.name))
	}
	return nil
}
