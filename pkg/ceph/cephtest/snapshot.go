package cephtest

// Commands on snapshots, and the copies that the manager makes of them.

import (
	"maps"
	"strconv"
	"strings"
	"syscall"
)

// source is what a clone is a copy of.
type source struct{ volume, group, subvolume, snapshot string }

func (m *command) createSnapshot() (any, error) {
	s, err := m.openNamed("snap-create")
	if err != nil {
		return nil, err
	}
	name, err := m.need("snap_name")
	if err != nil {
		return nil, err
	}
	if !plainName(name) {
		return nil, fail(syscall.ENOENT, "error in mkdir: '%s' can't be a snapshot's name", name)
	}
	err = s.base.snap(name, m.cluster.now())
	if is(err, syscall.EEXIST) {
		err = nil
	}
	return nil, err
}

// snapshotOf is a snapshot's data directory.
func (s *subvolume) snapshotOf(name string) (*node, error) {
	snap := s.base.snaps[name]
	if snap == nil || snap.root.dataDir() == "" {
		return nil, fail(syscall.ENOENT, "snapshot '%s' does not exist", name)
	}
	return snap.root.children[snap.root.dataDir()], nil
}

func (m *command) snapshotInfo() (any, error) {
	s, err := m.openNamed("snap-info")
	if err != nil {
		return nil, err
	}
	name := m.str("snap_name")
	if strings.HasPrefix(name, "_") {
		return nil, fail(syscall.EINVAL, "snapshot name '%s' is invalid", name)
	}
	data, err := s.snapshotOf(name)
	if err != nil {
		return nil, err
	}
	info := map[string]any{
		"created_at": pythonTime(data.snapTime), "data_pool": data.effective().pool, "has_pending_clones": "no",
	}
	var queued []map[string]string
	orphans := 0 // those whose entry in the queue is gone
	for _, c := range m.pendingOf(s, name) {
		if m.fs.linked(c) {
			queued = append(queued, map[string]string{"name": c.name, "target_group": c.group})
		} else {
			orphans++
		}
	}
	if len(queued) > 0 {
		info["has_pending_clones"], info["pending_clones"] = "yes", queued
	}
	if orphans > 0 {
		info["orphan_clones_count"] = orphans
	}
	return info, nil
}

// pendingOf are the clones in a snapshot's record.
func (m *command) pendingOf(s *subvolume, snapshot string) (list []*clone) {
	for _, c := range m.fs.clones {
		if c.source.group == s.group && c.subvolume == s.name && c.snapshot == snapshot {
			list = append(list, c)
		}
	}
	return list
}

func (m *command) listSnapshots() (any, error) {
	s, err := m.openNamed("snap-ls")
	if err != nil {
		return nil, err
	}
	return names(sortedKeys(s.base.snaps)), nil
}

func (m *command) removeSnapshot() (any, error) {
	s, err := m.openNamed("snap-rm")
	if err == nil {
		err = m.removeSnapshotOf(s, m.str("snap_name"))
	}
	if is(err, syscall.ENOENT) && m.flag("force") {
		err = nil
	}
	return nil, err
}

func (m *command) removeSnapshotOf(s *subvolume, name string) error {
	if len(m.pendingOf(s, name)) > 0 {
		return fail(syscall.EAGAIN, "snapshot '%s' has pending clones", name)
	}
	if s.base.snaps[name] == nil {
		return fail(syscall.ENOENT, "snapshot 'b'%s'' does not exist", name)
	}
	delete(s.base.snaps, name)
	if s.state == retained && len(s.base.snaps) == 0 {
		delete(s.base.parent.children, s.name) // the husk goes with its last snapshot
	}
	return nil
}

