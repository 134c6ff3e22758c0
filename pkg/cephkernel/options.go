package cephkernel

// Which mount options a user may set. The list is closed: an option that is not
// on it is refused before anything is mounted, with the reason when the driver
// keeps it for itself.

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// option is one name of the allow-list.
type option struct {
	// check validates the value; nil for a flag, which takes none.
	check func(value string) error
	// attr is a MOUNT_ATTR_* bit when the option belongs to the mount and not
	// to the file system.
	attr int
}

// allowedOptions are the options of mount.ceph(8) and of the kernel's
// Documentation/filesystems/ceph.rst that change how a volume performs or
// recovers without changing what it is, and the generic per-mount flags.
func allowedOptions() map[string]option {
	flag := option{}
	m := map[string]option{
		"mount_timeout":         {check: integer(1, 600)},
		"ms_mode":               {check: oneOf("legacy", "crc", "secure", "prefer-crc", "prefer-secure")},
		"recover_session":       {check: oneOf("no", "clean")},
		"read_from_replica":     {check: oneOf("no", "balance", "localize")},
		"crush_location":        {check: crushLocation},
		"wsize":                 {check: integer(4096, 64<<20)},
		"rsize":                 {check: integer(4096, 64<<20)},
		"rasize":                {check: integer(0, 1<<30)},
		"caps_max":              {check: integer(0, 1<<30)},
		"caps_wanted_delay_min": {check: integer(1, 3600)},
		"caps_wanted_delay_max": {check: integer(1, 3600)},
		"osdkeepalive":          {check: integer(1, 3600)},
		"osd_idle_ttl":          {check: integer(1, 86400)},
		"osd_request_timeout":   {check: integer(0, 86400)},
		"readdir_max_entries":   {check: integer(1, 1<<20)},
		"readdir_max_bytes":     {check: integer(4096, 64<<20)},
		"write_congestion_kb":   {check: integer(1024, 4<<20)},

		"noatime":     {attr: unix.MOUNT_ATTR_NOATIME},
		"nodiratime":  {attr: unix.MOUNT_ATTR_NODIRATIME},
		"strictatime": {attr: unix.MOUNT_ATTR_STRICTATIME},
		"nodev":       {attr: unix.MOUNT_ATTR_NODEV},
		"nosuid":      {attr: unix.MOUNT_ATTR_NOSUID},
		"noexec":      {attr: unix.MOUNT_ATTR_NOEXEC},
	}
	for _, name := range []string{
		"rbytes", "norbytes", "dirstat", "nodirstat", "wsync", "nowsync",
		"crc", "nocrc", "dcache", "nodcache", "asyncreaddir", "noasyncreaddir",
		"copyfrom", "nocopyfrom", "acl", "noacl", "share", "noshare",
		"tcp_nodelay", "notcp_nodelay", "relatime",
	} {
		m[name] = flag
	}
	return m
}

// reservedOptions are what the kernel knows and the driver decides.
func reservedOptions() map[string]string {
	const (
		identity = "the identity comes from the volume's secret"
		place    = "the volume decides which file system and path is mounted"
		address  = "the monitors come from the driver's cluster configuration"
		readOnly = "read-only comes from the access mode and the read-only flag of the request"
	)
	return map[string]string{
		"name": identity, "secret": identity, "secretfile": identity, "key": identity, "conf": identity,
		"fs": place, "mds_namespace": place, "fsid": place, "source": place,
		"mon_addr": address, "ip": address,
		"ro": readOnly, "rw": readOnly,
		"snapdirname": "snapshot-backed volumes are found under .snap",
		"noquotadf":   "the size of a volume is its quota",
		"quotadf":     "the size of a volume is its quota",
	}
}

// ValidateOptions checks options ("name" or "name=value", one per element)
// against the allow-list. The error wraps ErrInvalid and names the option and
// what is allowed. An option that the running kernel is too old for passes here
// and is refused by the mount.
func ValidateOptions(options []string) error {
	_, err := parseOptions(options)
	return err
}

// setting is one option as the kernel takes it.
type setting struct {
	name, value string
	flag        bool
}

// parsedOptions are a user's options, split into those of the file system and
// those of the mount.
type parsedOptions struct {
	settings []setting
	attrs    int
	names    map[string]bool
	// timeout is mount_timeout, set or not.
	timeout time.Duration
	// msgr2 is true when the options ask for version 2 of Ceph's protocol,
	// which monitors serve on another port.
	msgr2 bool
}

func parseOptions(options []string) (parsedOptions, error) {
	allowed, reserved := allowedOptions(), reservedOptions()
	p := parsedOptions{names: make(map[string]bool, len(options)), timeout: defaultMountTimeout}
	for _, o := range options {
		name, value, hasValue := strings.Cut(o, "=")
		if why, ok := reserved[name]; ok {
			return p, fmt.Errorf("%w: option %q cannot be set: %s", ErrInvalid, name, why)
		}
		def, ok := allowed[name]
		if !ok {
			return p, fmt.Errorf("%w: unknown option %q; allowed are %s", ErrInvalid, name,
				strings.Join(slices.Sorted(maps.Keys(allowed)), ", "))
		}
		if p.names[name] {
			return p, fmt.Errorf("%w: option %q is given twice", ErrInvalid, name)
		}
		p.names[name] = true
		if def.check == nil {
			if hasValue {
				return p, fmt.Errorf("%w: option %q takes no value", ErrInvalid, name)
			}
			if name == "relatime" {
				continue // the kernel's default, and no file system option
			}
			if def.attr != 0 {
				p.attrs |= def.attr
				continue
			}
			p.settings = append(p.settings, setting{name: name, flag: true})
			continue
		}
		if err := def.check(value); err != nil {
			return p, fmt.Errorf("%w: option %q: %w", ErrInvalid, name, err)
		}
		switch name {
		case "ms_mode":
			p.msgr2 = value != "legacy"
		case "mount_timeout":
			seconds, err := strconv.Atoi(value)
			if err != nil {
				return p, fmt.Errorf("%w: option %q: %w", ErrInvalid, name, err)
			}
			p.timeout = time.Duration(seconds) * time.Second
		}
		p.settings = append(p.settings, setting{name: name, value: value})
	}
	if p.names["noatime"] && p.names["strictatime"] {
		return p, fmt.Errorf("%w: options noatime and strictatime exclude each other", ErrInvalid)
	}
	return p, nil
}

func integer(low, high int) func(string) error {
	return func(value string) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%q is not a whole number from %d to %d", value, low, high)
		}
		return nil
	}
}

func oneOf(values ...string) func(string) error {
	return func(value string) error {
		if !slices.Contains(values, value) {
			return fmt.Errorf("%q is not one of %s", value, strings.Join(values, ", "))
		}
		return nil
	}
}

// crushLocation checks TYPE:NAME[|TYPE:NAME...], as in host:node3|rack:r1.
func crushLocation(value string) error {
	for part := range strings.SplitSeq(value, "|") {
		kind, name, ok := strings.Cut(part, ":")
		if !ok || !plain(kind) || !plain(name) {
			return fmt.Errorf("%q is not type:name, several joined by |", value)
		}
	}
	return nil
}

// plain reports whether s is a non-empty name of letters, digits, '-', '_' and '.'.
func plain(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.')
	}) < 0
}
