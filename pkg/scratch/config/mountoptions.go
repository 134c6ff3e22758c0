package config

// Which mount options a class, or a PersistentVolume, may have. The list is closed: the options that are on it change how a volume
// performs or how much survives a crash of the node, which for a scratch volume is nothing anyway. All else is refused, with the
// reason where the option would undo what the driver promises: a hard limit that can't be left, nobody else's data, a node that
// no pod can harm.

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/strata-csi/strata/pkg/suggest"
	"github.com/strata-csi/strata/pkg/volume"
)

// allowedOptions is each option with the form of its value, nil for one that has none. Sources: mount(8), and the kernel's
// Documentation/admin-guide/ext4.rst and xfs.rst.
var allowedOptions = map[string]*regexp.Regexp{
	// Of every mount.
	"noatime": nil, "nodiratime": nil, "relatime": nil, "strictatime": nil, "lazytime": nil, "nolazytime": nil,
	"exec": nil, "noexec": nil, "nodev": nil, "nosuid": nil, "nosymfollow": nil, "sync": nil, "dirsync": nil, "nodiscard": nil,
	// Of ext4.
	"data": regexp.MustCompile(`^(journal|ordered|writeback)$`), "errors": regexp.MustCompile(`^(continue|remount-ro)$`),
	"barrier": regexp.MustCompile(`^[01]$`), "nobarrier": nil, "commit": number, "stripe": number, "inode_readahead_blks": number,
	"max_batch_time": number, "min_batch_time": number, "journal_ioprio": regexp.MustCompile(`^[0-7]$`), "journal_async_commit": nil,
	"delalloc": nil, "nodelalloc": nil, "auto_da_alloc": nil, "noauto_da_alloc": nil, "dioread_nolock": nil, "dioread_lock": nil,
	"init_itable": number, "noinit_itable": nil, "user_xattr": nil, "nouser_xattr": nil, "acl": nil, "noacl": nil,
	// Of xfs.
	"allocsize": bytesForm, "logbsize": bytesForm, "logbufs": number, "inode32": nil, "inode64": nil, "largeio": nil, "nolargeio": nil,
	"swalloc": nil, "wsync": nil, "noalign": nil,
}

var (
	number    = regexp.MustCompile(`^[0-9]{1,9}$`)
	bytesForm = regexp.MustCompile(`^[0-9]{1,9}[kKmMgG]?$`)
)

const (
	whyOwnMounts = "which mounts there are is the driver's business"
	whyDevices   = "which device a volume lies on is the driver's business"
	whyLimits    = "the limit of a volume is the driver's business"
	whyFstab     = "it means something in /etc/fstab only"
	whyReadOnly  = "say readOnly in the pod"
	whySELinux   = "the driver keeps SELinux labels out of its mounts; its CSIDriver object needs seLinuxMount: false"
	whyShared    = "on btrfs it would change the whole disk and not this volume; mount the disk with it"
	whyLog       = "a file system with an unread journal is damaged"
)

// refusedOptions are those that somebody may want, with the reason why not.
var refusedOptions = map[string]string{
	"dev":      "a device file in a volume would open the node's devices",
	"suid":     "a set-user-ID file in a volume could give away the node's root",
	"defaults": "it means suid and dev, too",
	"discard":  "it would give away space that is promised to the volume, and the disk could become full under it; `wipe: discard` tells the disk when the volume is destroyed",
	"bind":     whyOwnMounts, "rbind": whyOwnMounts, "move": whyOwnMounts, "remount": whyOwnMounts,
	"shared": whyOwnMounts, "rshared": whyOwnMounts, "private": whyOwnMounts, "rprivate": whyOwnMounts, "slave": whyOwnMounts,
	"rslave": whyOwnMounts, "unbindable": whyOwnMounts, "runbindable": whyOwnMounts,
	"loop": whyDevices, "offset": whyDevices, "sizelimit": whyDevices, "logdev": whyDevices, "rtdev": whyDevices, "journal_dev": whyDevices,
	"journal_path": whyDevices, "device": whyDevices, "sb": whyDevices, "subvol": whyDevices, "subvolid": whyDevices,
	"quota": whyLimits, "noquota": whyLimits, "usrquota": whyLimits, "grpquota": whyLimits, "prjquota": whyLimits, "uquota": whyLimits,
	"gquota": whyLimits, "pquota": whyLimits, "uqnoenforce": whyLimits, "gqnoenforce": whyLimits, "pqnoenforce": whyLimits,
	"usrjquota": whyLimits, "grpjquota": whyLimits, "jqfmt": whyLimits, "resuid": whyLimits, "resgid": whyLimits,
	"ro": whyReadOnly, "rw": whyReadOnly,
	"context": whySELinux, "fscontext": whySELinux, "defcontext": whySELinux, "rootcontext": whySELinux,
	"norecovery": whyLog, "noload": whyLog,
	"compress": whyShared, "compress-force": whyShared, "autodefrag": whyShared, "nodatacow": whyShared, "nodatasum": whyShared,
	"ssd": whyShared, "degraded": whyShared, "space_cache": whyShared,
	"auto": whyFstab, "noauto": whyFstab, "nofail": whyFstab, "_netdev": whyFstab, "user": whyFstab, "users": whyFstab, "nouser": whyFstab,
	"owner": whyFstab, "group": whyFstab, "comment": whyFstab,
}

// CheckMountOptions refuses options that a scratch volume can't be mounted with. The error wraps volume.ErrInvalid and names each.
func CheckMountOptions(options []string) error {
	var wrong []string
	for _, o := range options {
		if err := checkMountOption(o); err != nil {
			wrong = append(wrong, err.Error())
		}
	}
	if len(wrong) > 0 {
		return fmt.Errorf("%w: %s", volume.ErrInvalid, strings.Join(wrong, "; "))
	}
	return nil
}

func checkMountOption(o string) error {
	if strings.Contains(o, ",") {
		return fmt.Errorf("mount option %q is several: write each as an entry of its own", o)
	}
	name, value, given := strings.Cut(o, "=")
	if why, ok := refusedOptions[name]; ok {
		return fmt.Errorf("mount option %q is not allowed: %s", o, why)
	}
	form, ok := allowedOptions[name]
	switch {
	case !ok:
		known := slices.Sorted(maps.Keys(allowedOptions))
		return fmt.Errorf("mount option %q is not one that a scratch volume can have%s (allowed: %s)", o, suggest.Hint(name, known), strings.Join(known, ", "))
	case name == "errors" && value == "panic":
		return errors.New("mount option \"errors=panic\" is not allowed: one damaged volume would end the node")
	case form == nil && given:
		return fmt.Errorf("mount option %q: %s has no value", o, name)
	case form != nil && !form.MatchString(value):
		return fmt.Errorf("mount option %q: the value of %s must be of the form %s", o, name, strings.Trim(form.String(), "^$"))
	}
	return nil
}
