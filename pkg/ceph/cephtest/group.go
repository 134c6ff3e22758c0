package cephtest

// Commands on subvolume groups. See fs/operations/group.py of the manager's module.

import (
	"slices"
	"syscall"
)

// internalDirs are the directories of /volumes that aren't groups.
var internalDirs = []string{defaultGroup, "_index", "_deleting", "_legacy"}

func groupName(s string) string {
	if s == "" {
		return defaultGroup
	}
	return s
}

// group opens a subvolume group. The default one is made when needed.
func (m *command) group(name string) (*node, error) {
	name = groupName(name)
	n, err := m.fs.lookup(volumesDir + "/" + name)
	if err != nil {
		if name == defaultGroup {
			return m.mkdirs(volumesDir+"/"+name, 0o755), nil
		}
		return nil, fail(syscall.ENOENT, "subvolume group '%s' does not exist", name)
	}
	return n, nil
}

func (m *command) createGroup() (any, error) {
	name, err := m.need("group_name")
	if err != nil {
		return nil, err
	}
	a, err := m.attrsOf()
	if err != nil {
		return nil, err
	}
	if !plainName(name) {
		return nil, fail(syscall.EINVAL, "cephfs.ObjectNotFound: error in mkdir %s/%s", volumesDir, name)
	}
	n, err := m.fs.lookup(volumesDir + "/" + name)
	fresh := err != nil
	if fresh {
		if n, err = m.mkdirs(volumesDir, 0o755).mkdir(name, a.mode, m.cluster.now()); err != nil {
			return nil, err
		}
	}
	err = m.setGroup(n, a)
	if err != nil && fresh {
		delete(n.parent.children, name)
	}
	return nil, err
}

func (m *command) setGroup(n *node, a attrs) error {
	if err := m.setQuota(n, a.quota); err != nil {
		return err
	}
	pool := a.pool
	if pool == "" {
		pool = n.effective().pool
	}
	if err := m.fs.setLayout(n, ".pool", pool); err != nil {
		return fail(syscall.EINVAL, "Invalid pool layout '%s'. It must be a valid data pool", pool)
	}
	return setOwner(n, a, &node{})
}

func (m *command) groupInfo() (any, error) {
	n, err := m.group(m.str("group_name"))
	if err != nil {
		return nil, err
	}
	pool, err := n.getXattr(layoutAttr + ".pool")
	if err != nil {
		return nil, fail(syscall.ENODATA, "error in getxattr")
	}
	info := m.stat(n)
	info["data_pool"] = pool
	info["mon_addrs"] = monAddrs
	return info, nil
}

func (m *command) groupPath() (any, error) {
	if _, err := m.group(m.str("group_name")); err != nil {
		return nil, err
	}
	return volumesDir + "/" + groupName(m.str("group_name")), nil
}

func (m *command) listGroups() (any, error) {
	n, err := m.fs.lookup(volumesDir)
	if err != nil {
		return names(nil), nil
	}
	return names(slices.DeleteFunc(n.subdirs(), func(s string) bool { return slices.Contains(internalDirs, s) })), nil
}

func (m *command) removeGroup() (any, error) {
	name, err := m.need("group_name")
	if err != nil {
		return nil, err
	}
	n, err := m.fs.lookup(volumesDir + "/" + name)
	if err != nil {
		if m.flag("force") {
			return nil, nil
		}
		return nil, fail(syscall.ENOENT, "subvolume group '%s' does not exist", name)
	}
	if len(n.children) > 0 {
		return nil, fail(syscall.ENOTEMPTY, "error in rmdir %s/%s", volumesDir, name)
	}
	delete(n.parent.children, name)
	return nil, nil
}
