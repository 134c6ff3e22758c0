package cephtest

// Extended attributes: those of the user, and the virtual ones with which CephFS shows and sets layouts, quotas and statistics.

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
)

const (
	layoutAttr = "ceph.dir.layout"
	bytesAttr  = "ceph.quota.max_bytes"
	filesAttr  = "ceph.quota.max_files"
)

// getXattr reads an attribute.
func (n *node) getXattr(name string) (string, error) {
	number := func(i int64) (string, error) { return strconv.FormatInt(i, 10), nil }
	missing := fail(syscall.ENODATA, "")
	bytes, files, dirs := n.statistics()
	switch name {
	case bytesAttr, filesAttr:
		// While either is set, both are there.
		if n.maxBytes == 0 && n.maxFiles == 0 {
			return "", missing
		}
		if name == bytesAttr {
			return number(n.maxBytes)
		}
		return number(n.maxFiles)
	case "ceph.dir.rbytes":
		return number(bytes)
	case "ceph.dir.rfiles":
		return number(files)
	case "ceph.dir.rsubdirs":
		return number(dirs + 1) // the directory itself counts
	case "ceph.dir.rentries":
		return number(files + dirs + 1)
	case "ceph.snap.btime":
		if n.snapTime.IsZero() {
			return "", missing
		}
		return fmt.Sprintf("%d.%09d", n.snapTime.Unix(), n.snapTime.Nanosecond()), nil
	}
	if rest, ok := strings.CutPrefix(name, layoutAttr); ok {
		if n.layout == nil {
			return "", missing
		}
		return n.layout.field(rest)
	}
	v, ok := n.xattrs[name]
	if !ok {
		return "", missing
	}
	return v, nil
}

// field is what follows "ceph.dir.layout" in an attribute's name.
func (l layout) field(name string) (string, error) {
	switch name {
	case "":
		s := fmt.Sprintf("stripe_unit=%d stripe_count=%d object_size=%d pool=%s", l.unit, l.count, l.object, l.pool)
		if l.namespace != "" {
			s += " pool_namespace=" + l.namespace
		}
		return s, nil
	case ".pool":
		return l.pool, nil
	case ".pool_namespace":
		return l.namespace, nil
	case ".stripe_unit":
		return strconv.FormatInt(l.unit, 10), nil
	case ".stripe_count":
		return strconv.FormatInt(l.count, 10), nil
	case ".object_size":
		return strconv.FormatInt(l.object, 10), nil
	}
	return "", fail(syscall.ENODATA, "")
}

// setXattr writes an attribute; create refuses one that is there.
func (f *filesystem) setXattr(n *node, name, value string, create bool) error {
	if n.readOnly {
		return fail(syscall.EROFS, "")
	}
	if rest, ok := strings.CutPrefix(name, layoutAttr); ok {
		return f.setLayout(n, rest, value)
	}
	switch {
	case name == bytesAttr || name == filesAttr:
		i, err := strconv.ParseInt(value, 10, 64)
		if err != nil || i < 0 {
			return fail(syscall.EINVAL, "")
		}
		if name == bytesAttr {
			n.maxBytes = i
		} else {
			n.maxFiles = i
		}
		return nil
	case strings.HasPrefix(name, "ceph.dir.r"):
		return fail(syscall.EOPNOTSUPP, "")
	case strings.HasPrefix(name, "ceph."):
		return fail(syscall.EINVAL, "")
	case !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "trusted.") && !strings.HasPrefix(name, "security."):
		return fail(syscall.EOPNOTSUPP, "")
	}
	if _, ok := n.xattrs[name]; ok && create {
		return fail(syscall.EEXIST, "")
	}
	total := len(name) + len(value)
	for k, v := range n.xattrs {
		if k != name {
			total += len(k) + len(v)
		}
	}
	if len(n.xattrs) > 0 && total > maxXattrs { // the first attribute's size isn't checked
		return fail(syscall.ENOSPC, "")
	}
	n.xattrs[name] = value
	return nil
}

// setLayout sets one field of a directory's layout, or several at once ("stripe_unit=65536 object_size=131072"), which are checked
// together. A directory without a layout begins with its nearest ancestor's.
func (f *filesystem) setLayout(n *node, name, value string) error {
	l := n.effective()
	if name != "" {
		if err := f.setField(&l, strings.TrimPrefix(name, "."), value); err != nil {
			return err
		}
	} else {
		for _, pair := range strings.Fields(value) {
			key, v, ok := strings.Cut(pair, "=")
			if !ok {
				return fail(syscall.EINVAL, "")
			}
			if err := f.setField(&l, key, v); err != nil {
				return err
			}
		}
	}
	// file_layout_t::is_valid: multiples of 64 KiB, whole stripe units in an object.
	const page = 64 << 10
	if l.unit <= 0 || l.unit%page != 0 || l.count <= 0 || l.object < l.unit || l.object%page != 0 || l.object%l.unit != 0 {
		return fail(syscall.EINVAL, "")
	}
	n.layout = &l
	return nil
}

func (f *filesystem) setField(l *layout, name, value string) error {
	switch name {
	case "pool":
		if !f.isData(value) {
			return fail(syscall.EINVAL, "")
		}
		l.pool = value
		return nil
	case "pool_namespace":
		l.namespace = value
		return nil
	}
	number := map[string]*int64{"stripe_unit": &l.unit, "stripe_count": &l.count, "object_size": &l.object}[name]
	if number == nil {
		return fail(syscall.ENODATA, "")
	}
	i, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return fail(syscall.EINVAL, "")
	}
	*number = i
	return nil
}

// removeXattr removes an attribute.
func (n *node) removeXattr(name string) error {
	if n.readOnly {
		return fail(syscall.EROFS, "")
	}
	switch {
	case name == layoutAttr:
		if n.layout == nil {
			return fail(syscall.ENODATA, "")
		}
		n.layout = nil
		return nil
	case name == layoutAttr+".pool_namespace":
		l := n.effective()
		l.namespace = ""
		n.layout = &l
		return nil
	case strings.HasPrefix(name, "ceph.dir.r"):
		return fail(syscall.EOPNOTSUPP, "")
	}
	// Quotas and single fields of layouts can't be removed.
	if _, ok := n.xattrs[name]; !ok {
		return fail(syscall.ENODATA, "")
	}
	delete(n.xattrs, name)
	return nil
}
