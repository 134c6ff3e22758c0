package client

// Which options of ceph-fuse a class or a volume may set. The list is closed: an option not on it could change who mounts
// (id, keyring), what (client_mountpoint), or make the process read and write files of the node (log_file, admin_socket, ...).

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/volume"
)

// fuseFlags are the generic flags of a mount, for -o.
func fuseFlags() []string { return []string{"noatime", "nodev", "noexec", "nosuid"} }

// fuseSettings are settings of the client and what their values may be
// (https://docs.ceph.com/en/pacific/cephfs/client-config-ref/). All of them change how fast or how
// tolerant a mount is, and none what it shows.
func fuseSettings() map[string]func(string) bool {
	boolean := func(v string) bool { return v == "true" || v == "false" }
	number := func(low, high int64) func(string) bool {
		return func(v string) bool {
			n, err := strconv.ParseInt(v, 10, 64)
			return err == nil && n >= low && n <= high
		}
	}
	return map[string]func(string) bool{
		"client_acl_type":              func(v string) bool { return v == "posix_acl" },
		"client_cache_size":            number(0, 1<<24),    // inodes
		"client_oc":                    boolean,             // the object cache
		"client_oc_max_dirty":          number(0, 1<<34),    // bytes
		"client_oc_max_dirty_age":      number(0, 600),      // seconds
		"client_oc_max_objects":        number(1, 1<<20),    //
		"client_oc_size":               number(0, 1<<36),    // bytes
		"client_oc_target_dirty":       number(0, 1<<34),    // bytes
		"client_readahead_max_bytes":   number(0, 1<<30),    // 0: no limit
		"client_readahead_max_periods": number(0, 1024),     // of the file's stripe
		"client_readahead_min":         number(0, 1<<30),    // bytes
		"client_reconnect_stale":       boolean,             // come back after a lost session
		"fuse_disable_pagecache":       boolean,             //
		"rados_osd_op_timeout":         number(0, 24*60*60), // seconds; 0: wait for ever
		"client_mount_timeout":         number(1, 10*60),    // seconds
	}
}

// checkFuseOptions wants each option to be one of fuseFlags, or NAME=VALUE of fuseSettings, at most once. The error wraps
// volume.ErrInvalid and says what is allowed.
func checkFuseOptions(options []string) error {
	flags, settings := fuseFlags(), fuseSettings()
	known := append(slices.Clone(flags), slices.Sorted(maps.Keys(settings))...)
	seen := map[string]bool{}
	for _, o := range options {
		name, value, hasValue := strings.Cut(o, "=")
		valid, isSetting := settings[name]
		switch {
		case !isSetting && !slices.Contains(flags, name):
			return fmt.Errorf("%w: unknown option %q of ceph-fuse%s; allowed are %s", volume.ErrInvalid, name, suggest.Hint(name, known), strings.Join(known, ", "))
		case seen[name]:
			return fmt.Errorf("%w: option %q of ceph-fuse is given twice", volume.ErrInvalid, name)
		case !isSetting && hasValue:
			return fmt.Errorf("%w: option %q of ceph-fuse takes no value", volume.ErrInvalid, name)
		case isSetting && !valid(value):
			return fmt.Errorf("%w: option %q of ceph-fuse can't be %q", volume.ErrInvalid, name, value)
		}
		seen[name] = true
	}
	return nil
}
