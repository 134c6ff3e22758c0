// Package localfs mounts and watches the file system that a scratch volume has to itself: ext4 or xfs on a block device of its own.
package localfs

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/strata-csi/strata/pkg/mkfs"
	"github.com/strata-csi/strata/pkg/scratch/disk"
	"github.com/strata-csi/strata/pkg/volume"
)

// flagOf are the options that are flags of mount(2): what is set, and what is cleared.
var flagOf = map[string]struct{ set, clear uintptr }{
	"noatime": {unix.MS_NOATIME, unix.MS_RELATIME | unix.MS_STRICTATIME}, "relatime": {unix.MS_RELATIME, unix.MS_NOATIME | unix.MS_STRICTATIME},
	"strictatime": {unix.MS_STRICTATIME, unix.MS_NOATIME | unix.MS_RELATIME}, "nodiratime": {unix.MS_NODIRATIME, 0},
	"lazytime": {unix.MS_LAZYTIME, 0}, "nolazytime": {0, unix.MS_LAZYTIME}, "exec": {0, unix.MS_NOEXEC}, "noexec": {unix.MS_NOEXEC, 0},
	"nodev": {unix.MS_NODEV, 0}, "nosuid": {unix.MS_NOSUID, 0}, "nosymfollow": {unix.MS_NOSYMFOLLOW, 0}, "sync": {unix.MS_SYNCHRONOUS, 0},
	"dirsync": {unix.MS_DIRSYNC, 0}, "ro": {unix.MS_RDONLY, 0},
}

// Options are the flags and the data of mount(2). A scratch volume never brings device files or set-user-ID programs, and never discards:
// its space is promised. The error wraps volume.ErrInvalid.
func Options(fsType string, m disk.Mount) (flags uintptr, data string, err error) {
	flags = unix.MS_NOATIME | unix.MS_NODEV | unix.MS_NOSUID
	if m.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	var rest []string
	for _, o := range m.Options {
		if f, ok := flagOf[o]; ok {
			flags = flags&^f.clear | f.set
			continue
		}
		switch o {
		case "dev", "suid", "rw", "discard":
			return 0, "", fmt.Errorf("%w: mount option %s is not allowed for a scratch volume", volume.ErrInvalid, o)
		}
		if o == "" || strings.ContainsAny(o, ",\x00") {
			return 0, "", fmt.Errorf("%w: mount option %q is not one option", volume.ErrInvalid, o)
		}
		rest = append(rest, o)
	}
	if fsType == mkfs.Ext4 && !slices.ContainsFunc(rest, func(o string) bool { return strings.HasPrefix(o, "errors=") }) {
		// A file system that is known to be damaged isn't written on.
		rest = append(rest, "errors=remount-ro")
	}
	return flags, strings.Join(rest, ","), nil
}