func (m *command) cloneSnapshot() (any, error) {
	s, err := m.openNamed("clone-source")
	if err != nil {
		return nil, err
	}
	snapshot, target := m.str("snap_name"), m.str("target_sub_name")
	if s.base.snaps[snapshot] == nil {
		return nil, fail(syscall.ENOENT, "snapshot '%s' does not exist", snapshot)
	}
	group := groupName(m.str("target_group_name"))
	g, err := m.group(group)
	if err != nil {
		return nil, err
	}
	if _, err := m.open(group, target, "clone-create"); err == nil {
		return nil, fail(syscall.EEXIST, "subvolume '%s' exists", target)
	} else if !is(err, syscall.ENOENT) {
		return nil, err
	}
	data, err := s.snapshotOf(snapshot)
	if err != nil {
		return nil, err
	}
	husk := huskOf(g, target)
	t, err := m.make(g, group, target, "clone", pending, data.mode)
	if err != nil {
		return nil, err
	}
	// Owner, mode and layout are the snapshot's. A pool that is given replaces pool and namespace: then
	// the new directory begins with the layout of the group, its namespace included.
	l := data.effective()
	uid, gid := int64(data.uid), int64(data.gid)
	a := attrs{pool: l.pool, namespace: l.namespace, uid: &uid, gid: &gid, mode: data.mode}
	if pool := m.str("pool_layout"); pool != "" {
		a.pool, a.namespace = pool, ""
	}
	if err := m.setAttrs(t.data(m.fs), a, g); err != nil {
		m.undo(t, husk)
		return nil, err
	}
	t.source = &source{volume: m.fs.name, group: s.group, subvolume: s.name, snapshot: snapshot}
	m.enqueue(&clone{source: *t.source, group: group, name: target})
	if m.cluster.auto {
		m.cluster.finish(m.fs)
	}
	return nil, nil
}

func (m *command) cloneStatus() (any, error) {
	s, err := m.open(m.str("group_name"), m.str("clone_name"), "clone-status")
	if err != nil {
		return nil, err
	}
	status := map[string]any{"state": s.state}
	if s.state != complete && s.source != nil {
		from := map[string]string{"volume": s.source.volume, "subvolume": s.source.subvolume, "snapshot": s.source.snapshot}
		if s.source.group != defaultGroup {
			from["group"] = s.source.group
		}
		status["source"] = from
	}
	if s.errno != 0 {
		status["failure"] = map[string]string{"errno": strconv.Itoa(int(s.errno)), "error_msg": s.message}
	}
	return map[string]any{"status": status}, nil
}

func (m *command) cancelClone() (any, error) {
	s, err := m.open(m.str("group_name"), m.str("clone_name"), "clone-cancel")
	if err != nil {
		return nil, err
	}
	if s.state != pending && s.state != inProgress {
		return nil, fail(syscall.EINVAL, "cannot cancel -- clone finished (check clone status)")
	}
	job, _ := m.fs.running(s.group, s.name)
	if job == nil {
		return nil, fail(syscall.EINVAL, "error canceling clone")
	}
	waiting := s.state == pending
	s.state, s.errno, s.message = canceled, syscall.EINTR, "user interrupted clone operation"
	if waiting && !m.cluster.holdQueue { // what runs is the thread's to strike off
		m.fs.strike(job)
	}
	return nil, nil
}

// copyData does the cloner's work: everything below the data directory, then the quotas.
func (f *filesystem) copyData(c *clone) {
	base, err := f.lookup(volumesDir + "/" + c.source.group + "/" + c.subvolume)
	if err != nil {
		return
	}
	from, err := (&subvolume{base: base}).snapshotOf(c.snapshot)
	if err != nil {
		return
	}
	target, err := f.lookup(c.base())
	if err != nil {
		return
	}
	to := (&subvolume{base: target, meta: target.meta}).data(f)
	content := from.copy(false)
	maps.DeleteFunc(to.children, func(string, *node) bool { return true })
	for name, child := range content.children {
		to.add(name, child)
	}
	to.maxBytes, to.maxFiles = from.maxBytes, from.maxFiles
}
